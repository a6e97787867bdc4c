"""A small soak test: a few events on a small fleet, and a check that it would find violations."""

import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.soak.__main__ import Record, build_fleet, run_week
from tests.soak.actions import EFFECTIVE_WITHIN_S, ViolationError, Week
from tests.soak.checks import check_state, settle
from tests.soak.report import page_of, read_lines
from tests.soak.stage import Stage


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Week]:
    """Return a fleet of eight light Workers and an agent, all connected."""
    with contextlib.ExitStack() as stack:
        week = Week(Stage(tmp_path_factory.mktemp("soak"), stack), random.Random(1))
        build_fleet(week, workers=8, agents=1)
        settle(week)
        yield week


@pytest.mark.slow
def test_a_fleet_goes_through_faults_without_a_violation(week: Week, tmp_path: Path) -> None:
    """Workers are disabled for hours, the clocks jump, a key is revoked, a Server is killed, the database is lost; the report has no violations."""
    with contextlib.closing(Record(tmp_path / "soak.jsonl")) as record:
        record.write("settings", seed=1, minutes=30, workers=8, agents=1)
        record.write("measure", servers=week.stage.measures())
        violations = run_week(
            week,
            record,
            minutes=30,
            actions=[
                Week.disable_workers_for_hours,
                Week.step_the_clock,
                Week.revoke_a_team_key,
                Week.kill_a_server,
                Week.lose_the_database,
            ],
        )

    lines = read_lines(tmp_path / "soak.jsonl")
    assert violations == 0, lines[-1]
    assert [line["event"] for line in lines if line["kind"] == "event"][-1] == "lose_the_database"
    assert "**0 violations.**" in page_of(lines)


@pytest.mark.slow
def test_a_worker_that_is_admitted_after_a_cut_off_is_a_violation(week: Week) -> None:
    """If a Worker is recorded as disabled but is not, its admission and its state are both found."""
    settle(week)
    entry = next(entry for entry in week.model.light() if entry.may_connect)
    week.model.change(entry, is_disabled=True)
    try:
        with pytest.raises(ViolationError, match="let in who should be out"):
            settle(week)
        with pytest.raises(ViolationError, match="other than acknowledged"):
            check_state(week)
    finally:
        week.model.change(entry, is_disabled=False)


@pytest.mark.slow
def test_a_key_or_token_that_is_accepted_after_its_end_is_a_violation(week: Week) -> None:
    """A Server that still accepts a key two seconds after its end is found, and so is one that accepts a token which it gave for the key before that."""
    settle(week)
    entry = next(entry for entry in week.model.light() if entry.may_connect and entry.team is not None)
    ended_s = time.monotonic()
    with pytest.raises(ViolationError, match="a key that has ended was accepted"):
        week.require_refused(entry.worker_id, entry.credential, since_s=ended_s - EFFECTIVE_WITHIN_S)

    accepted = week.ask_for_token(entry.worker_id, entry.credential)
    assert accepted is not None
    with pytest.raises(ViolationError, match="a token of a key that has ended was accepted"):
        week.require_refused_token(entry.worker_id, accepted.json()["access_token"])


@pytest.mark.slow
def test_a_lost_or_unknown_worker_is_a_violation(week: Week) -> None:
    """A Worker that the state has without being acknowledged is found, and so is one that was acknowledged and is missing."""
    lost = week.model.entries.pop(
        next(entry.worker_id for entry in week.model.light() if not entry.is_removed)
    )
    try:
        with pytest.raises(ViolationError, match="there and never acknowledged"):
            check_state(week)
        week.stage.api.ask("DELETE", f"/api/workers/{lost.worker_id}", done_already=404)
    finally:
        week.model.add(lost)
    with pytest.raises(ViolationError, match="acknowledged and lost"):
        check_state(week)
    week.model.change(lost, is_removed=True)
