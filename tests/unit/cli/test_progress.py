"""Long commands show on a terminal how far they are, and print nothing of it when piped."""

import pytest

from lyftdata.cli.progress import show_progress
from lyftdata.core.progress import ignore_progress

WORKERS = ("press-01", "press-02", "press-03")


@pytest.fixture(scope="module", autouse=True)
def _workers(operator):
    """Add Workers that commands change."""
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
def test_a_stage_shows_on_a_terminal_alone(operator, command, stage, result):
    """A bar with its stage, and the result."""
    piped = operator.run(*command)
    shown = operator.run(*command, columns=80)

    assert (piped.exit_code, shown.exit_code) == (0, 0), piped.errors + shown.errors
    assert stage not in piped.output + piped.errors
    assert stage in shown.errors
    assert all(result in ended.output + ended.errors for ended in (piped, shown))


def test_an_export_to_a_file_shows_its_stage(operator):
    """On a terminal the events show by themselves how far it is."""
    to_file = operator.run("audit", "export", columns=80, piped=True)
    shown = operator.run("audit", "export", columns=80)

    assert "Exporting" in to_file.errors
    assert to_file.output.startswith("{")
    assert "Exporting" not in shown.errors


def test_nothing_is_shown_where_it_is_not_wanted():
    """The callback does nothing."""
    with show_progress(wanted=False) as on_progress:
        assert on_progress is ignore_progress
