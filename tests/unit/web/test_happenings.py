"""The overview's list of what has just happened, one line each."""

from datetime import timedelta

import pytest
from tests.builders import NOON, worker

from lyftdata.core.audit_actions import AUDIT_ACTIONS
from lyftdata.core.fleet_verdict import SharedTrait, Trait, TraitKind, judge
from lyftdata.core.records import WorkerSessionRecord
from lyftdata.server.admin.fleet_queries import FleetState
from lyftdata.server.admin.schemas.audit import AuditEvent
from lyftdata.web.happenings import find_happenings, marks_of

# The first word of each line ends with one of these: past tense, or a state that lasts.
_ENDINGS = ("ed", "made", "set", "cut", "left", "withdrew", "was", "is", "ignores", "no")


def event(action, subject, *, ago=0, actor="operator:olga", number=1, **details):
    """Return an event of the audit log."""
    at = NOON - timedelta(seconds=ago)
    return AuditEvent(
        number=number,
        at=at,
        actor=actor,
        action=action,
        subject=subject,
        address="",
        details=details,
        hash="",
    )


def ended(worker_id, *, ago, end="lost"):
    """Return an ended session."""
    at = NOON - timedelta(seconds=ago)
    return WorkerSessionRecord(
        worker_id=worker_id, started_at=at - timedelta(hours=1), ended_at=at, end=end, address="10.0.0.1"
    )


def fleet(*sessions, lost=(), common=()):
    """Return the state of a fleet in which these sessions have ended and these Workers are lost."""
    ends = {session.worker_id: session for session in sessions}
    gone = {worker_id: ends[worker_id].ended_at for worker_id in lost}
    return FleetState(
        at=NOON,
        verdict=judge(online=9, returning=0, away=0, lost_at=list(gone.values()), common=common),
        online=frozenset(),
        lost=gone,
        returning=frozenset(),
        away=frozenset(),
        ends=ends,
    )


def lines(events, state, limit=10):
    """Return the lines that are shown: who, the verb, the subject, and the link."""
    known = {"press-09": worker("press-09", name="press 9")}
    found = find_happenings(events, state, find_worker=known.get, limit=limit)
    return [(one.who, one.did, one.what, one.path) for one in found]


@pytest.mark.parametrize("action", sorted(AUDIT_ACTIONS))
def test_every_audit_action_is_shown_in_words(action):
    """For an operator and an API token; no name of a field or an action is left in the line."""
    kind = action.partition(".")[0]
    for actor, who in (("operator:olga", "olga"), ("api_token:ci-deploy", "API token ci-deploy")):
        for found, did, what, _ in lines([event(action, f"{kind}:x", actor=actor)], fleet()):
            assert found == who
            assert did.partition(" ")[0].endswith(_ENDINGS), f"{who} {did} {what}"
            assert "_" not in did + what, f"{who} {did} {what}"


def test_each_line_names_its_subject_and_links_to_it():
    """A Worker is shown by its name, anything else with its kind; a deleted subject links to the audit log."""
    events = [
        event("worker.disabled", "worker:press-09", ago=1),
        event("api_key.rotated", "api_key:press-keys", ago=2),
        event("worker.deleted", "worker:gone/1", ago=3),
        event("worker.enrolled", "worker:press-09", ago=4, actor="enrollment"),
        event("operator.signed_in", "operator:olga", ago=5),
    ]
    assert lines(events, fleet()) == [
        ("olga", "disabled", "press 9", "/workers/press-09"),
        ("olga", "rotated", "API key press-keys", "/api-keys/press-keys"),
        ("olga", "deleted", "gone/1", "/audit?subject=worker%3Agone%2F1"),
        ("", "enrolled", "press 9", "/workers/press-09"),
    ]


def test_the_same_action_on_many_workers_is_one_line():
    """Fifty in a row by one operator are merged; another operator's actions, and the same an hour earlier, are not."""
    events = [
        *(event("worker.disabled", f"worker:w-{n}", ago=n) for n in range(50)),
        event("worker.disabled", "worker:w-1", ago=60, actor="operator:ann"),
        event("worker.disabled", "worker:w-2", ago=3_700, actor="operator:ann"),
    ]
    assert [line[:3] for line in lines(events, fleet())] == [
        ("olga", "disabled", "50 Workers"),
        ("ann", "disabled", "w-1"),
        ("ann", "disabled", "w-2"),
    ]


