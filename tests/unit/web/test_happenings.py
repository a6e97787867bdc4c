"""What has just happened, in one line each."""

from datetime import timedelta

import pytest
from tests.builders import NOON, worker

from lyftdata.core.audit_actions import AUDIT_ACTIONS
from lyftdata.core.fleet_verdict import SharedTrait, Trait, TraitKind, judge
from lyftdata.core.records import WorkerSessionRecord
from lyftdata.server.admin.fleet_queries import FleetState
from lyftdata.server.admin.schemas.audit import AuditEvent
from lyftdata.web.happenings import find_happenings, marks_of

# Of verbs in the past, and of what goes on.
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
    """Return a session that has ended."""
    at = NOON - timedelta(seconds=ago)
    return WorkerSessionRecord(
        worker_id=worker_id, started_at=at - timedelta(hours=1), ended_at=at, end=end, address="10.0.0.1"
    )


def fleet(*sessions, lost=(), common=()):
    """Return the state of a fleet of which these sessions have ended, and these Workers are lost."""
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
    """Return what is shown: who, what was done, to what, and where it leads."""
    known = {"press-09": worker("press-09", name="press 9")}
    found = find_happenings(events, state, find_worker=known.get, limit=limit)
    return [(one.who, one.did, one.what, one.path) for one in found]


@pytest.mark.parametrize("action", sorted(AUDIT_ACTIONS))
def test_every_action_is_told_in_words(action):
    """An operator and an API token do something to something: no name of a field or of an action is left in the line."""
    kind = action.partition(".")[0]
    for actor, who in (("operator:olga", "olga"), ("api_token:ci-deploy", "API token ci-deploy")):
        for found, did, what, _ in lines([event(action, f"{kind}:x", actor=actor)], fleet()):
            assert found == who
            assert did.partition(" ")[0].endswith(_ENDINGS), f"{who} {did} {what}"
            assert "_" not in did + what, f"{who} {did} {what}"


def test_acts_are_told_by_name_and_lead_to_what_they_are_about():
    """A Worker by its name, everything else with its kind; what is gone leads to the audit log."""
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


def test_what_was_done_to_many_is_one_line():
    """Fifty in a row by one person; not what another did, nor the same an hour before."""
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


def test_a_mass_change_has_its_whole_number():
    """Also where only some of its events were read; two that follow each other are one line."""
    events = [
        event("worker.disabled", "worker:w-1", number=1_502, group="1002"),
        event("workers.changed", "workers", number=1_002, count="500"),
        event("worker.disabled", "worker:w-2", number=1_001, group="1"),
        event("workers.changed", "workers", number=1, count="1000"),
    ]
    assert [line[:3] for line in lines(events, fleet())] == [("olga", "disabled", "1,500 Workers")]


def test_an_outage_is_one_line_with_what_the_lost_share():
    """Those lost within a minute of each other; one that was lost before, and is back, is another line."""
    label = SharedTrait(Trait(TraitKind.LABEL, "zone=eu-2"), 3)
    sessions = [ended(f"w-{n}", ago=100 + n * 30) for n in range(3)]
    state = fleet(*sessions, ended("press-09", ago=2_000), lost=["w-0", "w-1", "w-2"], common=[label])
    assert lines([], state) == [
        ("", "", "3 Workers lost (zone=eu-2)", "/workers?q=presence:lost"),
        ("", "", "press 9 was lost, and is back or no longer expected", "/workers/press-09"),
    ]


def test_an_outage_that_is_over_says_so():
    """All are back, or some are missing still; who signed off was not lost."""
    sessions = [ended("w-0", ago=100), ended("w-1", ago=100), ended("w-2", ago=100, end="signed_off")]
    assert lines([], fleet(*sessions))[0][2] == "2 Workers lost, none of them missing any more"
    assert lines([], fleet(*sessions, lost=["w-1"]))[0][2] == "2 Workers lost, 1 still missing"


def test_acts_and_outages_are_mixed_by_time_and_bounded():
    """The latest come first, and no more than are asked for."""
    events = [
        event("worker.disabled", "worker:press-09", ago=50),
        event("worker.enabled", "worker:x", ago=300),
    ]
    found = lines(events, fleet(ended("w-0", ago=200)), limit=2)
    assert [what for _, _, what, _ in found] == ["press 9", "w-0 was lost, and is back or no longer expected"]


def test_plots_are_marked_where_keys_were_rotated():
    """Nothing else explains that Workers came or went."""
    events = [event("api_key.rotated", "api_key:a"), event("worker.disabled", "worker:b")]
    assert [mark.text for mark in marks_of(events)] == ["key rotated"]


def test_alerts_are_not_told_twice():
    """The overview shows what needs an operator in a list of its own; what was done to a destination of events has its words."""
    events = [
        event("alert.refused", "worker:press-09", ago=1, actor="server"),
        event("alert.ended", "alert:refused", ago=2, actor="server"),
        event("event_destination.secret_rotated", "event_destination:siem", ago=3),
    ]

    (line,) = lines(events, fleet())
    assert line[:3] == ("olga", "rotated the secret of", "event destination siem")


def test_a_snooze_is_told_in_words():
    """One alert by what it is about, several by their number."""
    snoozed = [event("attention.snoozed", f"alert:{kind}", ago=1) for kind in ("key_expires", "approval")]

    assert [line[:3] for line in lines(snoozed, fleet())] == [("olga", "snoozed", "2 alerts")]
    assert [line[:3] for line in lines(snoozed[:1], fleet())] == [("olga", "snoozed", "alert key expires")]


def test_an_operator_named_like_the_server_is_named():
    """An issuer may let people choose such a name: what they do is not shown as what the fleet did by itself."""
    events = [
        event("worker.disabled", "worker:press-09", ago=1, actor="operator:server"),
        event("worker.enrolled", "worker:press-09", ago=2, actor="server"),
    ]

    assert [who for who, _, _, _ in lines(events, fleet())] == ["server", ""]
