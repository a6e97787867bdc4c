"""A single failure does not stop the rest: other sessions still end, other records are still written."""

import asyncio

import pytest
import sqlalchemy as sa
from tests.unit.server.sessions.test_registry import boot, polling

from lyftdata.core.refusals import UnknownWorkerError
from lyftdata.server.runtime.background import flush, prune_and_rotate, run_all
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.sessions.session import PollEnd
from lyftdata.store import StoreError
from lyftdata.store.tables import refusals

WORKERS = ("press-01", "press-02", "press-03")


@pytest.fixture
async def connected(server, admin):
    """Return the held polls of three Workers that are connected with one API key."""
    await server.http.post("/api/api-keys", json={"name": "shared"}, headers=admin)
    (key,) = [key for key in server.services.directory.api_keys() if key.name == "shared"]
    polls = {}
    for name in WORKERS:
        await server.http.post("/api/workers", json={"name": name, "id": name}, headers=admin)
        worker = server.services.directory.find_worker(name)
        credential = f"key.{key.public_id}.{worker.epoch}"
        session, _ = server.services.sessions.attach(worker, boot(), credential)
        polls[name], _peer = await polling(server.services.sessions, session)
    return polls


class FailsForOne:
    """A handler that fails for one Worker, and records its calls."""

    def __init__(self, broken, then=lambda *_: None):
        self.broken = broken
        self.then = then
        self.called = []

    def __call__(self, about, *more, **named):
        worker_id = getattr(about, "worker_id", getattr(about, "claimed_worker", about))
        self.called.append(worker_id)
        if worker_id == self.broken:
            raise RuntimeError("broken")
        return self.then(about, *more, **named)


@pytest.mark.parametrize("broken", WORKERS)
@pytest.mark.parametrize("what", ["ended", "presence_changed", "record"])
async def test_revoking_a_key_ends_every_session_although_a_handler_fails(
    server, admin, connected, broken, what
):
    """Whichever Worker's end cannot be logged, published or recorded, all polls are answered and no Worker is online."""
    services = server.services
    if what == "record":
        services.refusals.record = FailsForOne(broken, services.refusals.record)
    else:
        handlers = services.sessions._handlers
        setattr(handlers, what, FailsForOne(broken, getattr(handlers, what)))

    answer = await server.http.post("/api/api-keys/shared/revoke", headers=admin)

    assert answer.status_code < 300
    for name, poll in connected.items():
        directive = await asyncio.wait_for(poll, 180)
        assert (directive.kind, directive.code) == ("stop", "api_key_revoked"), name
        assert not services.sessions.is_online(name)


async def test_a_stopping_server_answers_every_poll_although_a_handler_fails(server, connected):
    """A session whose end cannot be logged does not delay the others."""
    server.services.sessions._handlers.ended = FailsForOne("press-01")

    server.services.sessions.release_all()

    assert [await asyncio.wait_for(poll, 180) for poll in connected.values()] == [PollEnd.STOPPING] * 3


async def test_a_failing_handler_does_not_prevent_a_session_from_starting_or_ending(server, connected):
    """For a start, a sign-off and a broken connection."""
    sessions: Sessions = server.services.sessions
    worker = server.services.directory.find_worker("press-01")
    for name in ("session_started", "ended", "presence_changed", "session_broken"):
        setattr(sessions._handlers, name, FailsForOne("press-01"))

    sessions.sign_off("press-01", "boot-0001")
    session, is_new = sessions.attach(worker, boot("boot-0002"), "key.abc.1")
    poll, peer = await polling(sessions, session)
    peer.closed.set()

    assert is_new
    assert await poll is PollEnd.PEER_CLOSED
    assert session.broken


async def test_an_unreadable_identity_key_affects_only_its_own_worker(opened):
    """The Server starts and accepts other Workers; that one is refused like an unknown one."""
    async with opened() as server:
        admin = await server.sign_in()
        broken, its_key = await server.enrolled("press-02")
        other, others_key = await server.enrolled("press-03")
        statement = sa.text("UPDATE workers SET public_jwk = :jwk WHERE id = :id")
        values = {"jwk": '{"kty":"AKP","alg":"ML-DSA-44","pub":"AAAA"}', "id": broken}
        await server.services.store.write(lambda tx: tx.conn.execute(statement, values).rowcount)
    async with opened() as server:
        server.jti_from(100)
        admin = await server.sign_in()
        refused = await server.token_by_assertion(server.assertion(its_key, broken))
        admitted = await server.token_by_assertion(server.assertion(others_key, other))
        shown = await server.http.get(f"/api/workers/{broken}", headers=admin)

    assert (refused.status_code, admitted.status_code, shown.status_code) == (401, 200, 200)
    assert refused.json()["error"] == "invalid_client"


async def test_a_change_after_an_unreadable_one_is_applied(server, admin):
    """A Worker that is disabled in the same commit as an unreadable key is refused."""
    import msgspec

    from lyftdata.store.changes import WorkerChanged

    (first, _), (second, key) = await server.enrolled("press-02"), await server.enrolled("press-03")
    directory = server.services.directory
    broken = msgspec.structs.replace(directory.find_worker(first), public_jwk='{"kty":"AKP"}')
    disabled = msgspec.structs.replace(directory.find_worker(second), enabled=False)

    server.services.store._announce([WorkerChanged(first, broken), WorkerChanged(second, disabled)])

    answer = await server.token_by_assertion(server.assertion(key, second))
    assert await server.cause(answer) == "worker_disabled"
    assert directory.find_identity_key(first) is None


async def rename(server, table, to):
    """Rename a table of the database, so that everything that uses it fails."""
    await server.services.store.write(
        lambda tx: tx.conn.execute(sa.text(f"ALTER TABLE {table} RENAME TO {to}")).rowcount
    )


async def test_refusals_are_written_although_traces_cannot_be(server, press):
    """The traces stay pending, and the failure is raised."""
    answer = await server.token_by_key("press-01", "nonsense")
    services = server.services
    services.traces.worker_seen(
        "press-01", at=server.clock(), address="192.0.2.7", api_key_name=None, host={}
    )
    await rename(server, "worker_traces", "worker_traces_away")
    try:
        with pytest.raises(StoreError):
            await flush(services)
        found = await services.store.read(
            lambda conn: refusals.find_reference(conn, answer.json()["reference"])
        )
    finally:
        await rename(server, "worker_traces_away", "worker_traces")

    assert found is not None
    assert services.traces.pending("press-01") is not None


async def test_signing_keys_are_rotated_although_pruning_fails(server, press):
    """The failure is still raised."""
    services = server.services
    server.clock.forward(seconds=400 * 24 * 3600)
    before = {key.kid for key in services.signing_keys.verification_keys.values()}
    await rename(server, "spent_proofs", "spent_proofs_away")
    try:
        with pytest.raises(StoreError):
            await prune_and_rotate(services)
    finally:
        await rename(server, "spent_proofs_away", "spent_proofs")

    assert {key.kid for key in services.signing_keys.verification_keys.values()} - before


async def test_every_step_runs_and_the_first_failure_is_raised():
    """Steps after a failed one still run."""
    done = []

    async def step(name, error=None):
        done.append(name)
        if error is not None:
            raise error

    with pytest.raises(ValueError, match="first"):
        await run_all(
            lambda: step("a"),
            lambda: step("b", ValueError("first")),
            lambda: step("c", UnknownWorkerError()),
            lambda: step("d"),
        )
    assert done == ["a", "b", "c", "d"]
