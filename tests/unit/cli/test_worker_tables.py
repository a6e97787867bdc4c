"""Tables of Workers."""

import pytest

from lyftdata.cli.worker_tables import show_workers, state_of


def test_an_empty_list_says_whether_it_was_filtered(capsys):
    """With a filter there may be Workers all the same."""
    show_workers([], is_filtered=True)
    assert "No Worker matches." in "".join(capsys.readouterr())
    show_workers([])
    assert "There are no Workers." in "".join(capsys.readouterr())


@pytest.mark.parametrize("approval", ["pending", "denied", "expired"])
def test_the_state_of_a_worker_that_is_not_approved_says_why(approval):
    """Expired is not denied: no operator has decided."""
    worker = {"archived_at": None, "superseded_by": None, "enabled": True, "status": "offline"}

    assert state_of(worker | {"approval": approval}) == approval
