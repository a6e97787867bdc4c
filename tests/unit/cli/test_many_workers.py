"""A command that changes several Workers continues after a failure, and reports what was done."""

import pytest

from lyftdata.cli.api import ApiError
from lyftdata.cli.many_workers import change_workers


def failing_for(failures):
    """Return a change that raises for some Workers."""

    def change(worker_id):
        if worker_id in failures:
            raise failures[worker_id]
        return {"id": worker_id}

    return change


def test_a_failure_of_one_does_not_stop_the_others(capsys):
    """The failed Worker is named with the reason, the others are changed, and the exit code is 1."""
    change = failing_for({"b": ApiError("There is no Worker 'b'.", problem_code="not_found")})

    code = change_workers(["a", "b", "c"], change, done="disabled", as_json=True)

    reported = capsys.readouterr()
    assert code == 1
    assert "b: There is no Worker 'b'." in reported.err
    assert "2 of 3 Workers disabled" in reported.err
    assert '"a"' in reported.out
    assert '"c"' in reported.out


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), ApiError("The Server cannot be reached.")])
def test_an_interruption_reports_what_was_changed(capsys, failure):
    """On Ctrl-C, or if the Server cannot be reached, the command stops at once and says how many Workers were changed."""
    with pytest.raises(type(failure)):
        change_workers(["a", "b", "c"], failing_for({"b": failure}), done="disabled")

    assert "1 of 3 Workers disabled" in capsys.readouterr().err


def test_a_change_of_one_worker_is_reported_with_its_id(capsys):
    """As one line, or as a JSON object; a failure is raised."""
    assert change_workers(["a"], failing_for({}), done="enabled") == 0
    assert capsys.readouterr().err == "Worker a enabled\n"
    assert change_workers(["a"], failing_for({}), done="enabled", as_json=True) == 0
    assert capsys.readouterr().out.startswith("{")
    with pytest.raises(ApiError):
        change_workers(["a"], failing_for({"a": ApiError("no", problem_code="not_found")}), done="enabled")
