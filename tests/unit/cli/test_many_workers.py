"""One command changes several Workers: a failure of one stops no other, and what was done is told in the end."""

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
    """The Worker that failed is named with the reason, the others are changed, and the exit code is 1."""
    change = failing_for({"b": ApiError("There is no Worker 'b'.", problem_code="not_found")})

    code = change_workers(["a", "b", "c"], change, done="disabled", as_json=True)

    reported = capsys.readouterr()
    assert code == 1
    assert "b: There is no Worker 'b'." in reported.err
    assert "2 of 3 Workers disabled" in reported.err
    assert '"a"' in reported.out
    assert '"c"' in reported.out


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), ApiError("The Server cannot be reached.")])
def test_what_was_changed_before_an_interruption_is_told(capsys, failure):
    """At Ctrl-C, or without the Server, it ends at once and says how many Workers were changed."""
    with pytest.raises(type(failure)):
        change_workers(["a", "b", "c"], failing_for({"b": failure}), done="disabled")

    assert "1 of 3 Workers disabled" in capsys.readouterr().err


def test_one_worker_is_told_by_its_id(capsys):
    """With one Worker it is a line with its ID, or its entry as an object; a failure is raised."""
    assert change_workers(["a"], failing_for({}), done="enabled") == 0
    assert capsys.readouterr().err == "Worker a enabled\n"
    assert change_workers(["a"], failing_for({}), done="enabled", as_json=True) == 0
    assert capsys.readouterr().out.startswith("{")
    with pytest.raises(ApiError):
        change_workers(["a"], failing_for({"a": ApiError("no", problem_code="not_found")}), done="enabled")
