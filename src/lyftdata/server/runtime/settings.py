"""
The Server's startup settings, read once into a frozen object, and checked for contradictions.

Each setting is a row in `settings_table`; its parser is in `settings_values`.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import msgspec

from lyftdata.core.errors import SettingsError
from lyftdata.core.policy import CopyPolicy, NamePolicy
from lyftdata.core.role_rules import RoleRule
from lyftdata.core.second_factor_policy import SecondFactorPolicy
from lyftdata.core.secret import Secret
from lyftdata.core.settings import read_settings
from lyftdata.core.text import clean_text
from lyftdata.server.admin.secret_strength import (
    assess_key,
)
from lyftdata.server.runtime.settings_table import TABLE
from lyftdata.server.runtime.settings_values import BindAddress, is_shared_database


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The Server's startup settings; see `TABLE` for the meaning of each."""

    staging_dir: Path
    bind_address: BindAddress
    enrollment_key: Secret | None
    enrollment_key_previous: Secret | None
    name_policy: NamePolicy
    copy_policy: CopyPolicy
    database_url: Secret | None
    allow_unverified_database: bool
    public_url: str | None
    previous_public_urls: tuple[str, ...]
    admin_init_password: Secret | None
    secret_key: Secret | None
    secret_key_next: Secret | None
    tls_cert: Path | None
    tls_key: Path | None
    worker_tls_ca: Path | None
    disable_tls: bool
    trusted_proxies: tuple[str, ...]
    own_networks: tuple[str, ...]
    worker_token_ttl_s: int
    archive_after: timedelta | None
    ephemeral_leave_after: timedelta
    replaced_kept_for: timedelta | None
    approval_expires_after: timedelta
    events_allowed_networks: tuple[str, ...]
    events_dir: Path | None
    audit_retention: timedelta | None
    signing_algorithm: str
    processes: int = 1
    process: int | None = None
    """Which of several processes this is, from 1; None where there is one, and in the supervisor. Not a setting."""
    tracing: bool = False
    shutdown_delay: timedelta = timedelta(seconds=3)
    oidc_issuer: str | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: Secret | None = None
    oidc_roles: tuple[RoleRule, ...] = ()
    oidc_scopes: tuple[str, ...] = ("openid", "profile")
    oidc_name_claim: str = "preferred_username"
    oidc_tls_ca: Path | None = None
    password_sign_in: bool = True
    operator_idle_limit: timedelta = timedelta(hours=4)
    second_factor: SecondFactorPolicy = SecondFactorPolicy.OPTIONAL
    reauthenticate_after: timedelta = timedelta(minutes=15)
    log_format: str | None
    log_level: str
    log_decisions: bool
    warnings: tuple[str, ...] = ()


ALLOW_UNVERIFIED_HINT = "If no attacker can get in between, LYFTDATA_ALLOW_UNVERIFIED_DATABASE=yes allows it."


