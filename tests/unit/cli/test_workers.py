"""`lyftdata workers`."""

import pytest

from lyftdata.cli.main import run


@pytest.mark.parametrize("odd", ["", ".", "..", "a/b", " "])
def test_a_text_that_is_not_an_id_is_rejected_here(odd, capsys):
    """A script with an unset variable must not send a request about something else."""
    assert run(["workers", "show", odd]) == 2
    assert "is not an ID or a name" in capsys.readouterr().err
