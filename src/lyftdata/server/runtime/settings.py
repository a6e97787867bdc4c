"""
The Server's start-up settings, read once into a frozen object.

`docs/reference/settings.md` is generated from the table below.
"""

import ipaddress
import re
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from lyftdata.core.durations import parse_duration
from lyftdata.core.enrollment import check_enrollment_key_length
from lyftdata.core.errors import InvalidInputError, SettingsError
from lyftdata.core.keyring import SIGNING_ALGORITHMS
from lyftdata.core.origins import is_loopback_host
from lyftdata.core.policy import NamePolicy
from lyftdata.core.secret import Secret
from lyftdata.core.secret_text import parse_secret
from lyftdata.core.settings import LOG_SETTINGS, Setting, one_of, parse_switch, read_settings
from lyftdata.core.text import clean_text
from lyftdata.core.token_size import MAX_ISSUER_LENGTH
from lyftdata.server.admin.secret_strength import (
    MIN_FIRST_PASSWORD_GUESSES,
    assess_key,
    check_password,
    check_secret_key,
)
from lyftdata.user_paths import default_data_dir, parse_path

_MIN_FIRST_PASSWORD_LENGTH = 8

WORKER_ONLY = frozenset(
    {
        "LYFTDATA_URL",
        "LYFTDATA_ALLOW_HTTP",
        "LYFTDATA_WORKER_ID",
        "LYFTDATA_WORKER_API_KEY",
        "LYFTDATA_WORKER_API_KEY_FILE",
        "LYFTDATA_WORKER_NAME",
        "LYFTDATA_WORKER_LABELS",
        "LYFTDATA_JOBS_DIR",
        "LYFTDATA_TLS_CA",
        "LYFTDATA_TLS_INSECURE",
        "LYFTDATA_CONFIG_DIR",
        "LYFTDATA_RESTART",
        "LYFTDATA_STOP_GRACE",
        "LYFTDATA_WORKER_TOKEN_FILE",
        "LYFTDATA_WORKER_TOKEN_SOCKET",
    }
)


