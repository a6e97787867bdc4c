"""`lyftdata workers`."""

import pytest

from lyftdata.cli.main import run


@pytest.mark.parametrize("odd", ["", ".", "..", "a/b", " "])
def test_what_is_no_id_asks_for_nothing(odd, capsys):
    """A script with an unset variable must not ask for something else."""
    assert run(["workers", "show", odd]) == 2
    assert "is not an ID or a name" in capsys.readouterr().err
