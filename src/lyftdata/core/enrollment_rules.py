"""
The rules of an issued enrollment key: which Workers it may enroll, from where, until when.

The pattern of Worker names has two wildcards, `*` for any characters and `?` for one; everything else is literal and
case-sensitive. A network is written in CIDR form; the address compared is that of the connection, or the one that a trusted
proxy reports, and an IPv4-mapped IPv6 address counts as its IPv4 address.

There are two kinds of rules. Those that bound the key (`check_key_in_force`, and its uses) hold in every mode: they limit what a
leaked key is worth. Those that describe the caller (`broken_rules`) only warn in mode `warn`.
"""

import fnmatch
import functools
import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.names import check_no_credential
from lyftdata.core.records import EnrollmentKeyRecord
from lyftdata.core.refusals import (
    EnrollmentKeyExpiredError,
    EnrollmentKeyRefusedError,
    EnrollmentKeyRevokedError,
    EnrollmentNameNotAllowedError,
    EnrollmentNetworkNotAllowedError,
)
from lyftdata.core.times import format_time

STARTUP_NAME = "startup"
"""Name of the key that LYFTDATA_AUTO_ENROLLMENT_KEY sets; no issued key can have it."""

MAX_USES = 1_000_000
MAX_NETWORKS = 32
_MAX_PATTERN = 64
_NAME = re.compile(r"[A-Za-z0-9_-]{5,50}")


def parse_enrollment_key_name(text: str) -> str:
    """Read a key's name: 5 to 50 letters, digits, `-` and `_`, and not `startup`."""
    if not _NAME.fullmatch(text):
        raise InvalidInputError("name", "must be 5 to 50 ASCII letters, digits, '-' or '_'")
    if text.casefold() == STARTUP_NAME:
        raise InvalidInputError(
            "name", f"must not be '{STARTUP_NAME}': LYFTDATA_AUTO_ENROLLMENT_KEY has that name"
        )
    return text


def parse_name_pattern(text: str, *, field: str = "worker_name") -> str:
    """Read a pattern of Worker names: 1 to 64 printable characters, in the composed form (NFC) that names have."""
    pattern = unicodedata.normalize("NFC", text).strip()
    if not 1 <= len(pattern) <= _MAX_PATTERN or not pattern.isprintable():
        raise InvalidInputError(field, f"must be 1 to {_MAX_PATTERN} printable characters, such as etl-*")
    check_no_credential(field, pattern)
    return pattern


def parse_networks(texts: Sequence[str], *, field: str = "networks") -> list[str]:
    """Read networks, such as 10.4.0.0/16; a bare address is a network of one."""
    if len(texts) > MAX_NETWORKS:
        raise InvalidInputError(field, f"must be at most {MAX_NETWORKS}")
    return sorted({str(_parse_network(text.strip(), field=field)) for text in texts})


def _parse_network(text: str, *, field: str) -> IPv4Network | IPv6Network:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidInputError(field, "must be like 10.4.0.0/16 or 2001:db8::/32") from error
    if "/" in text and str(network.network_address) != str(ipaddress.ip_address(text.partition("/")[0])):
        # An operator who writes 10.4.7.9/16 may mean one host, but would allow 65,536.
        raise InvalidInputError(
            field, f"must end where its prefix does: write {network}, or the address alone"
        )
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise InvalidInputError(field, "must be written as IPv4, not as IPv4 mapped into IPv6")
    return network


def check_key_in_force(record: EnrollmentKeyRecord, *, now: datetime, claimed_worker: str = "") -> None:
    """
    Check that an issued key is neither revoked nor expired; the store checks whether it has uses left.

    Args:
        record: The key that was proved.
        now: Aware UTC time.
        claimed_worker: The name that the caller asks for, by which operators find the refusal.

    Raises:
        EnrollmentKeyRevokedError: Revoked.
        EnrollmentKeyExpiredError: `now >= expires_at`.
    """
    if record.revoked_at is not None:
        raise EnrollmentKeyRevokedError(
            f"{describe(record)} was revoked at {format_time(record.revoked_at)}.",
            claimed_worker=claimed_worker,
            enrollment_key=record.fingerprint,
        )
    if record.expires_at is not None and now >= record.expires_at:
        why = ", after a rotation" if record.rotated_at is not None else ""
        raise EnrollmentKeyExpiredError(
            f"{describe(record)} stopped working at {format_time(record.expires_at)}{why}.",
            claimed_worker=claimed_worker,
            enrollment_key=record.fingerprint,
        )


def is_in_force(record: EnrollmentKeyRecord, *, now: datetime) -> bool:
    """Return whether a key can enroll a Worker at all: it is not revoked, expired or used up."""
    is_over = record.expires_at is not None and now >= record.expires_at
    return record.revoked_at is None and not is_over and not record.is_used_up


def broken_rules(
    record: EnrollmentKeyRecord, *, address: str, worker_name: str
) -> tuple[EnrollmentKeyRefusedError, ...]:
    """
    Return a refusal for each rule about callers that this caller breaks.

    Args:
        record: The key that was proved. Its mode is ignored.
        address: Address of the caller.
        worker_name: As returned by `parse_worker_name`.
    """
    broken: list[EnrollmentKeyRefusedError] = []
    if record.networks and not _is_within(address, record.networks):
        broken.append(
            EnrollmentNetworkNotAllowedError(
                f"{describe(record)} is for {', '.join(record.networks)}.",
                claimed_worker=worker_name,
                enrollment_key=record.fingerprint,
            )
        )
    if record.worker_name is not None and not matches_pattern(worker_name, record.worker_name):
        broken.append(
            EnrollmentNameNotAllowedError(
                f"{describe(record)} is for Workers named '{record.worker_name}'.",
                claimed_worker=worker_name,
                enrollment_key=record.fingerprint,
            )
        )
    return tuple(broken)


def is_approved_by_rule(record: EnrollmentKeyRecord, *, address: str, worker_name: str) -> bool:
    """
    Return whether a Worker is approved without an operator: the key has at least one approval rule, and every one of them holds.

    Args:
        record: The key that was proved, of mode `approve`.
        address: Address of the caller.
        worker_name: As returned by `parse_worker_name`. The caller chooses it: on its own it proves nothing.
    """
    if record.approve_name is None and not record.approve_networks:
        return False
    fits_name = record.approve_name is None or matches_pattern(worker_name, record.approve_name)
    return fits_name and (not record.approve_networks or _is_within(address, record.approve_networks))


def matches_pattern(name: str, pattern: str) -> bool:
    """Return whether a name matches a pattern, in time that does not depend on the number of `*`."""
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def describe(record: EnrollmentKeyRecord) -> str:
    """Return how refusals name a key."""
    return f"Enrollment key '{record.name}' ({record.public_id})"


def _is_within(address: str, networks: Sequence[str]) -> bool:
    try:
        given = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        # Default deny: an unknown address is in no network.
        return False
    given = getattr(given, "ipv4_mapped", None) or given
    return any(given in _network(text) for text in networks)


# Denial of service: a rehearsal compares tens of thousands of addresses, and parsing a network takes twenty times as long as comparing.
@functools.lru_cache(maxsize=1_024)
def _network(text: str) -> IPv4Network | IPv6Network:
    return ipaddress.ip_network(text)
