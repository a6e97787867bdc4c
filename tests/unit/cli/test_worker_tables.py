"""Tables of Workers."""

from collections import defaultdict
from pathlib import Path

import pytest

from lyftdata.cli.worker_tables import print_next_steps, show_worker, show_workers, state_of

ROOT = Path(__file__).parents[3]


def test_an_empty_list_says_whether_it_was_filtered(capsys):
    """With a filter, other Workers may exist."""
    show_workers([], is_filtered=True)
    assert "No Worker matches." in "".join(capsys.readouterr())
    show_workers([])
    assert "There are no Workers." in "".join(capsys.readouterr())


def test_the_tutorial_shows_the_columns_of_the_list(capsys):
    """A reader compares the page with the terminal."""
    worker = {"strategy": "api_key", "status": "online", "enabled": True, "labels": {}, "host": {}}
    show_workers([defaultdict(lambda: None, worker | {"id": "press-01", "name": "press-01"})])
    heading = capsys.readouterr().out.splitlines()[0].split()
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8").splitlines()

    assert heading in [line.split() for line in page]


@pytest.mark.parametrize("approval", ["pending", "denied", "expired"])
def test_the_state_of_a_worker_that_is_not_approved_says_why(approval):
    """Expired is not denied: no operator has decided."""
    worker = {"archived_at": None, "superseded_by": None, "enabled": True, "status": "offline"}

    assert state_of(worker | {"approval": approval}) == approval


@pytest.mark.parametrize("until", [None, "2026-03-01T14:00:00Z"])
def test_a_disabled_worker_is_shown_with_its_note_and_its_end(capsys, until):
    """The list truncates the note, the single view does not; control characters are never printed."""
    worker = defaultdict(
        lambda: None,
        id="press-01",
        name="press-01",
        strategy="api_key",
        enabled=False,
        labels={},
        host={},
        disabled_note="disk \x1b[31m" + "x" * 60,
        disabled_until=until,
        token_counts={"total": 0},
    )
    show_workers([worker])
    listed = capsys.readouterr().out
    show_worker(worker)
    alone = capsys.readouterr().out

    assert ("disabled until 2026-03-01T14:00:00Z (disk" if until else "disabled (disk") in listed
    assert ("Disabled until" in alone) is (until is not None)
    assert "x" * 60 in alone
    assert "x" * 60 not in listed
    assert "\x1b" not in listed + alone


@pytest.mark.parametrize("tls_ca", [None, Path("/etc/lyftdata-tls/ca.pem")])
def test_the_next_steps_name_the_ca_that_the_worker_needs(capsys, tls_ca):
    """It is the one that the operator's command used; without one it is not mentioned."""
    answer = {"worker": {"id": "press-01", "name": "press-01"}, "api_key": None}

    print_next_steps(answer, "https://lyftdata.example.com", "press-keys", tls_ca=tls_ca)

    printed = capsys.readouterr().err
    assert "LYFTDATA_URL=https://lyftdata.example.com" in printed
    assert ("  export LYFTDATA_TLS_CA=…   (a copy of /etc/lyftdata-tls/ca.pem)" in printed) == (
        tls_ca is not None
    )
