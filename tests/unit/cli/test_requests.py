"""`lyftdata requests`, and commands whose action needs a second operator."""

import pytest
from tests.deployment import PASSWORD
from tests.unit.cli.conftest import CommandHost

_OWN = f"xxx {PASSWORD}"


@pytest.fixture
def ben(listening, operator, tmp_path):
    """Yield the host of a second admin, with a Worker whose deletion needs both."""
    if "ben" not in {one["name"] for one in operator.json("operators", "list")}:
        first = operator.done("operators", "add", "ben", "--role", "admin").strip()
        host = CommandHost(tmp_path / "first", LYFTDATA_URL=listening.url)
        host.done("login", "ben", "--password-stdin", stdin=f"{first}\n")
        host.done("password", "--password-stdin", stdin=f"{first}\n{_OWN}\n")
        operator.done("password", "--password-stdin", stdin=f"{PASSWORD}\n{_OWN}\n")
    host = CommandHost(tmp_path / "ben", LYFTDATA_URL=listening.url)
    host.done("login", "ben", "--password-stdin", stdin=f"{_OWN}\n")
    operator.done("workers", "add", "waiting", "--id", "waiting-1")
    operator.done("requests", "require", "delete_workers", "--above", "0", "--yes")
    yield host
    # Restore the state for the next test that uses this Server.
    listening.host.run("admin", "second-operator-off", "--yes")
    operator.run("workers", "delete", "waiting-1", "--yes")


def _request_id(errors):
    """Return the ID of the request in a command's output."""
    return errors.partition("lyftdata requests confirm ")[2].split(",")[0]


def test_a_command_that_needs_a_second_operator_exits_with_4(listening, operator, ben):
    """It says what waits, for whom and until when, and how to confirm it; until then nothing is done."""
    ended = operator.run("workers", "delete", "waiting-1", "--yes")

    assert (ended.exit_code, ended.output) == (4, "")
    assert "Nothing was done yet. Another operator must confirm it: Delete Worker waiting-1." in ended.errors
    assert "for ben: lyftdata requests confirm " in ended.errors
    request_id = _request_id(ended.errors)
    assert operator.run("workers", "show", "waiting-1").exit_code == 0
    operator.done("requests", "explain", request_id, "sold")
    assert operator.run("requests", "confirm", request_id, "--yes").exit_code == 1
    (listed,) = ben.json("requests", "list", "--waiting")
    assert (listed["id"], listed["can_decide"], listed["reason"]) == (request_id, True, "sold")
    shown = ben.done("requests", "show", request_id)
    assert "Will be done  Delete Worker waiting-1." in shown
    assert "Worker        waiting-1" in shown

    done = ben.run("requests", "confirm", request_id, "--note", "seen", "--yes")

    assert (done.exit_code, done.errors) == (0, "Done: Delete Worker waiting-1.\n")
    assert operator.run("workers", "show", "waiting-1").exit_code == 1
    assert operator.json("requests", "show", request_id)["note"] == "seen"


def test_at_a_terminal_the_reason_is_asked_for(listening, operator, ben):
    """It becomes part of the request; asking again does not replace it."""
    ended = operator.run("workers", "delete", "waiting-1", "--yes", stdin="rack 7\n", columns=200)

    assert ended.exit_code == 4, ended.errors
    request_id = _request_id(" ".join(ended.errors.split()))
    assert ben.json("requests", "show", request_id)["reason"] == "rack 7"
    again = operator.run("workers", "delete", "waiting-1", "--yes", stdin="other\n", columns=200)
    assert again.exit_code == 4
    assert ben.json("requests", "show", request_id)["reason"] == "rack 7"
    operator.done("requests", "withdraw", request_id)
    assert ben.json("requests", "list", "--waiting") == []


def test_the_confirming_operator_sees_the_request_first(listening, operator, ben):
    """On a terminal it is shown before the question; without one, and without `--yes`, nothing is done."""
    request_id = _request_id(operator.run("workers", "delete", "waiting-1", "--yes").errors)

    assert ben.run("requests", "confirm", request_id).exit_code == 2
    asked = ben.run("requests", "decline", request_id, "--note", "no", stdin="y\n", columns=200)
    assert asked.exit_code == 0, asked.errors
    assert "Delete Worker waiting-1." in asked.output
    assert operator.json("requests", "show", request_id)["state"] == "declined"


def test_only_the_first_password_is_on_standard_output_after_confirming(listening, operator, ben):
    """As without a second operator; it is also in the JSON."""
    ended = operator.run("operators", "add", "eve", "--role", "viewer")
    done = ben.run("requests", "confirm", _request_id(ended.errors), "--yes")

    assert len(done.output.strip()) >= 20
    assert "The first password of eve is shown once:" in done.errors
    reset = operator.run("operators", "reset-password", "eve", "--yes")
    as_json = ben.json("requests", "confirm", _request_id(reset.errors), "--yes")
    assert (as_json["operator"], bool(as_json["password"])) == ("eve", True)
    operator.done("operators", "delete", "eve", "--yes")


def test_the_rules_can_be_listed_and_changed(listening, operator, ben):
    """They are given in exactly one way; the number stays unless another is given."""
    operator.done("requests", "require", "delete_workers", "refuse_agents", "--yes")
    shown = operator.json("requests", "rules")
    assert (shown["enabled"], shown["above"]) == (True, 0)
    assert "refuse_agents" in [one["action"] for one in shown["actions"] if one["required"]]
    off = operator.run("requests", "require", "--nothing", "--yes")
    assert off.exit_code == 4
    ben.done("requests", "confirm", _request_id(off.errors), "--yes")
    assert operator.json("requests", "rules")["enabled"] is False
    assert "Who can confirm: admin, ben" in operator.run("requests", "rules").errors
    for arguments in ((), ("--proposed", "--nothing"), ("delete_workers", "--proposed"), ("nonsense",)):
        assert operator.run("requests", "require", *arguments, "--yes").exit_code == 2
