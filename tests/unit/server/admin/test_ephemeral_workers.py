"""Ephemeral Workers are removed when they sign off, or after an absence; an outage of the Server removes none."""

import asyncio

import pytest

from lyftdata.core.actor import Actor
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.records import Role
from lyftdata.core.scopes import UNLIMITED
from lyftdata.server.runtime.background import remove_absent
from lyftdata.server.sessions import registry
from lyftdata.server.sessions.session import Directive
from lyftdata.store.errors import StoreError

ADMIN = Actor(operator="admin", role=Role.ADMIN, session_id="s", address="192.0.2.1")
KEYS = "/api/enrollment/keys"


@pytest.fixture(autouse=True)
def _patient_sessions(monkeypatch):
    """Keep sessions between polls, however slow this machine is."""
    monkeypatch.setattr(registry, "GRACE_AFTER_ANSWER_S", 3_600)


async def issue(server, name="runners", **rules):
    """Issue a key for ephemeral Workers and return it."""
    body = {"name": name, "ephemeral": True} | rules
    answer = await server.http.post(KEYS, json=body, headers=await server.sign_in())
    assert answer.status_code == 201, answer.text
    return answer.json()["key"]


async def enrolled(server, secret, name="runner-1"):
    """Enroll with a key; return the ID and a token."""
    key = generate_identity_key()
    answer = await server.register(key, name, credential=server.proof(key, name, secret=secret))
    assert answer.status_code == 201, answer.text
    assert answer.json()["ephemeral"] is True
    worker_id = answer.json()["client_id"]
    token = await server.token_by_assertion(server.assertion(key, worker_id))
    return worker_id, token.json()["access_token"]


async def poll(server, token, boot="boot-0001", **more):
    """Poll the session; a first poll is answered at once."""
    body = {"boot_id": boot, "host": {"hostname": "h"}} | more
    answer = await server.http.post(
        "/api/worker/session", json=body, headers={"Authorization": f"Bearer {token}"}
    )
    return answer.status_code, answer.json()


def end_session(server, worker_id):
    """End a session without a sign-off."""
    server.services.sessions.stop(worker_id, Directive(kind="renew"))


async def watched(server, minutes):
    """Let time pass, with the background task running each minute."""
    for _ in range(minutes):
        server.clock.forward(minutes=1)
        await remove_absent(server.services)


def exists(server, worker_id):
    """Return whether there is an entry."""
    return server.services.directory.find_worker(worker_id) is not None


async def events_of(server, worker_id):
    """Return the audit events of a Worker, latest first."""
    log = await server.services.audit_queries.list_page(limit=9, subject=f"worker:{worker_id}")
    return log.items


async def test_a_worker_that_signs_off_is_removed_at_once(server):
    """Entry and name are free when it gets the answer, the counts are right, and the audit event names it."""
    secret = await issue(server)
    worker_id, token = await enrolled(server, secret)
    assert (await poll(server, token))[0] == 200

    assert await poll(server, token, sign_off=True) == (
        200,
        {"session": "ended", "hold_s": 0, "directives": [], "removed": True},
    )

    assert not exists(server, worker_id)
    assert (server.services.directory.worker_count(), server.services.sessions.online_count()) == (0, 0)
    view = await server.services.enrollment_key_queries.get("runners", scope=UNLIMITED)
    assert (view.workers, view.uses, view.ephemeral) == (0, 1, True)
    left, enrolled_event = await events_of(server, worker_id)
    assert (left.action, left.actor) == ("worker.left", f"worker:{worker_id}")
    assert left.details["name"] == "runner-1"
    assert left.details["why"] == "signed_off"
    assert left.details["enrolled_with"] == enrolled_event.details["enrolled_with"] == view.fingerprint
    assert 'lyftdata_workers_left_total{why="signed_off"} 1.0' in server.services.metrics.render().decode()
    again, _ = await enrolled(server, secret)
    assert again != worker_id


async def test_an_absent_worker_is_removed(server):
    """About 15 minutes after it was last connected, not earlier."""
    secret = await issue(server)
    worker_id, token = await enrolled(server, secret)
    await poll(server, token)
    end_session(server, worker_id)
    await watched(server, 17)
    assert exists(server, worker_id)

    await watched(server, 2)

    assert not exists(server, worker_id)
    left = (await events_of(server, worker_id))[0]
    assert (left.action, left.actor, left.details["why"]) == ("worker.left", "server", "absent")
    assert left.details["last_seen"].startswith("2026-03-01 12:00")
    assert 'lyftdata_workers_left_total{why="absent"} 1.0' in server.services.metrics.render().decode()


async def test_a_connected_worker_stays(server):
    """However long its session lasts."""
    secret = await issue(server)
    worker_id, token = await enrolled(server, secret)
    await poll(server, token)
    await watched(server, 40)

    assert exists(server, worker_id)