def find_unverified_database(url: Secret | None, environ: Mapping[str, str]) -> str | None:
    """
    Return what is wrong if a connection to PostgreSQL could reach an attacker, or if that is not known; otherwise None.

    Args:
        url: LYFTDATA_DATABASE_URL.
        environ: Environment variables, from which libpq takes what the URL does not set.
    """
    if url is None or not is_shared_database(url):
        return None
    # SQLAlchemy is only loaded if it is needed.
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from lyftdata.store.dialects.postgresql_tls import unverified_hosts

    try:
        hosts = unverified_hosts(make_url(url.reveal()), environ)
    except (ArgumentError, ValueError):
        # An unreadable URL may contain a password: it is not repeated.
        return "LYFTDATA_DATABASE_URL: cannot be read as a URL of PostgreSQL."
    if not hosts:
        return None
    return (
        f"LYFTDATA_DATABASE_URL: the connection to {clean_text(', '.join(hosts), 200)} does not check whom it reaches. "
        "Anyone who can get in between can decide who is let in. Add sslmode=verify-full "
        "(and sslrootcert=FILE for a CA of your own) or channel_binding=require."
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
        flags: By flag, for example `{"--bind-address": "127.0.0.1:3000"}`; a flag overrides its variable.
        read_file: Returns the text of an `X_FILE`.

    Raises:
        SettingsError: Names every fault at once.
    """
    values, warnings = read_settings(TABLE, environ=environ, flags=flags or {}, read_file=read_file)
    unverified = find_unverified_database(values["database_url"], environ)
    if unverified and values["allow_unverified_database"]:
        warnings.append(unverified)
    settings = ServerSettings(**values, warnings=tuple(warnings))
    problems = [*_contradictions(settings), *_oidc_contradictions(settings)]
    if unverified and not settings.allow_unverified_database:
        problems.append(f"{unverified} {ALLOW_UNVERIFIED_HINT}")
    if problems:
        raise SettingsError(problems)
    return msgspec.structs.replace(
        settings, warnings=(*warnings, *unnamed_proxy(settings), *weak_keys(settings))
    )


def weak_keys(settings: ServerSettings) -> list[str]:
    """Return warnings about guessable enrollment keys; they stay valid, since Workers depend on them."""
    given = {
        "LYFTDATA_AUTO_ENROLLMENT_KEY": settings.enrollment_key,
        "LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS": settings.enrollment_key_previous,
    }
    found = {name: assess_key(key) for name, key in given.items() if key is not None}
    return [f"{name}: {weakness}" for name, weakness in found.items() if weakness is not None]


def unnamed_proxy(settings: ServerSettings) -> list[str]:
    """Return a warning if TLS is terminated elsewhere, so that there must be a proxy, but none is configured."""
    if settings.tls_cert is not None or settings.trusted_proxies:
        return []
    if settings.disable_tls:
        sign = "LYFTDATA_DISABLE_TLS is set"
    elif settings.public_url is not None and settings.public_url.startswith("https:"):
        sign = "LYFTDATA_PUBLIC_URL is https and there is no certificate"
    else:
        return []
    return [
        f"LYFTDATA_TRUSTED_PROXIES: {sign}, and no proxy is named. TLS ends at a proxy then, and all clients have its "
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
        # Each would generate its own, and reject what the others have signed as forged.
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
    elif settings.processes > 1:
        # One process owns the file, as one Server does: what another changed it would not learn.
        problems.append(
            f"LYFTDATA_PROCESSES: {settings.processes} processes need a PostgreSQL database, and the state is in SQLite, which one process "
            "must have to itself. Set LYFTDATA_DATABASE_URL (`lyftdata admin migrate` moves the state there), or LYFTDATA_PROCESSES=1."
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


def _oidc_contradictions(settings: ServerSettings) -> Iterator[str]:
    """Yield contradictions, one sentence each."""
    if settings.oidc_issuer is None:
        given = {
            "LYFTDATA_OIDC_CLIENT_ID": settings.oidc_client_id,
            "LYFTDATA_OIDC_CLIENT_SECRET": settings.oidc_client_secret,
            "LYFTDATA_OIDC_ROLES": settings.oidc_roles,
        }
        for name in (name for name, value in given.items() if value):
            yield f"{name}: set without LYFTDATA_OIDC_ISSUER; set both, or neither."
        if not settings.password_sign_in:
            yield (
                "LYFTDATA_PASSWORD_SIGN_IN: switched off without LYFTDATA_OIDC_ISSUER, so no one could sign in; set the issuer too."
            )
        return
    if settings.oidc_client_id is None:
        yield "LYFTDATA_OIDC_CLIENT_ID: missing; set the ID of this Server at LYFTDATA_OIDC_ISSUER."
    if not settings.oidc_roles:
        yield (
            "LYFTDATA_OIDC_ROLES: missing, so no one would have a role; set rules such as "
            "`admin: groups=platform-admins; viewer: groups=staff`."
        )
