"""Parsers for the Server's startup settings."""

import ipaddress
import re
import urllib.parse
from datetime import timedelta

import msgspec

from lyftdata.core.durations import parse_duration
from lyftdata.core.enrollment_rules import parse_networks
from lyftdata.core.enrollment_secrets import check_enrollment_key_length
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.keyring import SIGNING_ALGORITHMS
from lyftdata.core.origins import is_loopback_host
from lyftdata.core.policy import CopyPolicy, NamePolicy
from lyftdata.core.second_factor_policy import SecondFactorPolicy
from lyftdata.core.secret import Secret
from lyftdata.core.secret_text import parse_secret
from lyftdata.core.settings import one_of
from lyftdata.core.token_size import MAX_ISSUER_LENGTH
from lyftdata.server.admin.secret_strength import (
    MIN_FIRST_PASSWORD_GUESSES,
    check_password,
    check_secret_key,
)

_MIN_FIRST_PASSWORD_LENGTH = 8
_MIN_ARCHIVE_AFTER = timedelta(days=2)
_MIN_LEAVE_AFTER = timedelta(minutes=5)
_MAX_LEAVE_AFTER = timedelta(days=30)
MAX_PROCESSES = 64


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


def parse_bind_address(text: str) -> BindAddress:
    """Read `host:port`, `[v6]:port` or `:port` (every interface)."""
    host, separator, port = text.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65535:  # noqa: PLR2004
        raise InvalidInputError("bind_address", "must be HOST:PORT, for example 127.0.0.1:3000")
    host = host.removeprefix("[").removesuffix("]") or "0.0.0.0"  # noqa: S104 - `:3000` says so
    # Without LYFTDATA_PUBLIC_URL the issuer is derived from it.
    if len(f"https://[{host}]:{port}") > MAX_ISSUER_LENGTH:
        raise InvalidInputError("bind_address", "has a host name that is too long")
    return BindAddress(host, int(port))


def parse_enrollment_key(text: str) -> Secret:
    """Parse the shared secret, of at least 32 characters."""
    secret = parse_secret(text)
    check_enrollment_key_length(secret)
    return secret


# The characters of a URL's host and port, none of which is special to a shell or a unit file.
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


def parse_own_networks(text: str) -> tuple[str, ...]:
    """Read networks, separated by commas."""
    return _parse_networks("own_networks", text)


def parse_events_networks(text: str) -> tuple[str, ...]:
    """Read networks, separated by commas."""
    return _parse_networks("events_allowed_networks", text)


