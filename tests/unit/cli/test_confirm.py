"""Questions before a command that cuts something off."""

import pytest
from tests.processes import Host


@pytest.mark.parametrize(
    "arguments",
    [
        ("workers", "delete", "w"),
        ("workers", "disable", "w"),
        ("operators", "delete", "o"),
        ("operators", "reset-password", "o"),
        ("operators", "revoke-session", "s"),
        ("api-key", "rotate", "some-key"),
        ("api-key", "rotate", "some-key", "--until", "2027-01-31T06:00Z"),
        ("enrollment", "end-previous", "some-key"),
    ],
)
def test_what_cuts_off_does_nothing_without_an_answer(tmp_path, arguments):
    """Without a terminal and without --yes: exit 2, and nobody was even asked for a Server."""
    result = Host(tmp_path, LYFTDATA_URL="http://127.0.0.1:1").run(*arguments)

    assert result.returncode == 2
    assert "--yes" in result.stderr
