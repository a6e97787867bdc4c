"""
Parses the subject of an incident (a key, a Worker, an address or network, or a host) and the time from which it is examined.

An operator names the subject as `api-key:NAME`, `enrollment-key:NAME`, `worker:ID`, `address:ADDRESS` or `host:NAME`, or by the name
alone if only one thing has it. Never by the secret itself, which would end up in logs and in the shell history.
"""

import ipaddress
import re
from datetime import datetime
from enum import StrEnum

import msgspec

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.networks import Network, parse_network
from lyftdata.core.text import clean_text
from lyftdata.core.times import parse_moment

CUT_OFF = "incident.cut_off"
"""The audit event of a cut-off."""
MAX_SUBJECT_LENGTH = 128
# A whole API key or enrollment key: its public ID, then the secret.
_WHOLE_KEY = re.compile(r"lyftdata_(?:enroll_)?([0-9A-Za-z]{10})_[0-9A-Za-z]{20,}")


class SubjectKind(StrEnum):
    """The kinds of things that an incident can be about."""

    API_KEY = "api-key"
    ENROLLMENT_KEY = "enrollment-key"
    WORKER = "worker"
    ADDRESS = "address"
    HOST = "host"


class IncidentSubject(msgspec.Struct, frozen=True):
    """The subject of an incident: the name of a key, the ID of a Worker, a network in CIDR form, or a host's name."""

    kind: SubjectKind
    value: str

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.value}"

    @property
    def network(self) -> Network:
        """Return the network of a subject of kind ADDRESS."""
        return ipaddress.ip_network(self.value)


class Reason(StrEnum):
    """Why a Worker belongs to an incident."""

    ENROLLED_WITH_IT = "enrolled_with_it"
    ENROLLED_FROM_THERE = "enrolled_from_there"
    GOT_TOKENS_BY_IT = "got_tokens_by_it"
    GOT_TOKENS_FROM_THERE = "got_tokens_from_there"
    CONNECTED_BY_IT = "connected_by_it"
    CONNECTED_FROM_THERE = "connected_from_there"
    IS_IT = "is_it"


class StepCode(StrEnum):
    """What must be done by hand in an incident."""

    ISSUE_API_KEY = "issue_api_key"
    ISSUE_ENROLLMENT_KEY = "issue_enrollment_key"
    CHANGE_SETTING = "change_setting"
    REPLACE_API_KEY = "replace_api_key"
    REPLACE_ENROLLMENT_KEY = "replace_enrollment_key"
    REBUILD_HOST = "rebuild_host"
    CHECK_OPERATORS = "check_operators"
    OFFLINE_TOKENS = "offline_tokens"


def find_public_id(text: str) -> str | None:
    """Return the public ID of the whole key that a text contains, or None; it is enough to look up the key."""
    found = _WHOLE_KEY.search(text)
    return None if found is None else found[1]


def parse_subject(text: str) -> tuple[SubjectKind | None, str]:
    """
    Split a subject into its kind (None if it is not given) and its value.

    Raises:
        InvalidInputError: Empty, too long, a whole key, or not an address after `address:`.
    """
    text = text.strip()
    if find_public_id(text) is not None:
        raise InvalidInputError(
            "subject", "must be the name or the public ID of a key, not the key, which would be logged"
        )
    if not text or len(text) > MAX_SUBJECT_LENGTH or clean_text(text) != text:
        raise InvalidInputError("subject", f"must be 1 to {MAX_SUBJECT_LENGTH} printable characters")
    prefix, separator, value = text.partition(":")
    if separator and prefix in set(SubjectKind):
        kind = SubjectKind(prefix)
        return kind, str(_address(value)) if kind is SubjectKind.ADDRESS else value
    try:
        return SubjectKind.ADDRESS, str(parse_network(text))
    except ValueError:
        return None, text


def parse_since(text: str, *, now: datetime) -> datetime | None:
    """
    Parse a start time: a time such as `2026-03-01T12:00Z`, or a duration ago, such as `24h`; empty for no limit.

    Raises:
        InvalidInputError: Neither, or in the future.
    """
    text = text.strip()
    if not text:
        return None
    try:
        since = parse_moment(text, now=now, ahead=False)
    except ValueError as error:
        raise InvalidInputError(
            "since", "must be a time such as 2026-03-01T12:00Z, or how long ago, such as 24h or 7d"
        ) from error
    if since > now:
        raise InvalidInputError("since", "must not be in the future")
    return since


def _address(text: str) -> Network:
    try:
        return parse_network(text)
    except ValueError as error:
        raise InvalidInputError(
            "subject", "must have an address or a network behind address:, such as 203.0.113.0/24"
        ) from error
