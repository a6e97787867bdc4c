"""Tables of Workers."""

from lyftdata.cli.worker_tables import show_workers


def test_an_empty_list_says_whether_it_was_filtered(capsys):
    """With a filter there may be Workers all the same."""
    show_workers([], is_filtered=True)
    assert "No Worker matches." in "".join(capsys.readouterr())
    show_workers([])
    assert "There are no Workers." in "".join(capsys.readouterr())