class BindAddress(msgspec.Struct, frozen=True):
    """Where the Server listens."""

    host: str
    port: int

    def is_loopback(self) -> bool:
        """Return whether only this machine can connect."""
        return is_loopback_host(self.host)

    def is_wildcard(self) -> bool:
        """Return whether the Server listens on every interface."""
        return self.host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the Server is started with; see `TABLE` for the meaning of each."""

    staging_dir: Path
    bind_address: BindAddress
    enrollment_key: Secret | None
    enrollment_key_previous: Secret | None
    name_policy: NamePolicy
    database_url: Secret | None
    allow_unverified_database: bool
    public_url: str | None
    previous_public_urls: tuple[str, ...]
    admin_init_password: Secret | None
    secret_key: Secret | None
    tls_cert: Path | None
    tls_key: Path | None
    disable_tls: bool
    trusted_proxies: tuple[str, ...]
    worker_token_ttl_s: int
    signing_algorithm: str
    log_format: str | None
    log_level: str
    log_decisions: bool
    warnings: tuple[str, ...] = ()


def parse_bind_address(text: str) -> BindAddress:
    """Read `host:port`, `[v6]:port` or `:port` (every interface)."""
    host, separator, port = text.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65535:  # noqa: PLR2004
        raise InvalidInputError("bind_address", "must be HOST:PORT, for example 127.0.0.1:3000")
    host = host.removeprefix("[").removesuffix("]") or "0.0.0.0"  # noqa: S104 - `:3000` says so
    # Without LYFTDATA_PUBLIC_URL the issuer is made of it.
    if len(f"https://[{host}]:{port}") > MAX_ISSUER_LENGTH:
        raise InvalidInputError("bind_address", "has a host name that is too long")
    return BindAddress(host, int(port))


def parse_enrollment_key(text: str) -> Secret:
    """Read the shared secret; shorter than 32 characters is refused."""
    secret = parse_secret(text)
    check_enrollment_key_length(secret)
    return secret


# What a URL's host and port are made of, and nothing that a shell or a unit file would read otherwise.
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+/?")


def parse_public_url(text: str) -> str:
    """Read the issuer: an absolute http(s) URL without query or fragment (RFC 8414, section 2)."""
    if len(text) > MAX_ISSUER_LENGTH:
        raise InvalidInputError("public_url", f"must have at most {MAX_ISSUER_LENGTH} characters")
    if not _PLAIN_URL.fullmatch(text):
        raise InvalidInputError("public_url", "must be like https://lyftdata.example.com (no path, no query)")
    parts = urllib.parse.urlsplit(text)
    fine = parts.scheme in {"http", "https"} and parts.hostname and not parts.query and not parts.fragment
    if not fine or parts.username or parts.path not in {"", "/"}:
        raise InvalidInputError("public_url", "must be like https://lyftdata.example.com (no path, no query)")
    return text.rstrip("/")


def parse_previous_urls(text: str) -> tuple[str, ...]:
    """Read earlier issuers, separated by commas."""
    return tuple(parse_public_url(part.strip()) for part in text.split(",") if part.strip())


def parse_proxies(text: str) -> tuple[str, ...]:
    """Read addresses and networks, separated by commas."""
    proxies = [part.strip() for part in text.split(",") if part.strip()]
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError as error:
            raise InvalidInputError("trusted_proxies", f"'{proxy}' is no IP address or network") from error
    return tuple(proxies)


def parse_token_ttl(text: str) -> int:
    """Read the life of a worker token: one minute to a day, in seconds."""
    seconds = int(parse_duration(text).total_seconds())
    if not 60 <= seconds <= 86400:  # noqa: PLR2004 - a minute, a day
        raise InvalidInputError("worker_token_ttl", "must be from 1m to 24h")
    return seconds


def parse_secret_key(text: str) -> Secret:
    """Read the key that encrypts what must not stand in the database in the clear."""
    secret = parse_secret(text)
    if len(secret) < 32:  # noqa: PLR2004
        raise InvalidInputError("secret_key", "must have at least 32 random characters")
    check_secret_key(secret)
    return secret


def parse_admin_password(text: str) -> Secret:
    """Read the first password of `admin`; it is to be changed at the first sign-in, so 8 characters may do."""
    password = parse_secret(text)
    if len(password) < _MIN_FIRST_PASSWORD_LENGTH:
        raise InvalidInputError(
            "admin_init_password", f"must have at least {_MIN_FIRST_PASSWORD_LENGTH} characters"
        )
    check_password(password, min_guesses=MIN_FIRST_PASSWORD_GUESSES, known=["admin"])
    return password


_POSTGRESQL = ("postgresql://", "postgres://", "postgresql+psycopg://")


def parse_database_url(text: str) -> Secret:
    """Read where the state is kept; it holds a password."""
    url = parse_secret(text)
    if not url.reveal().startswith(("sqlite:///", *_POSTGRESQL)):
        raise InvalidInputError(
            "database_url", "must be sqlite:////absolute/path or postgresql://user:password@host/database"
        )
    return url


def is_shared_database(url: Secret | None) -> bool:
    """Return whether several Servers may have their state there."""
    return url is not None and url.reveal().startswith(_POSTGRESQL)


ALLOW_UNVERIFIED_HINT = "If nobody can get in between, LYFTDATA_ALLOW_UNVERIFIED_DATABASE=yes allows it."


def find_unverified_database(url: Secret | None, environ: Mapping[str, str]) -> str | None:
    """
    Return what is wrong if a connection to PostgreSQL could end at somebody else, or if that cannot be told; else None.

    Args:
        url: LYFTDATA_DATABASE_URL.
        environ: Environment variables, from which PostgreSQL's library takes what the URL does not say.
    """
    if url is None or not is_shared_database(url):
        return None
    # SQLAlchemy is loaded for those alone who use it.
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from lyftdata.store.dialects.postgresql_tls import unverified_hosts

    try:
        hosts = unverified_hosts(make_url(url.reveal()), environ)
    except (ArgumentError, ValueError):
        # What cannot be read may hold a password: it is not repeated.
        return "LYFTDATA_DATABASE_URL: cannot be read as a URL of PostgreSQL."
    if not hosts:
        return None
    return (
        f"LYFTDATA_DATABASE_URL: the connection to {clean_text(', '.join(hosts), 200)} does not check whom it reaches; "
        "anyone who can get in between can decide who is let in. Add sslmode=verify-full "
        "(and sslrootcert=FILE for a CA of your own) or channel_binding=require."
    )


def _name_policy(text: str) -> NamePolicy:
    return NamePolicy(one_of(*(policy.value for policy in NamePolicy))(text))


def _algorithm(text: str) -> str:
    names = {name.lower(): name for name in SIGNING_ALGORITHMS}
    return names[one_of(*names)(text)]


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
        parse=_name_policy,
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
        "nor `channel_binding=require` in the URL), for networks in which nobody else can get in between.",
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
        "let in, and tokens issued under them are accepted until they expire. Name only addresses that you still hold.",
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
        name="LYFTDATA_WORKER_TOKEN_TTL",
        field="worker_token_ttl_s",
        parse=parse_token_ttl,
        default=900,
        default_doc="`15m`",
        flag="--worker-token-ttl",
        doc="Life of a worker token, 1m to 24h: how long one that is checked offline outlives its Worker's revocation.",
    ),
    Setting(
        name="LYFTDATA_SIGNING_ALGORITHM",
        field="signing_algorithm",
        parse=_algorithm,
        default="ES256",
        default_doc="`ES256`",
        flag="--signing-algorithm",
        doc="Signs worker tokens: `ES256`, or `EdDSA` with an Ed25519 key; `Ed25519` is the same signature under the "
        "name of RFC 9864, which most libraries do not accept yet. A change takes effect with the next key rotation.",
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


def read_server_settings(
    environ: Mapping[str, str],
    flags: Mapping[str, str | None] | None = None,
    *,
    read_file: Callable[[str], str] = lambda path: Path(path).read_text(encoding="utf-8"),
) -> ServerSettings:
    """
    Read the Server's settings from the environment and the flags that mirror it.

    Args:
        environ: Environment variables; a secret `X` may come as `X_FILE`.
        flags: By flag, for example `{"--bind-address": "127.0.0.1:3000"}`; a flag wins over its variable.
        read_file: Gives the text of an `X_FILE`.

    Raises:
        SettingsError: Names every fault at once.
    """
    values, warnings = read_settings(
        TABLE, environ=environ, flags=flags or {}, read_file=read_file, known_elsewhere=WORKER_ONLY
    )
    unverified = find_unverified_database(values["database_url"], environ)
    if unverified and values["allow_unverified_database"]:
        warnings.append(unverified)
    settings = ServerSettings(**values, warnings=tuple(warnings))
    problems = _contradictions(settings)
    if unverified and not settings.allow_unverified_database:
        problems.append(f"{unverified} {ALLOW_UNVERIFIED_HINT}")
    if problems:
        raise SettingsError(problems)
    return msgspec.structs.replace(
        settings, warnings=(*warnings, *_unnamed_proxy(settings), *_weak_keys(settings))
    )


def _weak_keys(settings: ServerSettings) -> list[str]:
    """Say what is weak about the enrollment keys; Workers know them, so they go on working."""
    given = {
        "LYFTDATA_AUTO_ENROLLMENT_KEY": settings.enrollment_key,
        "LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS": settings.enrollment_key_previous,
    }
    found = {name: assess_key(key) for name, key in given.items() if key is not None}
    return [f"{name}: {weakness}" for name, weakness in found.items() if weakness is not None]


def _unnamed_proxy(settings: ServerSettings) -> list[str]:
    """Return a warning where TLS ends elsewhere, and so a proxy is in front, but none is named."""
    if settings.tls_cert is not None or settings.trusted_proxies:
        return []
    if settings.disable_tls:
        sign = "LYFTDATA_DISABLE_TLS is set"
    elif settings.public_url is not None and settings.public_url.startswith("https:"):
        sign = "LYFTDATA_PUBLIC_URL is https and there is no certificate"
    else:
        return []
    return [
        f"LYFTDATA_TRUSTED_PROXIES: {sign}, so TLS ends at a proxy, and none is named. All clients then have the proxy's "
        "address: five wrong passwords by anyone make every operator wait, and limits count all Workers as one. "
        "Name the proxy's address."
    ]


def _contradictions(settings: ServerSettings) -> list[str]:
    problems = []
    if (settings.tls_cert is None) is not (settings.tls_key is None):
        missing = "LYFTDATA_TLS_KEY" if settings.tls_key is None else "LYFTDATA_TLS_CERT"
        problems.append(f"{missing}: LYFTDATA_TLS_CERT and LYFTDATA_TLS_KEY go together; set it too.")
    if not settings.bind_address.is_loopback() and settings.tls_cert is None and not settings.disable_tls:
        problems.append(
            f"LYFTDATA_BIND_ADDRESS: {settings.bind_address} can be reached from other machines, and there is no TLS. "
            "Set LYFTDATA_TLS_CERT and LYFTDATA_TLS_KEY, or LYFTDATA_DISABLE_TLS=yes if a proxy in front ends TLS."
        )
    if is_shared_database(settings.database_url):
        # Each would make one of its own, and take what the others have signed for forged.
        if settings.secret_key is None:
            problems.append(
                "LYFTDATA_SECRET_KEY: every Server on one PostgreSQL database must have the same; set it. "
                "Make one with: lyftdata enrollment generate-key"
            )
        if settings.public_url is None:
            problems.append(
                "LYFTDATA_PUBLIC_URL: every Server on one PostgreSQL database must be called the same by Workers; "
                "set it to the address of the load balancer, or of this Server if it is the only one."
            )
    if settings.enrollment_key_previous is not None and settings.enrollment_key is None:
        problems.append(
            "LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS: set without LYFTDATA_AUTO_ENROLLMENT_KEY; "
            "set both to rotate, or unset both to switch Auto-Enrollment off."
        )
    if settings.log_decisions and settings.log_level not in {"debug", "info"}:
        problems.append(
            f"LYFTDATA_LOG_DECISIONS: decisions are logged at level info, which LYFTDATA_LOG_LEVEL={settings.log_level} leaves out; "
            "set it to info."
        )
    return problems
