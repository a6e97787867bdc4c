"""`lyftdata refusals`."""

import pytest

from lyftdata.core.refusals import WrongApiKeyError


@pytest.fixture(scope="module")
def reference(listening, operator):
    """Return the reference of a refusal: a Worker used another Worker's key."""
    operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key")
    key = operator.done("workers", "add", "press-02", "--id", "press-02", "--issue-key").strip()
    wrong = listening.worker_host("wrong", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key)
    ended = wrong.run("token")
    assert ended.exit_code == 3, ended.errors
    return ended.errors.split("reference ")[1][:8]


def test_a_reference_is_shown_with_cause_and_remedy(operator, reference):
    """The Worker itself only gets the reference."""
    shown = operator.done("refusals", "show", reference)

    assert "Cause           api_key_not_for_worker" in shown
    assert "What to do" in shown
    assert operator.json("refusals", "show", reference)["claimed_worker"] == "press-01"


def test_refusals_are_grouped_and_filtered(operator, reference):
    """By cause or by text; if none matches, the command says so."""
    assert reference in operator.done("refusals", "list", "--code", "api_key_not_for_worker")
    assert reference in operator.done("refusals", "list", "--search", "press-01")
    ended = operator.run("refusals", "list", "--code", WrongApiKeyError.code)
    assert (ended.output, ended.errors) == ("", "No matching refusals.\n")


def test_an_unknown_reference_is_not_found(operator):
    """The command exits with 1."""
    ended = operator.run("refusals", "show", "00000000")

    assert ended.exit_code == 1
    assert "00000000" in ended.errors


@pytest.mark.usefixtures("reference")
def test_refusals_can_be_ignored_for_a_time(operator):
    """An unknown cause, a malformed caller and too long a time are errors."""
    given = ("api_key_not_for_worker", "worker:press-01")
    ended = operator.run("refusals", "ignore", *given, "--for", "7d", "--note", "known")
    assert (ended.exit_code, ended.errors) == (0, "Ignored for 7d.\n")
    assert operator.run("refusals", "reopen", *given).exit_code == 0
    assert operator.run("refusals", "ignore", "banana", "worker:press-01").exit_code != 0
    assert operator.run("refusals", "ignore", "unknown_worker", "press-01").exit_code != 0
    assert operator.run("refusals", "ignore", *given, "--for", "91d").exit_code != 0
