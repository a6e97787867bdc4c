"""Describes recent happenings in one line each: operators' decisions from the audit log, and the fleet's own changes."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from urllib.parse import quote

import msgspec

from lyftdata.core.fleet_verdict import SharedTrait, TraitKind
from lyftdata.core.records import SessionEnd, WorkerRecord, WorkerSessionRecord
from lyftdata.core.text import count
from lyftdata.server.admin.fleet_queries import FleetState
from lyftdata.server.admin.schemas.audit import AuditEvent
from lyftdata.web.charts import Moment

MARKED_ACTIONS = {
    "api_key.rotated": "key rotated",
    "enrollment_key.rotated": "enrollment key rotated",
    "signing_key.activated": "signing key changed",
    "secret_key.rotated": "secret key rotated",
    "incident.cut_off": "cut-off",
}
# Workers that disconnected without signing off within a minute of each other count as one outage.
_SAME_OUTAGE = timedelta(minutes=1)
_SAME_ACT = timedelta(minutes=10)
# Sign-ins are in the audit log, but say nothing about the fleet. Each Worker in a bulk change has its own event.
_LEFT_OUT = {
    "change_request.explained",
    "operator.signed_in",
    "operator.reauthenticated",
    "signing_key.created",
    "workers.changed",
    "workers.created",
    "workers.undone",
}
_VERBS = {
    "worker.created": "added",
    "worker.binding_changed": "changed the token binding of",
    "worker.disable_changed": "changed the note or the end of disabling",
    "worker.replaced_removed": "was replaced, and is removed",
    "worker.copy_decided": "decided about a copy of",
    "worker.labelled": "labelled",
    "worker.key_rotation_asked": "asked for a new identity key of",
    "worker.key_rotated": "rotated its identity key:",
    "worker.next_key_registered": "registered a new identity key:",
    "worker.active_again": "is active again:",
    "worker.approval_expired": "waited for approval for too long:",
    "change_request.confirmed": "confirmed",
    "change_request.declined": "declined",
    "change_request.expired": "waited for a second operator for too long:",
    "change_request.made": "asked for a second operator in",
    "change_request.void": "is void, because the account of its operator has changed:",
    "change_request.withdrawn": "withdrew",
    "second_operator.changed": "set",
    "second_operator.turned_off": "turned off",
    "attention.snoozed": "snoozed",
    "attention.unsnoozed": "no longer snoozes",
    "api_key.allowed": "allowed a Worker for",
    "api_key.previous_ended": "ended the old generation of",
    "enrollment_key.previous_ended": "ended the old generation of",
    "event_destination.event_skipped": "skipped an event that is rejected by",
    "event_destination.secret_rotated": "rotated the secret of",
    "incident.cut_off": "cut off the Workers of",
    "fleet_policy.set": "set",
    "fleet_policy.cleared": "removed",
    "operator.device_login_approved": "confirmed a command line as",
    "operator.device_login_denied": "denied a command line as",
    "operator.emergency_access": "opened emergency access for",
    "operator.locked_out": "was locked out",
    "operator.passkey_added": "registered a passkey for",
    "operator.passkey_counter_regressed": "was refused a passkey that may have been copied",
    "operator.passkey_removed": "removed a passkey of",
    "operator.password_set": "set the password of",
    "operator.recovery_code_used": "used a recovery code of",
    "operator.recovery_codes_made": "made new recovery codes for",
    "operator.role_set": "set the role of",
    "operator.scope_set": "set the limit of",
    "operator.second_factor_added": "added a second factor for",
    "operator.second_factor_removed": "removed the second factor of",
    "operator.second_factor_reset": "reset the second factor of",
    "operator.session_ended": "ended a session of",
    "operator.sessions_ended": "ended all sessions of",
    "operator.sign_in_refused": "refused the sign-in of",
    "refusal.ignored": "ignores refusals of",
    "refusal.reopened": "no longer ignores refusals of",
    "resource.key_issued": "issued a key for",
    "signing_key.withdrawn": "withdrew",
}
_NOUNS = {
    "alert": "alert",
    "worker": "Worker",
    "api_key": "API key",
    "api_token": "API token",
    "change_request": "request",
    "enrollment_key": "enrollment key",
    "event_destination": "event destination",
    "fleet_policy": "the fleet policy",
    "operator": "operator",
    "resource": "resource",
    "second_operator": "the rules for a second operator",
    "signing_key": "signing key",
    "secret_key": "the secret key",
    "audit_log": "the audit log",
    "token": "token",
}
_PAGES = {
    "worker": "/workers/",
    "api_key": "/api-keys/",
    "enrollment_key": "/enrollment/",
    "resource": "/resources/",
    "change_request": "/requests/",
}


class Happening(msgspec.Struct, frozen=True):
    """A line: when, who (empty for the fleet itself), what was done, to what, and the page that shows it."""

    at: datetime
    who: str
    did: str
    what: str
    path: str = ""


def marks_of(events: Sequence[AuditEvent]) -> list[Moment]:
    """Return the marks for a plot: events that may explain a change in the number of Workers."""
    return [
        Moment(event.at, MARKED_ACTIONS[event.action]) for event in events if event.action in MARKED_ACTIONS
    ]


def find_happenings(
    events: Sequence[AuditEvent],
    fleet: FleetState,
    *,
    find_worker: Callable[[str], WorkerRecord | None],
    limit: int,
) -> list[Happening]:
    """
    Return what happened, the latest first.

    Args:
        events: From the audit log, the latest first.
        fleet: Which Workers were lost, and what they have in common.
        find_worker: Finds the entry of a Worker, for its name.
        limit: The maximum number of lines.
    """
    shown = [event for event in events if event.action not in _LEFT_OUT and not _is_alert(event)]
    acts = _acts(shown, find_worker, _sizes(events))
    found = [*acts, *_outages(fleet, find_worker)]
    return sorted(found, key=lambda one: one.at, reverse=True)[:limit]


def _is_alert(event: AuditEvent) -> bool:
    """Return whether an event reports something that the overview already shows as an alert."""
    return event.action.startswith("alert.")


def group_before(events: Sequence[AuditEvent]) -> int | None:
    """Return the number of the event that began the group in which these events, the latest first, end; None if they end outside of one."""
    group = events[-1].details.get("group", "") if events else ""
    return int(group) if group.isascii() and group.isdigit() else None


def _sizes(events: Sequence[AuditEvent]) -> Mapping[str, int]:
    """Return how many events each group has, by the number of the event that began it: not all of them may have been read."""
    counts = {str(event.number): event.details.get("count", "") for event in events}
    return {number: int(text) for number, text in counts.items() if text.isascii() and text.isdigit()}


def _number_of(events: Sequence[AuditEvent], sizes: Mapping[str, int]) -> int:
    """Return how many things these events are about, those of their groups that were not read included."""
    in_groups = Counter(event.details.get("group", "") for event in events)
    unread = sum(max(0, sizes.get(group, 0) - number) for group, number in in_groups.items())
    return len({event.subject for event in events}) + unread


def _acts(
    events: Sequence[AuditEvent],
    find_worker: Callable[[str], WorkerRecord | None],
    sizes: Mapping[str, int],
) -> Iterator[Happening]:
    """Merge what one actor did to many in a row: disabling fifty Workers is one line."""
    for (actor, action), group in groupby(events, key=lambda event: (event.actor, event.action)):
        for together in _close_together(list(group)):
            yield _act(actor, action, together, find_worker, sizes)


def _close_together(events: Sequence[AuditEvent]) -> Iterator[list[AuditEvent]]:
    together: list[AuditEvent] = []
    for event in events:
        if together and together[-1].at - event.at > _SAME_ACT:
            yield together
            together = []
        together.append(event)
    if together:
        yield together


def _act(
    actor: str,
    action: str,
    events: Sequence[AuditEvent],
    find_worker: Callable[[str], WorkerRecord | None],
    sizes: Mapping[str, int],
) -> Happening:
    kind, _, verb = action.partition(".")
    latest = events[0]
    subject_kind, _, subject = latest.subject.partition(":")
    did = _VERBS.get(action, verb.replace("_", " "))
    who = actor.removeprefix("operator:")
    if actor.startswith("api_token:"):
        who = f"{_NOUNS['api_token']} {actor.removeprefix('api_token:')}"
    noun = _NOUNS.get(subject_kind, _NOUNS.get(kind, kind))
    # Impersonation: an operator may be named `server`, even by an issuer.
    if actor in {"enrollment", "server"} or actor.startswith("worker:"):
        who = ""
    number = _number_of(events, sizes)
    if number > 1:
        return Happening(latest.at, who, did, count(number, noun), f"/audit?action={action}")
    worker = find_worker(subject) if subject_kind == "worker" else None
    name = worker.name if worker is not None else subject
    if subject_kind == "alert":
        name = subject.replace("_", " ")
    is_there = subject_kind in _PAGES and (subject_kind != "worker" or worker is not None)
    path = (
        f"{_PAGES[subject_kind]}{quote(subject, safe='')}"
        if is_there
        else f"/audit?subject={quote(latest.subject, safe='')}"
    )
    if noun.startswith("the "):
        name = noun
    elif noun != "Worker":
        name = f"{noun} {name}"
    return Happening(latest.at, who, did, name, path)


def _outages(fleet: FleetState, find_worker: Callable[[str], WorkerRecord | None]) -> Iterator[Happening]:
    """Yield one line for Workers that were lost at about the same time."""
    ended = sorted(
        (session for session in fleet.ends.values() if session.end == SessionEnd.LOST),
        key=_ended_at,
    )
    together: list[WorkerSessionRecord] = []
    for session in ended:
        if together and _ended_at(session) - _ended_at(together[-1]) > _SAME_OUTAGE:
            yield _outage(together, fleet, find_worker)
            together = []
        together.append(session)
    if together:
        yield _outage(together, fleet, find_worker)


def _outage(
    sessions: Sequence[WorkerSessionRecord],
    fleet: FleetState,
    find_worker: Callable[[str], WorkerRecord | None],
) -> Happening:
    at = _ended_at(sessions[-1])
    still = sum(session.worker_id in fleet.lost for session in sessions)
    if len(sessions) == 1:
        worker = find_worker(sessions[0].worker_id)
        name_id = sessions[0].worker_id
        name = name_id if worker is None else worker.name
        what = f"{name} was lost" if still else f"{name} was lost, and is back or no longer expected"
        return Happening(at, "", "", what, f"/workers/{quote(name_id, safe='')}" if worker else "")
    what = f"{count(len(sessions), 'Worker')} lost"
    is_most = len(fleet.lost) > 0 and still * 2 > len(fleet.lost)
    if is_most and fleet.verdict.common:
        what += f" ({_short(fleet.verdict.common[0])})"
    if not still:
        what += ", none of them missing any more"
    elif still < len(sessions):
        what += f", {still:,} still missing"
    return Happening(at, "", "", what, "/workers?q=presence:lost" if still else "")


def _short(shared: SharedTrait) -> str:
    value = shared.trait.value
    return f"{value}…" if shared.trait.kind is TraitKind.HOST else value.removeprefix("enrollment:")


def _ended_at(session: WorkerSessionRecord) -> datetime:
    return session.ended_at or session.started_at
