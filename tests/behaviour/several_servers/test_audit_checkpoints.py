"""Servers on one database sign one tree with one key, and each detects from its kept checkpoint that the database was rolled back."""

import pytest
from tests.store.conftest import run_directly

from lyftdata.core.audit_checkpoints import read_checkpoint
from lyftdata.server.admin.audit_checkpoints import Occasion
from lyftdata.server.admin.kept_checkpoint import FILE

FIRST, SECOND = "first", "second"


@pytest.fixture
def start_at(start_server, tmp_path):
    """Return a function that starts a Server with the data directory of that name."""
    return lambda name, **environ: start_server(LYFTDATA_STAGING_DIR=str(tmp_path / name), **environ)


async def test_both_servers_sign_the_same_tree(start_at, database_url, tmp_path):
    """A checkpoint covers the other Server's events; each Server keeps its own copy, and the database holds one checkpoint for each size."""
    async with start_at(FIRST) as one, start_at(SECOND) as two:
        await one.sign_in()
        signed = [await server.services.checkpoints.sign(Occasion.HOUR) for server in (one, two)]
        await two.sign_in()
        later = await one.services.checkpoints.sign(Occasion.HOUR)
        report = await two.services.audit_queries.verify()

    assert signed[0].note == signed[1].note
    assert later.size == signed[0].size + 1
    assert (report.ok, report.checked) == (True, later.size)
    assert one.services.checkpoints.published_key == two.services.checkpoints.published_key
    assert {read_checkpoint((tmp_path / name / FILE).read_text()).size for name in (FIRST, SECOND)} == {
        later.size
    }
    rows = run_directly(database_url, "SELECT size FROM audit_checkpoints ORDER BY size")
    assert len({row[0] for row in rows}) == len(rows)


async def test_a_rolled_back_database_is_detected_by_the_server_with_a_later_checkpoint(
    start_at, database_url, tmp_path
):
    """That Server reports it and signs nothing; one with a new data directory cannot know."""
    async with start_at(FIRST) as one:
        await one.sign_in()
        earlier = await one.services.checkpoints.sign(Occasion.HOUR)
    found = run_directly(database_url, "SELECT number, hash, mac FROM audit_head")
    number, digest, mac = tuple(found[0])
    async with start_at(FIRST) as one:
        await one.sign_in()
    run_directly(
        database_url,
        "DELETE FROM audit_events WHERE number > :number",
        "DELETE FROM audit_checkpoints WHERE size > :number",
        "UPDATE audit_head SET number = :number, hash = :hash, mac = :mac",
        number=number,
        hash=digest,
        mac=mac,
    )

    async with start_at(FIRST) as one, start_at(SECOND) as two:
        # The chain is intact, and its head is one that a Server wrote: only the kept checkpoint reveals the rollback.
        assert (await one.services.audit_queries.verify()).ok
        assert f"ends at event {earlier.size}" in one.services.checkpoints.problem
        assert not two.services.checkpoints.problem
        signed = await two.services.checkpoints.sign(Occasion.HOUR)

    assert read_checkpoint((tmp_path / SECOND / FILE).read_text()).size == signed.size
    assert read_checkpoint((tmp_path / FIRST / FILE).read_text()).size > earlier.size
