"""Long commands show how far they are on a terminal, and print nothing of it when piped."""

import pytest
from tests.terminals import run_on_a_terminal


@pytest.mark.parametrize(
    ("command", "stage", "result"),
    [
        (("admin", "backup", "{home}/monday.db"), "Checking the audit log", "Backed up to"),
        (("audit", "verify"), "Checking the audit log", "The audit log is whole"),
    ],
    ids=["backup", "verify"],
)
def test_progress_is_for_a_terminal(site, command, stage, result):
    """A bar with its stage on a terminal, the result after it; piped, the result alone."""
    host = site.server_host if command[0] == "admin" else site.operator
    command = [word.format(home=host.home) for word in command]
    piped = host.run(*command)
    assert piped.returncode == 0
    assert stage not in piped.stdout + piped.stderr
    (host.home / "monday.db").unlink(missing_ok=True)

    code, shown = run_on_a_terminal([*host.python, *command], host.environ | {"TERM": "xterm"})

    assert code == 0, shown
    assert shown.index(stage) < shown.index(result)
