"""Finds who is refused repeatedly: by a setting that is wrong, by a second start of the same Worker, or by the fleet policy."""

from collections.abc import Callable, Iterator, Sequence

from lyftdata.core.fleet_policy import RefusedAgentRecord
from lyftdata.core.networks import network_of_host
from lyftdata.core.refusals import cause_of
from lyftdata.server.admin.refusal_inbox import RefusalCase
from lyftdata.server.admin.schemas.status import Alert, AlertKind

_A_PATTERN = 3
_MAX_NAMED = 3


def duplicate_starts(refused: Sequence[RefusalCase]) -> list[Alert]:
    """Return an alert for each Worker that was started twice."""
    found = [one for one in refused if one.code == "duplicate_instance"]
    return [
        Alert(
            about=_networks_of(one),
            kind=AlertKind.DUPLICATE,
            subject=one.latest.last_reference,
            title=f"{one.latest.claimed_worker if one.worker is None else one.worker.name} was started twice",
            detail=one.latest.last_detail,
            key=f"start:{one.subject}",
            worker_id=_worker_id_of(one),
        )
        for one in found
    ]


def misconfigured(refused: Sequence[RefusalCase]) -> list[Alert]:
    """Return alerts for Workers that are refused repeatedly, and then for unknown callers."""
    repeated = [one for one in refused if _is_misconfiguration(one.code) and one.count >= _A_PATTERN]
    known = [one for one in repeated if one.worker is not None]
    unknown = [one for one in repeated if one.worker is None]
    return [
        *_of_each_cause(known, _known_worker_alert),
        *_of_each_cause(unknown, _unknown_worker_alert),
    ]


def too_old_agents(refused: Sequence[RefusedAgentRecord]) -> list[Alert]:
    """Return one alert for all agents that the fleet policy refuses; those that restart repeatedly are named first."""
    if not refused:
        return []
    looping = [one for one in refused if one.starts >= _A_PATTERN or one.entries >= _A_PATTERN]
    loops = [
        f"{one.family} ({one.starts:,} starts{f', {one.entries:,} entries' if one.entries > 1 else ''})"
        for one in looping
    ]
    again = f" Started again and again: {_first_named(loops)}." if loops else ""
    return [
        Alert(
            kind=AlertKind.AGENT_TOO_OLD,
            subject="",
            key="agent_too_old",
            about=[one.family for one in refused],
            title=f"Agent too old: {_first_named([one.family for one in refused])}",
            detail=f"The fleet policy refused them {sum(one.attempts for one in refused):,} times within the hour.{again}",
        )
    ]


def _first_named(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - _MAX_NAMED:,} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def _key_of(case: RefusalCase) -> str:
    """Return the key of an alert about refusals: the cause, since refusals with one cause are shown as one."""
    return case.code if case.worker is not None else f"{case.code}:unknown"


def _worker_id_of(case: RefusalCase) -> str:
    return "" if case.worker is None else case.worker.id


def _networks_of(case: RefusalCase) -> list[str]:
    """Return who is refused and from which networks: from another one it may be someone else."""
    return sorted({f"{case.subject} {network_of_host(group.address)}" for group in case.groups})


def _is_misconfiguration(code: str) -> bool:
    cause = cause_of(code)
    return cause is not None and cause.is_misconfiguration


def _of_each_cause(
    repeated: Sequence[RefusalCase], describe: Callable[[RefusalCase], Alert]
) -> Iterator[Alert]:
    """Yield an alert for each cause: the remedy is the same for all callers that are refused for it."""
    by_cause: dict[str, list[RefusalCase]] = {}
    for one in repeated:
        by_cause.setdefault(one.code, []).append(one)
    for found in by_cause.values():
        yield describe(found[0]) if len(found) == 1 else _same_cause_alert(found)


def _same_cause_alert(found: Sequence[RefusalCase]) -> Alert:
    latest = max(found, key=lambda one: one.latest.last_at).latest
    what = latest.code.replace("_", " ").replace("api key", "API key")
    return Alert(
        kind=AlertKind.REFUSED,
        subject=latest.last_reference,
        title=f"{what[:1].upper()}{what[1:]}: {_first_named([one.name for one in found])}",
        detail=f"{latest.meaning} {sum(one.count for one in found):,} times in all.",
        code=latest.code,
        callers=[one.subject for one in found],
        about=[network for one in found for network in _networks_of(one)],
        key=_key_of(found[0]),
    )


def _known_worker_alert(refused: RefusalCase) -> Alert:
    return _alert(refused, f"{refused.name} at {refused.origin} was refused {refused.count:,} times")


def _unknown_worker_alert(refused: RefusalCase) -> Alert:
    return _alert(refused, f"{refused.origin} was refused {refused.count:,} times, as an unknown Worker")


def _alert(refused: RefusalCase, title: str) -> Alert:
    return Alert(
        kind=AlertKind.REFUSED,
        subject=refused.latest.last_reference,
        title=title,
        detail=refused.latest.meaning,
        code=refused.code,
        callers=[refused.subject],
        about=_networks_of(refused),
        key=_key_of(refused),
        worker_id=_worker_id_of(refused),
    )
