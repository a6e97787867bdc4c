"""Rare cases of access history: events that were not kept, an ID used twice, keys with several generations."""

from datetime import timedelta

from tests.builders import NOON, api_key, event, worker

from lyftdata.core.access_history import Access, workers_at
from lyftdata.core.records import Strategy

HOUR = timedelta(hours=1)


def audited(action, subject, hours, **details):
    """Return an event that many hours after noon."""
    return event(action, subject=subject, at=NOON + hours * HOUR, details=details)


def at(hours, *, workers=(), api_keys=(), events=()):
    """Return the access of each Worker that many hours after noon."""
    found = workers_at(NOON + hours * HOUR, workers=workers, api_keys=api_keys, events=events)
    return {one.worker_id: one for one in found}


def test_a_deleted_worker_without_kept_events_has_unknown_access():
    """Whether it was enabled is not guessed."""
    found = at(0, events=[audited("worker.deleted", "worker:w-1", 1, name="press", strategy="api_key")])

    assert (found["w-1"].name, found["w-1"].access) == ("press", Access.UNKNOWN)


def test_a_deleted_workers_access_follows_from_its_events():
    """Disabled before and deleted since; enabled again in between; superseded."""
    begun = audited("worker.enrolled", "worker:w-1", 0, name="press")
    ended = audited("worker.deleted", "worker:w-1", 5, name="press", strategy="auto_enrollment")
    for between, access in (
        ([audited("worker.disabled", "worker:w-1", 1)], Access.DISABLED),
        (
            [audited("worker.disabled", "worker:w-1", 1), audited("worker.enabled", "worker:w-1", 2)],
            Access.YES,
        ),
        ([audited("worker.superseded", "worker:w-1", 1, by="w-2")], Access.SUPERSEDED),
        ([audited("worker.disabled", "worker:w-1", 4)], Access.YES),
    ):
        assert at(3, events=[begun, *between, ended])["w-1"].access is access


def test_a_new_worker_under_an_old_id_inherits_no_key():
    """The first Worker's key does not give access to the second one."""
    key = api_key(name="first-key", for_all_workers=False, worker_ids=())
    events = [
        audited("worker.created", "worker:w-1", 0, name="old"),
        audited("api_key.issued", "api_key:first-key", 0, workers="w-1"),
        audited("worker.deleted", "worker:w-1", 2, name="old", strategy="api_key"),
        audited("worker.created", "worker:w-1", 3, name="new"),
    ]
    now = [worker("w-1", name="new")]

    assert at(1, workers=now, api_keys=[key], events=events)["w-1"].by == ("first-key (AAAAAAAAAA)",)
    assert at(2.5, workers=now, api_keys=[key], events=events) == {}
    assert at(4, workers=now, api_keys=[key], events=events)["w-1"].access is Access.NO_API_KEY


def test_both_generations_of_a_rotated_key_give_access_until_the_older_one_ends():
    """The end set by a rotation applies to the whole history of the older generation."""
    old = api_key("OLDOLDOLDO", name="k", expires_at=NOON + 3 * HOUR, rotated_at=NOON + 2 * HOUR)
    new = api_key("NEWNEWNEWN", name="k", generation=2, created_at=NOON + 2 * HOUR)
    ways = {hours: at(hours, workers=[worker("w-1")], api_keys=[old, new])["w-1"].by for hours in (1, 2.5, 3)}

    assert ways == {
        1: ("k (OLDOLDOLDO)",),
        2.5: ("k (NEWNEWNEWN)", "k (OLDOLDOLDO)"),
        3: ("k (NEWNEWNEWN)",),
    }


def test_access_names_the_identity_key_of_that_time():
    """Before a rotation, it is the key that was replaced."""
    enrolled = worker("w-1", strategy=Strategy.AUTO_ENROLLMENT, thumbprint="third")
    events = [
        audited("worker.key_rotated", "worker:w-1", 1, **{"from": "first", "to": "second"}),
        audited("worker.key_rotated", "worker:w-1", 2, **{"from": "second", "to": "third"}),
    ]
    by = [at(hours, workers=[enrolled], events=events)["w-1"].by for hours in (0.5, 1.5, 2.5)]

    assert by == [("first",), ("second",), ("third",)]


def test_a_key_without_its_issue_event_has_its_present_workers():
    """Except those that were allowed since."""
    key = api_key(name="first-key", for_all_workers=False, worker_ids=("w-1", "w-2"))
    events = [audited("api_key.allowed", "api_key:first-key", 2, workers="w-2")]
    found = at(1, workers=[worker("w-1"), worker("w-2")], api_keys=[key], events=events)

    assert (found["w-1"].access, found["w-2"].access) == (Access.YES, Access.NO_API_KEY)