def test_a_mass_change_shows_its_total():
    """Even if only some of its events were read; two consecutive changes are one line."""
    events = [
        event("worker.disabled", "worker:w-1", number=1_502, group="1002"),
        event("workers.changed", "workers", number=1_002, count="500"),
        event("worker.disabled", "worker:w-2", number=1_001, group="1"),
        event("workers.changed", "workers", number=1, count="1000"),
    ]
    assert [line[:3] for line in lines(events, fleet())] == [("olga", "disabled", "1,500 Workers")]


def test_an_outage_is_one_line_with_what_the_lost_workers_share():
    """It covers Workers lost within a minute of each other; one that was lost before, and is back, has its own line."""
    label = SharedTrait(Trait(TraitKind.LABEL, "zone=eu-2"), 3)
    sessions = [ended(f"w-{n}", ago=100 + n * 30) for n in range(3)]
    state = fleet(*sessions, ended("press-09", ago=2_000), lost=["w-0", "w-1", "w-2"], common=[label])
    assert lines([], state) == [
        ("", "", "3 Workers lost (zone=eu-2)", "/workers?q=presence:lost"),
        ("", "", "press 9 was lost, and is back or no longer expected", "/workers/press-09"),
    ]


def test_an_outage_says_how_many_workers_are_still_missing():
    """Either none or some are still missing; a Worker that signed off was not lost."""
    sessions = [ended("w-0", ago=100), ended("w-1", ago=100), ended("w-2", ago=100, end="signed_off")]
    assert lines([], fleet(*sessions))[0][2] == "2 Workers lost, none of them missing any more"
    assert lines([], fleet(*sessions, lost=["w-1"]))[0][2] == "2 Workers lost, 1 still missing"


def test_actions_and_outages_are_sorted_by_time_and_limited():
    """The latest come first, and no more than the limit."""
    events = [
        event("worker.disabled", "worker:press-09", ago=50),
        event("worker.enabled", "worker:x", ago=300),
    ]
    found = lines(events, fleet(ended("w-0", ago=200)), limit=2)
    assert [what for _, _, what, _ in found] == ["press 9", "w-0 was lost, and is back or no longer expected"]


def test_charts_are_marked_where_keys_were_rotated():
    """Without the mark, a chart would not explain why Workers disconnected or connected."""
    events = [event("api_key.rotated", "api_key:a"), event("worker.disabled", "worker:b")]
    assert [mark.text for mark in marks_of(events)] == ["key rotated"]


def test_alerts_are_not_repeated_as_happenings():
    """The overview already lists them; what was done to an event destination has its own words."""
    events = [
        event("alert.refused", "worker:press-09", ago=1, actor="server"),
        event("alert.ended", "alert:refused", ago=2, actor="server"),
        event("event_destination.secret_rotated", "event_destination:siem", ago=3),
    ]

    (line,) = lines(events, fleet())
    assert line[:3] == ("olga", "rotated the secret of", "event destination siem")


def test_a_snooze_is_shown_in_words():
    """One alert by what it is about, several by their number."""
    snoozed = [event("attention.snoozed", f"alert:{kind}", ago=1) for kind in ("key_expires", "approval")]

    assert [line[:3] for line in lines(snoozed, fleet())] == [("olga", "snoozed", "2 alerts")]
    assert [line[:3] for line in lines(snoozed[:1], fleet())] == [("olga", "snoozed", "alert key expires")]


def test_an_operator_named_server_is_shown_by_name():
    """An identity provider may let people choose such a name; their actions must not look like the Server's own."""
    events = [
        event("worker.disabled", "worker:press-09", ago=1, actor="operator:server"),
        event("worker.enrolled", "worker:press-09", ago=2, actor="server"),
    ]

    assert [who for who, _, _, _ in lines(events, fleet())] == ["server", ""]
