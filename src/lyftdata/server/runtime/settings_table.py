"""The Server's start-up settings, one row each; `docs/reference/settings.md` is generated from this table."""

from datetime import timedelta

from lyftdata.core.policy import NamePolicy
from lyftdata.core.settings import LOG_SETTINGS, Setting, parse_switch
from lyftdata.server.runtime.settings_values import (
    BindAddress,
    parse_admin_password,
    parse_algorithm,
    parse_archive_after,
    parse_audit_retention,
    parse_bind_address,
    parse_database_url,
    parse_enrollment_key,
    parse_ephemeral_leave_after,
    parse_name_policy,
    parse_own_networks,
    parse_previous_urls,
    parse_proxies,
    parse_public_url,
    parse_secret_key,
    parse_token_ttl,
)
from lyftdata.user_paths import default_data_dir, parse_path

TABLE: tuple[Setting, ...] = (
    Setting(
        name="LYFTDATA_STAGING_DIR",
        field="staging_dir",
        parse=parse_path,
        make_default=default_data_dir,
        default_doc="`~/.local/lyftdata`",
        flag="--staging-dir",
        doc="Data directory; created with mode 0700, and refused if others can read it.",
    ),
    Setting(
        name="LYFTDATA_BIND_ADDRESS",
        field="bind_address",
        parse=parse_bind_address,
        default=BindAddress("127.0.0.1", 3000),
        default_doc="`127.0.0.1:3000`",
        flag="--bind-address",
        doc="Where the API listens, as HOST:PORT.",
    ),
    Setting(
        name="LYFTDATA_AUTO_ENROLLMENT_KEY",
        field="enrollment_key",
        parse=parse_enrollment_key,
        default=None,
        default_doc="none: Auto-Enrollment is off",
        secret=True,
        doc="The shared secret with which Workers enroll; 32 characters or more. Make one with "
        "`lyftdata enrollment generate-key`.",
    ),
    Setting(
        name="LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS",
        field="enrollment_key_previous",
        parse=parse_enrollment_key,
        default=None,
        default_doc="none",
        secret=True,
        doc="The shared secret being rotated out: still accepted, counted and shown.",
    ),
    Setting(
        name="LYFTDATA_WORKER_NAME_POLICY",
        field="name_policy",
        parse=parse_name_policy,
        default=NamePolicy.SUPERSEDE_OFFLINE,
        default_doc="`supersede-offline`",
        flag="--worker-name-policy",
        doc="What happens when a Worker with another identity key enrolls under a name that is taken: "
        "`supersede-offline` gives it the name once the holder is offline, `reject` never does, `allow` lets both have it.",
    ),
    Setting(
        name="LYFTDATA_DATABASE_URL",
        field="database_url",
        parse=parse_database_url,
        default=None,
        default_doc="an SQLite file in the data directory",
        secret=True,
        doc="Where the state is kept: `postgresql://user:password@host/database?sslmode=verify-full` for several Servers on one state "
        "(with LYFTDATA_SECRET_KEY and LYFTDATA_PUBLIC_URL, the same at each), else `sqlite:////absolute/path`.",
    ),
    Setting(
        name="LYFTDATA_ALLOW_UNVERIFIED_DATABASE",
        field="allow_unverified_database",
        parse=parse_switch,
        default=False,
        default_doc="`no`",
        flag="--allow-unverified-database",
        is_switch=True,
        doc="Allows a connection to PostgreSQL on another host that does not check whom it reaches (neither `sslmode=verify-full` "
        "nor `channel_binding=require` in the URL), for networks in which no attacker can get in between.",
    ),
    Setting(
        name="LYFTDATA_PUBLIC_URL",
        field="public_url",
        parse=parse_public_url,
        default=None,
        default_doc="from the bind address",
        flag="--public-url",
        doc="The address by which Workers reach the Server: the issuer of tokens. Set it behind a proxy and "
        "whenever the Server listens on every interface.",
    ),
    Setting(
        name="LYFTDATA_PREVIOUS_PUBLIC_URLS",
        field="previous_public_urls",
        parse=parse_previous_urls,
        default=(),
        default_doc="none",
        flag="--previous-public-urls",
        doc="Addresses that LYFTDATA_PUBLIC_URL had before, separated by commas: auto-enrolled Workers that sign for them are still "
        "accepted, and so are tokens issued under them until they expire. Name only addresses that you still own.",
    ),
    Setting(
        name="LYFTDATA_ADMIN_INIT_PASSWORD",
        field="admin_init_password",
        parse=parse_admin_password,
        default=None,
        default_doc="random, printed once",
        secret=True,
        doc="First password of the operator `admin`, 8 characters or more (12 for every later one); not looked at once an operator exists.",
    ),
    Setting(
        name="LYFTDATA_SECRET_KEY",
        field="secret_key",
        parse=parse_secret_key,
        default=None,
        default_doc="`secret.key` in the data directory, made at the first start",
        secret=True,
        doc="Encrypts the signing keys and keys the audit chain; kept apart from the database on purpose. "
        "32 random characters or more; one that can be guessed is refused.",
    ),
    Setting(
        name="LYFTDATA_SECRET_KEY_NEXT",
        field="secret_key_next",
        parse=parse_secret_key,
        default=None,
        default_doc="none",
        secret=True,
        doc="The key that `lyftdata admin rotate-secret-key` changes the database to. A Server that is given both keys uses the one that "
        "fits the database.",
    ),
    Setting(
        name="LYFTDATA_TLS_CERT",
        field="tls_cert",
        parse=parse_path,
        default=None,
        default_doc="none",
        flag="--tls-cert",
        doc="Certificate chain (PEM); read again when it is renewed on disk.",
    ),
    Setting(
        name="LYFTDATA_TLS_KEY",
        field="tls_key",
        parse=parse_path,
        default=None,
        default_doc="none",
        flag="--tls-key",
        doc="Private key of the certificate (PEM).",
    ),
    Setting(
        name="LYFTDATA_DISABLE_TLS",
        field="disable_tls",
        parse=parse_switch,
        default=False,
        default_doc="`no`",
        flag="--disable-tls",
        is_switch=True,
        doc="Allows plain HTTP on an address that other machines can reach, for a proxy in front that ends TLS. "
        "Without it and without a certificate such an address is refused.",
    ),
    Setting(
        name="LYFTDATA_TRUSTED_PROXIES",
        field="trusted_proxies",
        parse=parse_proxies,
        default=(),
        default_doc="none",
        flag="--trusted-proxies",
        doc="Addresses or networks of the proxies whose `X-Forwarded-For` is believed, separated by commas.",
    ),
    Setting(
        name="LYFTDATA_OWN_NETWORKS",
        field="own_networks",
        parse=parse_own_networks,
        default=(),
        default_doc="none",
        flag="--own-networks",
        doc="Networks between which a Worker may change while it is connected, separated by commas: a token that is asked for from one of them "
        "raises no alert while the Worker is connected from another.",
    ),
    Setting(
        name="LYFTDATA_WORKER_TOKEN_TTL",
        field="worker_token_ttl_s",
        parse=parse_token_ttl,
        default=900,
        default_doc="`15m`",
        flag="--worker-token-ttl",
        doc="Life of a worker token, 1m to 24h: how long one that is checked offline outlives its Worker's revocation.",
    ),
    Setting(
        name="LYFTDATA_ARCHIVE_AFTER",
        field="archive_after",
        parse=parse_archive_after,
        default=timedelta(days=30),
        default_doc="`30d`",
        flag="--archive-after",
        doc="How long an auto-enrolled Worker must not have been connected nor got a token until lists and counts leave it out; 2d or "
        "more, or `never`. Its next token brings it back.",
    ),
    Setting(
        name="LYFTDATA_EPHEMERAL_LEAVE_AFTER",
        field="ephemeral_leave_after",
        parse=parse_ephemeral_leave_after,
        default=timedelta(minutes=15),
        default_doc="`15m`",
        flag="--ephemeral-leave-after",
        doc="How long an ephemeral Worker must not have been connected until it is removed, if it did not sign off; 5m to 30d. Its last "
        "token must have expired, too.",
    ),
    Setting(
        name="LYFTDATA_SIGNING_ALGORITHM",
        field="signing_algorithm",
        parse=parse_algorithm,
        default="ES256",
        default_doc="`ES256`",
        flag="--signing-algorithm",
        doc="Signs worker tokens: `ES256`, or `EdDSA` with an Ed25519 key; `Ed25519` is the same signature under the "
        "name of RFC 9864, which most libraries do not accept yet. A change takes effect with the next key rotation.",
    ),
    Setting(
        name="LYFTDATA_AUDIT_RETENTION",
        field="audit_retention",
        parse=parse_audit_retention,
        default=None,
        default_doc="`forever`",
        flag="--audit-retention",
        doc="For how long events stay in the audit log, 30d to 10950d. Older ones are removed up to a signed checkpoint, from which the "
        "chain goes on.",
    ),
    *LOG_SETTINGS,
    Setting(
        name="LYFTDATA_LOG_DECISIONS",
        field="log_decisions",
        parse=parse_switch,
        default=False,
        default_doc="`no`",
        flag="--log-decisions",
        is_switch=True,
        doc="Logs each event of the audit log (`decision`: sign-ins, keys issued, Workers disabled and the like) and which Workers come "
        "and go (`worker_online`, `worker_offline`), for a SIEM. At level info.",
    ),
)
