"""`lyftdata audit`."""

import json
import sqlite3

import pytest


@pytest.fixture(scope="module", autouse=True)
def _events(operator):
    """Make changes that are in the log."""
    operator.done("workers", "add", "press-01", "--id", "press-01")
    operator.done("workers", "disable", "press-01", "--yes")


def test_the_latest_events_come_first(operator):
    """Also if they are filtered by subject or action."""
    listed = operator.json("audit", "list", "--subject", "worker:press-01")

    assert [event["action"] for event in listed] == ["worker.disabled", "worker.created"]
    assert "worker.disabled" in operator.done("audit", "list", "--action", "worker.disabled", "--limit", "1")


def test_events_are_filtered_by_operator_kind_and_time(operator):
    """`export` takes the same options; a signed export takes none, and a time needs its zone."""
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
def test_an_export_has_one_line_per_event(operator, form, first):
    """In each format, the oldest first."""
    lines = operator.done("audit", "export", "--format", form).splitlines()

    assert lines[0].startswith(first)
    assert sum("worker.created" in line for line in lines) == 1


def test_checkpoint_proof_and_key_name_the_same_log(operator):
    """A signed checkpoint, a proof of one event, and the printed key."""
    name = operator.done("audit", "key").partition("+")[0]

    assert operator.done("audit", "checkpoint").startswith(f"{name}\n")
    assert f"\n{name}\n" in operator.done("audit", "proof", "1")


def test_access_is_listed_for_a_given_time(operator):
    """A disabled Worker had none; a time without its zone is a usage error."""
    listed = operator.json("audit", "access", "--at", "2026-01-01T00:00Z")
    assert listed["workers"] == []

    ended = operator.run("audit", "access", "--at", "2026-01-01")
    assert ended.exit_code == 2
    assert "a time with its zone" in ended.errors


def test_verify_detects_a_changed_row(listen):
    """It exits with 0 for an intact log, and with 1 after the database was edited."""
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


def test_a_filter_that_is_not_text_is_a_usage_error(operator):
    """Invalid UTF-8 on the command line causes no traceback."""
    ended = operator.run("audit", "export", "--subject", "\udcff")

    assert (ended.exit_code, "not valid UTF-8 text" in ended.errors) == (2, True)