async def test_token_requests_alone_keep_a_worker(server):
    """A client that never connects is absent once its last token has expired and the time is over."""
    secret = await issue(server)
    key = generate_identity_key()
    answer = await server.register(key, "job", credential=server.proof(key, "job", secret=secret))
    worker_id = answer.json()["client_id"]
    for _ in range(4):
        assert (await server.token_by_assertion(server.assertion(key, worker_id))).status_code == 200
        await watched(server, 14)
    assert exists(server, worker_id)

    await watched(server, 4)
    assert not exists(server, worker_id)


async def test_other_workers_stay(server):
    """Workers of other keys, and an ephemeral one that an operator has disabled: it must not return as another Worker."""
    secret = await issue(server)
    plain, _ = await server.enrolled()
    disabled, token = await enrolled(server, secret)
    await poll(server, token)
    await server.services.workers.change(disabled, enabled=False, actor=ADMIN)
    await watched(server, 60)

    assert exists(server, plain)
    assert exists(server, disabled)


async def test_a_late_sign_off_of_a_previous_boot_removes_nothing(server):
    """Another boot of the Worker is connected."""
    worker_id, token = await enrolled(server, await issue(server))
    await poll(server, token, "boot-0002")

    assert (await poll(server, token, "boot-0001", sign_off=True))[1]["removed"] is False

    assert exists(server, worker_id)
    assert server.services.sessions.is_online(worker_id)


async def test_a_boot_that_connects_while_the_entry_is_removed_gets_no_session(server, monkeypatch):
    """It waits for the removal, and is then refused because there is no entry."""
    worker_id, token = await enrolled(server, await issue(server))
    await poll(server, token)
    write, started, may_write = server.services.store.write, asyncio.Event(), asyncio.Event()

    async def held_up(op):
        started.set()
        await may_write.wait()
        return await write(op)

    monkeypatch.setattr(server.services.store, "write", held_up)
    leaving = asyncio.ensure_future(poll(server, token, sign_off=True))
    await started.wait()
    monkeypatch.setattr(server.services.store, "write", write)
    waiting = server.services.leaving_workers.wait
    asked = asyncio.Event()

    async def wait(asked_for):
        asked.set()
        await waiting(asked_for)

    monkeypatch.setattr(server.services.leaving_workers, "wait", wait)
    connecting = asyncio.ensure_future(poll(server, token, "boot-0002"))
    await asked.wait()
    may_write.set()

    assert (await leaving)[1]["removed"] is True
    assert (await connecting)[0] == 401
    assert not exists(server, worker_id)
    assert server.services.sessions.online_count() == 0


async def test_a_restart_of_the_server_restarts_the_absence(opened):
    """A Worker could not connect while the Server was down; it gets the whole time again, and is removed after it."""
    async with opened() as server:
        worker_id, token = await enrolled(server, await issue(server))
        await poll(server, token)
        clock = server.clock
    clock.forward(hours=3)

    async with opened(clock=clock) as again:
        await watched(again, 14)
        assert exists(again, worker_id)
        await watched(again, 1)
        assert not exists(again, worker_id)


@pytest.mark.parametrize("kind", ["database", "machine"])
async def test_an_outage_restarts_the_absence(server, monkeypatch, kind):
    """An outage of the database, during which no Worker can connect, or a suspended machine."""
    worker_id, token = await enrolled(server, await issue(server))
    await poll(server, token)
    end_session(server, worker_id)
    if kind == "machine":
        server.clock.forward(hours=2)
    else:
        await watched(server, 15)
        read = server.services.store.read

        async def fail(_op):
            raise StoreError("The database does not answer.")

        monkeypatch.setattr(server.services.store, "read", fail)
        for _ in range(30):
            server.clock.forward(minutes=1)
            with pytest.raises(StoreError):
                await server.services.ephemeral_workers.remove_absent()
        monkeypatch.setattr(server.services.store, "read", read)

    await watched(server, 15)
    assert exists(server, worker_id)
    await watched(server, 1)
    assert not exists(server, worker_id)


async def test_a_rotated_key_is_ephemeral_too(server):
    """The rules are kept: Workers of the next generation are removed like those of the previous one."""
    await issue(server)
    rotated = await server.http.post(f"{KEYS}/runners/rotate", json={}, headers=await server.sign_in())
    assert rotated.json()["enrollment_key"]["ephemeral"] is True

    worker_id, token = await enrolled(server, rotated.json()["key"])
    assert (await poll(server, token, sign_off=True))[1]["removed"] is True
    assert not exists(server, worker_id)


async def test_a_removed_worker_still_has_access_in_the_audit_log(server):
    """At a time before it was removed."""
    worker_id, token = await enrolled(server, await issue(server))
    server.clock.forward(minutes=1)
    then = server.clock()
    server.clock.forward(minutes=1)
    await poll(server, token, sign_off=True)

    answer = await server.http.get(
        "/api/audit/access", params={"at": then.isoformat()}, headers=await server.sign_in()
    )
    assert [(w["worker_id"], w["access"]) for w in answer.json()["workers"]] == [(worker_id, "yes")]
