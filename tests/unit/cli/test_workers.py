"""`lyftdata workers`."""

import pytest

from lyftdata.cli.main import run
from lyftdata.cli.worker_tables import show_workers


@pytest.mark.parametrize("odd", ["", ".", "..", "a/b", " "])
def test_what_is_no_id_asks_for_nothing(odd, capsys):
    """A script with an unset variable must not ask for something else."""
    assert run(["workers", "show", odd]) == 2
    assert "is not an ID or a name" in capsys.readouterr().err


def test_an_empty_list_says_whether_it_was_filtered(capsys):
    """With a filter there may be Workers all the same."""
    show_workers([], is_filtered=True)
    assert "No Worker matches." in "".join(capsys.readouterr())
    show_workers([])
    assert "There are no Workers." in "".join(capsys.readouterr())
