"""Long commands show their progress on a terminal, and not if they are piped."""

import pytest

from lyftdata.cli.progress import show_progress
from lyftdata.core.progress import ignore_progress

WORKERS = ("press-01", "press-02", "press-03")


@pytest.fixture(scope="module", autouse=True)
def _workers(operator):
    """Add Workers for the commands to change."""
    for worker_id in WORKERS:
        operator.done("workers", "add", worker_id, "--id", worker_id)


@pytest.mark.parametrize(
    ("command", "stage", "result"),
    [
        (("audit", "verify"), "Checking the audit log", "The audit log is intact"),
        (("workers", "disable", *WORKERS, "--yes"), "Changing Workers", "3 of 3 Workers disabled"),
        (("workers", "enable", *WORKERS), "Changing Workers", "3 of 3 Workers enabled"),
        (
            ("workers", "label", "press-01", "zone=eu", "--worker", "press-02"),
            "Changing Workers",
            "2 of 2 Workers labelled",
        ),
    ],
)
def test_progress_is_shown_only_on_a_terminal(operator, command, stage, result):
    """The result is printed in both cases."""
    piped = operator.run(*command)
    shown = operator.run(*command, columns=80)

    assert (piped.exit_code, shown.exit_code) == (0, 0), piped.errors + shown.errors
    assert stage not in piped.output + piped.errors
    assert stage in shown.errors
    assert all(result in ended.output + ended.errors for ended in (piped, shown))


def test_an_export_to_a_file_shows_progress(operator):
    """Printed on a terminal, the events themselves show it."""
    to_file = operator.run("audit", "export", columns=80, piped=True)
    shown = operator.run("audit", "export", columns=80)

    assert "Exporting" in to_file.errors
    assert to_file.output.startswith("{")
    assert "Exporting" not in shown.errors


def test_no_progress_is_shown_if_it_is_not_wanted():
    """The callback does nothing."""
    with show_progress(wanted=False) as on_progress:
        assert on_progress is ignore_progress
