"""`lyftdata events`."""

import json

import pytest
from sqlalchemy import create_engine, update
from tests.builders import NOON

from lyftdata.server.runtime.data_dir import database_file
from lyftdata.store.schema import event_deliveries


@pytest.fixture(scope="module")
def siem(operator):
    """Return the name of a webhook and its secret."""
    added = operator.run(
        "events", "add", "siem", "--webhook", "https://127.0.0.1/hooks/x", "--event", "worker.*"
    )
    assert added.exit_code == 0, added.errors
    return "siem", added.output.strip()


def test_only_the_webhooks_secret_is_on_standard_output(siem):
    """So that it can be redirected to a file."""
    assert siem[1].startswith("whsec_")
    assert len(siem[1].splitlines()) == 1


def test_a_destination_can_be_changed_and_shown(operator, siem):
    """`set` replaces the given fields and keeps the others."""
    operator.done("events", "set", "siem", "--label", "gpu", "--event", "api_key.issued")

    shown = operator.done("events", "show", "siem")
    assert "https://127.0.0.1/hooks/x" in shown
    assert "api_key.issued" in shown
    assert "nothing yet, starting after event" in shown
    listed = operator.json("events", "list")
    assert [one["labels"] for one in listed if one["name"] == "siem"] == [["gpu"]]
    operator.done("events", "set", "siem", "--all-workers", "--all-events")
    cleared = operator.json("events", "show", "siem")
    assert (cleared["events"], cleared["labels"]) == ([], [])
    assert siem[1] not in operator.done("events", "list") + shown


def test_a_destination_can_be_paused_and_resumed(operator, siem):
    """Pausing says how many events wait."""
    assert operator.run("events", "pause", siem[0]).errors.startswith("Paused: siem; ")
    assert operator.json("events", "resume", siem[0])["is_paused"] is False


def test_a_failed_test_delivery_exits_with_1(operator, siem):
    """For scripts; the message has the reason."""
    tested = operator.run("events", "test", siem[0])

    assert (tested.exit_code, tested.errors) == (
        1,
        "Not delivered: 127.0.0.1:443 is an internal address, which LYFTDATA_EVENTS_ALLOWED_NETWORKS does not allow.\n",
    )
    as_json = operator.run("events", "test", siem[0], "--json")
    assert (as_json.exit_code, json.loads(as_json.output)["delivered"]) == (1, False)


def test_a_rotated_secret_is_saved(operator, siem, tmp_path):
    """Ending the previous one at once needs confirmation."""
    kept = tmp_path / "siem.secret"
    refused = operator.run("events", "rotate-secret", siem[0], "--overlap", "0s")
    assert refused.exit_code == 2

    done = operator.run("events", "rotate-secret", siem[0], "--output", str(kept))

    assert (done.exit_code, done.output) == (0, ""), done.errors
    assert "signed with the previous one too until" in done.errors
    assert kept.read_text().startswith("whsec_")
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--file", "--syslog", "tls://x.invalid"],
    ],
)
def test_a_destination_has_exactly_one_transport(operator, options):
    """None, or two, is a usage error."""
    assert operator.run("events", "add", "other", *options).exit_code == 2


def test_a_deleted_destination_is_gone(operator):
    """Deleting needs confirmation; a destination of type file has no secret to print."""
    added = operator.run("events", "add", "brief", "--file")
    assert (added.exit_code, added.output) == (0, "")
    assert operator.run("events", "delete", "brief").exit_code == 2

    assert operator.json("events", "delete", "brief", "--yes") == {"name": "brief", "deleted": True}
    assert "brief" not in {one["name"] for one in operator.json("events", "list")}


def test_an_event_is_skipped_only_if_it_is_rejected(operator, siem):
    """It needs a reason and confirmation; the Server says why it does not skip."""
    skip = ("events", "skip", siem[0], "1")
    assert "--reason" in operator.run(*skip, "--yes").errors
    unasked = operator.run(*skip, "--reason", "its text")
    assert (unasked.exit_code, "no terminal to ask" in unasked.errors) == (2, True)

    refused = operator.run(*skip, "--reason", "its text", "--yes")

    assert refused.exit_code != 0
    assert "Event 1 does not wait for siem any more" in refused.errors


def test_the_event_is_shown_before_it_is_skipped(operator, listening):
    """
    What it is, how often it was rejected, since when and with which answer; afterwards the destination counts it as skipped.
    """
    url = "https://127.0.0.1/hooks/x"
    added = operator.run("events", "add", "rejects", "--webhook", url, "--event", "resource.created")
    assert added.exit_code == 0, added.errors
    operator.done("events", "pause", "rejects")
    operator.done("resources", "add", "skipped", "--audience", "https://skipped.example", "--all-workers")
    number = operator.json("events", "show", "rejects")["queue"]["first"]
    rejected = {
        "through": number - 1,
        "rejected_number": number,
        "rejected_since": NOON,
        "rejections": 3,
        "rejection": "127.0.0.1:443 answered 403.",
    }
    engine = create_engine(f"sqlite:///{database_file(listening.staging)}", connect_args={"timeout": 120})
    with engine.begin() as conn:
        conn.execute(update(event_deliveries).where(event_deliveries.c.name == "rejects").values(rejected))
    engine.dispose()
    shown = operator.done("events", "show", "rejects")
    assert f"event {number}, 3 times, since" in shown
    assert "127.0.0.1:443 answered 403." in shown

    skipped = operator.run(
        "events", "skip", "rejects", str(number), "--reason", "its text", stdin="y\n", columns=100
    )

    assert skipped.exit_code == 0, skipped.errors
    assert f"{number} resource.created resource:skipped by operator:admin" in skipped.errors
    assert f"Event {number} was skipped for rejects; 1 event waits" in skipped.errors
    assert operator.json("events", "show", "rejects")["skipped"] == 1
    found = operator.json("audit", "list", "--action", "event_destination.event_skipped")
    assert [one["details"]["reason"] for one in found] == ["its text"]
