"""
The policy for agent versions: below which version an agent is warned, and below which it is refused.

    version < refuse_below, from `refuse_from` on   refused
    version < refuse_below, before that time        warned, with the time
    version < warn_below                            warned
    not a version, or none                          unknown: neither warned nor refused

This is hygiene, not security: the agent reports its version itself, and a modified agent can report any. For the same reason an
agent that reports none is not refused: any OAuth client can be a Worker.
"""

from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.refusals import AgentTooOldError
from lyftdata.core.structs import prepare_structs
from lyftdata.core.versions import Version, parse_version

MAX_VERSION_LENGTH = 32


class VersionStanding(StrEnum):
    """The result of checking an agent's reported version against the policy."""

    CURRENT = "current"
    WARNED = "warned"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class FleetPolicyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    A policy as it is stored.

    Args:
        warn_below: Agents of earlier versions are warned; "" for none.
        refuse_below: Agents of earlier versions are refused from `refuse_from` on; "" for none.
        refuse_from: Aware UTC time; None unless `refuse_below` is given.
        set_at: When it was set.
        set_by: Who set it.
    """

    warn_below: str
    refuse_below: str
    refuse_from: datetime | None
    set_at: datetime
    set_by: str


prepare_structs(FleetPolicyRecord)


class FleetPolicy:
    """A policy, prepared for checking versions: a check costs a look-up and a comparison."""

    __slots__ = ("_refuse_below", "_warn_below", "record")

    def __init__(self, record: FleetPolicyRecord) -> None:
        self.record = record
        self._warn_below = parse_version(record.warn_below)
        self._refuse_below = parse_version(record.refuse_below)

    def standing_of(self, version: str, *, now: datetime) -> VersionStanding:
        """Return the standing of a version as an agent reports it; "" if it reports none."""
        parsed = parse_version(version)
        if parsed is None:
            return VersionStanding.UNKNOWN
        if self._is_to_be_refused(parsed):
            refuse_from = self.record.refuse_from
            is_due = refuse_from is None or now >= refuse_from
            return VersionStanding.REFUSED if is_due else VersionStanding.WARNED
        if self._warn_below is not None and parsed < self._warn_below:
            return VersionStanding.WARNED
        return VersionStanding.CURRENT

    def refused_from(self, version: str) -> datetime | None:
        """Return the time from which a version is refused; None if it is not."""
        parsed = parse_version(version)
        return self.record.refuse_from if parsed is not None and self._is_to_be_refused(parsed) else None

    def refusal(self, version: str, *, worker_id: str) -> AgentTooOldError:
        """Return the refusal of an agent of this version; does not check that it is refused."""
        detail = f"Agent {version} is older than {self.record.refuse_below}."
        return AgentTooOldError(detail, claimed_worker=worker_id)

    @property
    def minimum(self) -> str:
        """Return the lowest version that is neither warned nor refused."""
        wanted = [(self._warn_below, self.record.warn_below), (self._refuse_below, self.record.refuse_below)]
        return max((each for each in wanted if each[0] is not None), default=(None, ""), key=_by_version)[1]

    def _is_to_be_refused(self, version: Version) -> bool:
        return self._refuse_below is not None and version < self._refuse_below


def _by_version(pair: tuple[Version | None, str]) -> Version:
    return pair[0] or Version(())


def make_policy(
    *, warn_below: str, refuse_below: str, refuse_from: datetime | None, at: datetime, by: str
) -> FleetPolicyRecord:
    """
    Check and return a policy.

    Args:
        warn_below: A version, or "".
        refuse_below: A version, or "".
        refuse_from: The time from which agents are refused; None for at once.
        at: The present time, aware UTC.
        by: Who sets it.

    Raises:
        InvalidInputError: A text is not a version, neither is given, there is a time without `refuse_below`, or `warn_below` is
            lower than `refuse_below`, so that no agent would be warned.
    """
    versions = {
        name: _checked(name, text.strip())
        for name, text in (("warn_below", warn_below), ("refuse_below", refuse_below))
        if text.strip()
    }
    if not versions:
        raise InvalidInputError(
            "warn_below", "must be given, unless refuse_below is; to have no policy, remove it"
        )
    if refuse_from is not None and "refuse_below" not in versions:
        raise InvalidInputError("from", "is the time from which agents are refused: give refuse_below too")
    if "warn_below" in versions and versions["warn_below"] < versions.get("refuse_below", Version(())):
        raise InvalidInputError("warn_below", "must not be lower than refuse_below")
    return FleetPolicyRecord(
        warn_below=warn_below.strip(),
        refuse_below=refuse_below.strip(),
        refuse_from=(refuse_from or at) if "refuse_below" in versions else None,
        set_at=at,
        set_by=by,
    )


def parse_refuse_from(text: str) -> datetime | None:
    """
    Parse the time from which agents are refused: a date (its beginning in UTC) or a time, in UTC unless it has a zone; empty for at once.

    Raises:
        InvalidInputError: Neither.
    """
    text = text.strip()
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text.upper().removesuffix(" UTC"))
        return (at.replace(tzinfo=UTC) if at.tzinfo is None else at).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInputError(
            "from", "must be a date or a time, such as 2027-03-01 or 2027-03-01T06:00Z"
        ) from None


def _checked(name: str, text: str) -> Version:
    version = parse_version(text)
    if version is None or len(text) > MAX_VERSION_LENGTH or not text.isprintable():
        raise InvalidInputError(name, "must be a version, such as 1.4 or 1.4.2")
    return version


class RefusedAgentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    Refusals of agents that are too old, counted for all Workers whose names differ only in generated parts.

    Args:
        family: Their name, with `*` for the generated parts.
        worker_id: The Worker that was refused last; it may be gone.
        boot_id: Identifies the start of its program.
        version: The version that it reported.
        hostname: The host name that it reported: untrusted text.
        address: The address that it came from.
        attempts: How often they were refused.
        starts: How many starts of programs those attempts came from.
        entries: How many Worker entries: a Worker that enrolls again at each start has a new one each time.
        first_at: The first refusal; after an hour without an attempt the counts begin again.
        last_at: The latest refusal.
    """

    family: str
    worker_id: str
    boot_id: str
    version: str
    hostname: str
    address: str
    attempts: int
    starts: int
    entries: int
    first_at: datetime
    last_at: datetime


prepare_structs(RefusedAgentRecord)
