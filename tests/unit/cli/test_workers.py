"""`lyftdata workers`."""

import pytest

from lyftdata.cli.main import run


@pytest.mark.parametrize("odd", ["", ".", "..", "a/b", " "])
def test_text_that_is_not_an_id_is_rejected_locally(odd, capsys):
    """A script with an unset variable must not send a request about something else."""
    assert run(["workers", "show", odd]) == 2
    assert "is not an ID or a name" in capsys.readouterr().err


def test_workers_are_searched_with_one_argument(operator):
    """QUERY has the syntax of the pages, and options restrict it further; the error for an invalid search has the position."""
    for worker_id, label in (("hay-01", "rack=x1"), ("hay-02", "rack=x2"), ("needle", "rack=x1")):
        operator.json("workers", "add", worker_id, "--id", worker_id, "--label", label)

    def found(*arguments):
        return [worker["id"] for worker in operator.json("workers", "list", *arguments)]

    assert found("hay -rack=x2 status:never_connected") == ["hay-01"]
    assert found("hay", "--label", "rack=x2") == ["hay-02"]
    assert found("label:rack -hay") == ["needle"]
    assert found("--search", "needle") == ["needle"]
    wrong = operator.run("workers", "list", "hsot:rack1")
    assert (wrong.exit_code, "Did you mean 'host:'?" in wrong.errors) == (1, True)
    assert wrong.errors.startswith("Error: The search is not understood at character 1: ")
    assert operator.run("workers", "list", " ").exit_code == 2
