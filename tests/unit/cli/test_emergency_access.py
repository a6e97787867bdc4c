"""`lyftdata admin emergency-access`: a temporary password."""

import pytest

COMMAND = ("admin", "emergency-access")


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (("admin",), 2, "there is no terminal to ask"),
        (("admin", "--yes", "--for", "1m"), 2, "--for must be from 5m to 24h"),
        (("admin", "--yes", "--for", "25h"), 2, "--for must be from 5m to 24h"),
        (("admin", "--yes", "--for", "soon"), 2, "--for must be like"),
        (("Ada!", "--yes"), 1, "lower-case"),
    ],
)
def test_invalid_emergency_access_is_rejected_with_the_reason(stopped, arguments, code, problem):
    """It needs confirmation, a duration within the limits, and a valid operator's name; otherwise nothing is changed."""
    ended = stopped.run(*COMMAND, *arguments)

    assert (ended.exit_code, ended.output) == (code, "")
    assert problem in ended.errors


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_password_that_cannot_be_printed_is_not_set(stopped, form):
    """If standard output is not a file descriptor, the command says so and creates no operator."""
    ended = stopped.run(*COMMAND, "rescue", "--yes", *form)

    assert (ended.exit_code, ended.output) == (1, "")
    assert "could not be printed" in ended.errors
    gone = stopped.run("admin", "unlock", "rescue")
    assert "There is no operator 'rescue'" in gone.errors
