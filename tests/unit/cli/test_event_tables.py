"""What `lyftdata events` prints about destinations."""

import pytest

from lyftdata.cli.event_tables import describe_waiting, show_rejected


def test_waiting_events_are_listed(operator):
    """The first and last number, the types, and the next events; without waiting events none of that is shown."""
    url, events = "https://127.0.0.1/hooks/x", ("--event", "resource.created", "--event", "resource.deleted")
    assert operator.run("events", "add", "waits", "--webhook", url, *events).exit_code == 0
    operator.done("events", "pause", "waits")
    idle = operator.done("events", "show", "waits")
    assert "no events wait\n" in idle
    assert "Waiting by type" not in idle
    operator.done("resources", "add", "waits", "--audience", "https://waits.example", "--all-workers")
    operator.done("resources", "delete", "waits", "--yes")
    queue = operator.json("events", "show", "waits")["queue"]

    shown = operator.done("events", "show", "waits")

    first, last = queue["first"], queue["last"]
    assert f"2 events wait, from event {first} to event {last}, since {queue['since']}" in shown
    assert "1 resource.created, 1 resource.deleted" in shown
    assert f"{first} resource.created resource:waits by operator:admin" in shown
    assert f"{last} resource.deleted resource:waits by operator:admin" in shown


@pytest.mark.parametrize(
    ("number", "text"), [(0, "no events wait"), (1, "1 event waits"), (2, "2 events wait")]
)
def test_the_number_of_waiting_events_is_a_sentence(number, text):
    """For none, one and several."""
    assert describe_waiting({"waiting": number}) == text


REJECTED = {
    "number": 7,
    "type": "worker.created",
    "subject": "worker:press\x1b[2J",
    "actor": "operator:olga",
    "times": 3,
    "since": "2026-03-01T12:00:00Z",
    "answer": "siem.example:443 answered 403.",
}


def test_an_event_about_to_be_skipped_is_shown_without_control_characters(capsys):
    """Its subject may contain text that another program sent."""
    show_rejected(REJECTED, 7)
    shown = capsys.readouterr().err
    assert "7 worker.created worker:press" in shown
    assert "Answer: siem.example:443 answered 403." in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("rejected", [None, REJECTED])
def test_only_the_rejected_event_is_shown(rejected, capsys):
    """The Server does not skip any other."""
    show_rejected(rejected, 8)
    assert capsys.readouterr().err == ""
