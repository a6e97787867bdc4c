"""`lyftdata audit`."""

import json
import sqlite3

import pytest


@pytest.fixture(scope="module", autouse=True)
def _events(operator):
    """Make decisions that are in the log."""
    operator.done("workers", "add", "press-01", "--id", "press-01")
    operator.done("workers", "disable", "press-01", "--yes")


def test_the_latest_events_come_first(operator):
    """Filtered by subject or action."""
    listed = operator.json("audit", "list", "--subject", "worker:press-01")

    assert [event["action"] for event in listed] == ["worker.disabled", "worker.created"]
    assert "worker.disabled" in operator.done("audit", "list", "--action", "worker.disabled", "--limit", "1")


def test_events_are_found_by_person_kind_and_time(operator):
    """What is listed can be exported under the same options; a signed export takes none, and a time needs its zone."""
    found = operator.json(
        "audit", "list", "--by", "admin", "--action", "worker.*", "--since", "2026-01-01T00:00Z"
    )
    assert [event["action"] for event in found] == ["worker.disabled", "worker.created"]
    assert operator.json("audit", "list", "--by", "vera") == []
    assert operator.json("audit", "list", "--until", "2026-01-01T00:00Z") == []
    exported = operator.done("audit", "export", "--by", "admin", "--action", "worker.disabled").splitlines()
    assert [json.loads(line)["subject"] for line in exported] == ["worker:press-01"]

    assert operator.run("audit", "list", "--since", "2026-01-01").exit_code == 2
    signed = operator.run("audit", "export", "--format", "signed", "--by", "admin")
    assert signed.exit_code != 0
    assert "a checkpoint is of the whole log" in signed.errors


@pytest.mark.parametrize(("form", "first"), [("jsonl", "{"), ("csv", "number,"), ("signed", "{")])
def test_an_export_has_every_event_a_line(operator, form, first):
    """In each format, the oldest first."""
    lines = operator.done("audit", "export", "--format", form).splitlines()

    assert lines[0].startswith(first)
    assert sum("worker.created" in line for line in lines) == 1


def test_a_proof_is_checked_by_the_key_that_is_printed(operator):
    """A signed checkpoint and a proof of one event name the same log as the key."""
    name = operator.done("audit", "key").partition("+")[0]

    assert operator.done("audit", "checkpoint").startswith(f"{name}\n")
    assert f"\n{name}\n" in operator.done("audit", "proof", "1")


def test_who_could_get_in_is_listed_for_a_time(operator):
    """A disabled Worker could not; a time without its zone is wrong usage."""
    listed = operator.json("audit", "access", "--at", "2026-01-01T00:00Z")
    assert listed["workers"] == []

    ended = operator.run("audit", "access", "--at", "2026-01-01")
    assert ended.exit_code == 2
    assert "a time with its zone" in ended.errors


def test_a_changed_row_is_found(listen):
    """`verify` exits 0 on a log that was not changed, and 1 once somebody has edited the database."""
    server = listen()
    operator = server.signed_in()
    assert "intact" in operator.done("audit", "verify")
    database = sqlite3.connect(server.staging / "lyftdata.db")
    with database:
        database.execute("UPDATE audit_events SET actor = 'operator:eve' WHERE number = 2")
    database.close()

    ended = operator.run("audit", "verify", "--json")

    assert ended.exit_code == 1
    assert json.loads(ended.output)["first_bad"] == 2


def test_an_export_refuses_a_filter_that_is_not_text(operator):
    """Bytes on the command line that are not UTF-8 are wrong usage, and not a traceback."""
    ended = operator.run("audit", "export", "--subject", "\udcff")

    assert (ended.exit_code, "not valid UTF-8 text" in ended.errors) == (2, True)