def _parse_networks(field: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(parse_networks([part for part in text.split(",") if part.strip()]))
    except InvalidInputError as error:
        raise InvalidInputError(field, error.message) from error


def parse_proxies(text: str) -> tuple[str, ...]:
    """Read addresses and networks, separated by commas."""
    proxies = [part.strip() for part in text.split(",") if part.strip()]
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError as error:
            raise InvalidInputError(
                "trusted_proxies", f"'{proxy}' is not an IP address or network"
            ) from error
    return tuple(proxies)


def parse_token_ttl(text: str) -> int:
    """Parse the lifetime of a worker token: one minute to a day, in seconds."""
    seconds = int(parse_duration(text).total_seconds())
    if not 60 <= seconds <= 86400:  # noqa: PLR2004 - a minute, a day
        raise InvalidInputError("worker_token_ttl", "must be from 1m to 24h")
    return seconds


def parse_archive_after(text: str) -> timedelta | None:
    """Parse the inactivity after which a Worker is archived: two days or more, None for `never`."""
    if text.strip().lower() == "never":
        return None
    after = parse_duration(text)
    # A token is valid for up to a day, and only a new one shows activity.
    if after < _MIN_ARCHIVE_AFTER:
        raise InvalidInputError("archive_after", "must be at least 2d, or never")
    return after


def parse_ephemeral_leave_after(text: str) -> timedelta:
    """Parse the absence after which an ephemeral Worker is removed: 5 minutes to 30 days."""
    after = parse_duration(text)
    # A Worker that has lost its connection retries after 45 seconds at most; restarting a Server takes a while.
    if not _MIN_LEAVE_AFTER <= after <= _MAX_LEAVE_AFTER:
        raise InvalidInputError("ephemeral_leave_after", "must be from 5m to 30d")
    return after


def parse_replaced_kept_for(text: str) -> timedelta | None:
    """Parse how long replaced registrations are kept: a day or more, None for `forever`."""
    if text.strip().lower() == "forever":
        return None
    kept = parse_duration(text)
    if kept < timedelta(days=1):
        raise InvalidInputError("replaced_kept_for", "must be at least 1d, or forever")
    return kept


def parse_approval_expires_after(text: str) -> timedelta:
    """Parse how long a Worker waits for approval: one minute to 90 days."""
    after = parse_duration(text)
    if not timedelta(minutes=1) <= after <= timedelta(days=90):
        raise InvalidInputError("approval_expires_after", "must be from 1m to 90d")
    return after


def parse_shutdown_delay(text: str) -> timedelta:
    """Parse how long a stopping Server stays in service: zero to ten minutes."""
    delay = parse_duration(text)
    if delay > timedelta(minutes=10):
        raise InvalidInputError("shutdown_delay", "must be from 0s to 10m")
    return delay


def parse_processes(text: str) -> int:
    """Read by how many processes a Server answers: 1 to 64."""
    number = text.strip()
    if not (number.isascii() and number.isdecimal() and 1 <= int(number[:9]) <= MAX_PROCESSES):
        raise InvalidInputError("processes", f"must be a number from 1 to {MAX_PROCESSES}")
    return int(number)


def parse_operator_idle_limit(text: str) -> timedelta:
    """Parse how long an unused operator session lasts: five minutes to twelve hours, its maximum lifetime."""
    limit = parse_duration(text)
    if not timedelta(minutes=5) <= limit <= timedelta(hours=12):
        raise InvalidInputError("operator_idle_limit", "must be from 5m to 12h")
    return limit


def parse_second_factor(text: str) -> SecondFactorPolicy:
    """Parse which operators must have a second factor."""
    try:
        return SecondFactorPolicy(text.strip().lower())
    except ValueError:
        raise InvalidInputError("second_factor", "must be optional, admins or all") from None


def parse_reauthenticate_after(text: str) -> timedelta:
    """Parse how long an authentication counts as recent: one minute to twelve hours, a session's lifetime."""
    after = parse_duration(text)
    if not timedelta(minutes=1) <= after <= timedelta(hours=12):
        raise InvalidInputError("reauthenticate_after", "must be from 1m to 12h")
    return after


def parse_audit_retention(text: str) -> timedelta | None:
    """Parse how long audit events are kept: 30 days to 30 years, or `forever`."""
    if text.strip().lower() == "forever":
        return None
    kept = parse_duration(text)
    if not timedelta(days=30) <= kept <= timedelta(days=10_950):
        raise InvalidInputError("audit_retention", "must be from 30d to 10950d, or forever")
    return kept


def parse_secret_key(text: str) -> Secret:
    """Parse the key that encrypts what must not be in the database in clear text."""
    secret = parse_secret(text)
    if len(secret) < 32:  # noqa: PLR2004
        raise InvalidInputError("secret_key", "must have at least 32 random characters")
    check_secret_key(secret)
    return secret


def parse_admin_password(text: str) -> Secret:
    """Parse the first password of `admin`; it must be changed at the first sign-in, so 8 characters are enough."""
    password = parse_secret(text)
    if len(password) < _MIN_FIRST_PASSWORD_LENGTH:
        raise InvalidInputError(
            "admin_init_password", f"must have at least {_MIN_FIRST_PASSWORD_LENGTH} characters"
        )
    check_password(password, min_guesses=MIN_FIRST_PASSWORD_GUESSES, known=["admin"])
    return password


_POSTGRESQL = ("postgresql://", "postgres://", "postgresql+psycopg://")


def parse_database_url(text: str) -> Secret:
    """Parse the URL of the database, which may contain a password."""
    url = parse_secret(text)
    if not url.reveal().startswith(("sqlite:///", *_POSTGRESQL)):
        raise InvalidInputError(
            "database_url", "must be sqlite:////absolute/path or postgresql://user:password@host/database"
        )
    return url


def is_shared_database(url: Secret | None) -> bool:
    """Return whether several Servers can share the database."""
    return url is not None and url.reveal().startswith(_POSTGRESQL)


def parse_name_policy(text: str) -> NamePolicy:
    """Parse what happens if a name is taken."""
    return NamePolicy(one_of(*(policy.value for policy in NamePolicy))(text))


def parse_copy_policy(text: str) -> CopyPolicy:
    """Parse what happens to a copy of an identity."""
    return CopyPolicy(one_of(*(policy.value for policy in CopyPolicy))(text))


def parse_algorithm(text: str) -> str:
    """Parse the signing algorithm, in upper or lower case."""
    names = {name.lower(): name for name in SIGNING_ALGORITHMS}
    return names[one_of(*names)(text)]
