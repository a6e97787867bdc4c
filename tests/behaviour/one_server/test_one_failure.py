"""One thing that fails does not keep the others from being done: the other Workers go, the other records are written."""

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
    """Return three Workers that are connected by one API key, each with a held poll."""
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


class Breaks:
    """Fails for one Worker, and remembers for which others it was called."""

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
async def test_a_revoked_key_ends_every_session(server, admin, connected, broken, what):
    """Whichever Worker's end cannot be logged, told of or recorded: all polls are answered, and nobody is online."""
    services = server.services
    if what == "record":
        services.refusals.record = Breaks(broken, services.refusals.record)
    else:
        handlers = services.sessions._handlers
        setattr(handlers, what, Breaks(broken, getattr(handlers, what)))

    answer = await server.http.post("/api/api-keys/shared/revoke", headers=admin)

    assert answer.status_code < 300
    for name, poll in connected.items():
        directive = await asyncio.wait_for(poll, 180)
        assert (directive.kind, directive.code) == ("stop", "api_key_revoked"), name
        assert not services.sessions.is_online(name)


async def test_every_poll_is_answered_when_the_server_stops(server, connected):
    """A session whose end cannot be logged does not keep the others waiting."""
    server.services.sessions._handlers.ended = Breaks("press-01")

    server.services.sessions.release_all()

    assert [await asyncio.wait_for(poll, 180) for poll in connected.values()] == [PollEnd.STOPPING] * 3


async def test_a_handler_that_fails_does_not_keep_a_session_from_beginning(server, connected):
    """Nor from moving to another Server, nor from breaking off."""
    sessions: Sessions = server.services.sessions
    worker = server.services.directory.find_worker("press-01")
    for name in ("session_started", "ended", "presence_changed", "session_broken"):
        setattr(sessions._handlers, name, Breaks("press-01"))

    sessions.sign_off("press-01", "boot-0001")
    session, is_new = sessions.attach(worker, boot("boot-0002"), "key.abc.1")
    poll, peer = await polling(sessions, session)
    peer.closed.set()

    assert is_new
    assert await poll is PollEnd.PEER_CLOSED
    assert session.broken


async def test_an_identity_key_that_cannot_be_read_stops_its_own_worker_alone(opened):
    """The Server starts, and the other Workers come in; that one is refused like an unknown one."""
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


async def test_a_change_behind_one_that_cannot_be_read_is_taken_over(server, admin):
    """In one commit with an unreadable key another Worker is disabled: it is out."""
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
    """Rename a table of the database: whatever uses it fails from then on."""
    await server.services.store.write(
        lambda tx: tx.conn.execute(sa.text(f"ALTER TABLE {table} RENAME TO {to}")).rowcount
    )


async def test_records_are_written_though_others_cannot_be(server, press):
    """Traces that the database does not take do not hold back refusals; they stay pending, and the failure is raised."""
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


async def test_signing_keys_are_rotated_though_nothing_can_be_pruned(server, press):
    """A clean-up that fails does not hold back what tokens need."""
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


async def test_every_step_is_done_and_the_first_failure_is_raised():
    """Whatever fails, in whatever order, the other steps are done."""
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
