"""Alerts as audit events."""

import msgspec
from tests.identity_directories import IdentityDirectory

from lyftdata.core.records import SessionEnd
from lyftdata.server.admin.alerts.watch import AlertWatch
from lyftdata.server.runtime.background import alert_watch, flush
from lyftdata.server.sessions.session import PollEnd


async def look(server):
    """Look for alerts, as the Server does four times a minute."""
    await flush(server.services)
    await alert_watch(server.services).look()


async def alerts(server):
    """Return the alerts in the audit log, earliest first: action, subject, title."""
    found = (await server.services.audit_queries.list_page(limit=200)).items
    return [
        (event.action, event.subject, event.details.get("title", ""))
        for event in reversed(found)
        if event.action.startswith("alert.")
    ]


async def connect(server, name):
    """Add a Worker that connects once; return its ID and token."""
    worker_id, key = await server.enrolled(name)
    token = (await server.token_by_assertion(server.assertion(key, worker_id))).json()["access_token"]
    await poll(server, token)
    return worker_id, token


async def poll(server, token, **more):
    """Poll once; the first poll is answered at once."""
    headers = {"Authorization": f"Bearer {token}"}
    body = {"boot_id": "boot-0001"} | more
    answer = await server.http.post("/api/worker/session", json=body, headers=headers)
    assert answer.status_code == 200, answer.text


def lose(server, *worker_ids):
    """Let Workers disappear without signing off, as when their host loses power."""
    for worker_id in worker_ids:
        session = server.services.sessions.find_here(worker_id)
        server.services.sessions._end(session, PollEnd.HELD, SessionEnd.LOST)


async def test_many_workers_that_are_lost_at_once_raise_one_alert(server):
    """After two minutes, once; a Worker that reconnects before the others raises no second one."""
    server.clock.forward(minutes=5)
    lost = [await connect(server, f"press-{number}") for number in range(8)]
    _, signed_off = await connect(server, "goodbye")
    await poll(server, signed_off, sign_off=True)
    lose(server, *(worker_id for worker_id, _ in lost))
    await look(server)
    assert await alerts(server) == []
    server.clock.forward(minutes=3)

    await look(server)
    await look(server)

    raised = [("alert.workers_lost", "alert:workers_lost", "8 Workers went offline and did not sign off")]
    assert await alerts(server) == raised
    await poll(server, lost[0][1])
    server.clock.forward(minutes=2)
    await look(server)
    assert await alerts(server) == raised


async def test_an_alert_ends_ten_minutes_after_its_cause(server):
    """A cause that comes and goes within that time is one alert."""
    server.clock.forward(minutes=5)
    worker_id, token = await connect(server, "press")
    lose(server, worker_id)
    server.clock.forward(minutes=3)
    await look(server)
    await poll(server, token)
    server.clock.forward(minutes=9)
    await look(server)
    assert len(await alerts(server)) == 1

    server.clock.forward(minutes=2)
    await look(server)

    assert await alerts(server) == [
        ("alert.workers_lost", f"worker:{worker_id}", "1 Worker went offline and did not sign off"),
        ("alert.ended", "alert:workers_lost", ""),
    ]


async def test_a_worker_that_is_refused_repeatedly_raises_one_alert(server, admin, press):
    """However often it tries, whatever the reference of the last refusal; the alert is about that Worker."""
    for _ in range(3):
        for _ in range(3):
            await server.token_by_key("press-01", "nonsense")
            server.clock.forward(seconds=20)
        await look(server)

    (found,) = await alerts(server)
    assert found[:2] == ("alert.refused", "worker:press-01")


async def test_a_copy_that_is_refused_repeatedly_raises_one_alert(server, tmp_path):
    """A client that does not keep its reference gets a new one with each request; it is still one alert for that Worker."""
    host = await IdentityDirectory.enroll(server, tmp_path / "host")
    await host.token(server)
    copies = [host.copy(tmp_path / f"copy-{number}") for number in range(3)]
    await host.token(server)
    references = set()
    for copy in copies:
        references.add((await copy.token(server)).json()["reference"])
        await look(server)
        server.clock.forward(minutes=1)

    assert len(references) == 3
    assert [found[:2] for found in await alerts(server)] == [("alert.duplicate", f"worker:{host.worker_id}")]


async def test_an_audit_log_that_was_changed_raises_an_alert(server, monkeypatch):
    """In addition to the log event and the metric: it reaches operators who do not look at this Server."""
    monkeypatch.setattr(type(server.services.store), "audit_is_intact", False)

    await look(server)

    assert [action for action, _, _ in await alerts(server)] == ["alert.audit_log"]


async def test_events_and_overview_have_the_same_alerts(server, admin, press):
    """They have one source; only the overview also shows settings that could be improved."""
    for _ in range(3):
        await server.token_by_key("press-01", "nonsense")
    await server.http.post("/api/api-keys", json={"name": "brief-key", "expires_in_s": 86_400}, headers=admin)
    await look(server)

    shown = [f"alert.{c.kind}" for c in await server.services.alerts.find() if c.key]
    assert sorted(action for action, _, _ in await alerts(server)) == sorted(shown)
    assert set(shown) == {"alert.refused", "alert.key_expires"}


async def test_a_later_outage_raises_another_alert(server):
    """Even while Workers of the first are still missing: one that never returns hides nothing."""
    first, _ = await connect(server, "press")
    second, _ = await connect(server, "other")
    lose(server, first)
    server.clock.forward(minutes=3)
    await look(server)
    server.clock.forward(minutes=12)
    lose(server, second)
    server.clock.forward(minutes=3)

    await look(server)

    assert [subject for _, subject, _ in await alerts(server)] == [f"worker:{first}", f"worker:{second}"]


async def test_only_the_oldest_server_watches(server):
    """The others find the same alerts, and write nothing."""
    (me,) = await server.services.cluster.all_servers()
    earlier = msgspec.structs.replace(me, id="another")
    server.clock.forward(minutes=5)
    worker_id, _ = await connect(server, "press")
    lose(server, worker_id)
    server.clock.forward(minutes=3)
    await flush(server.services)

    for servers, count in (([earlier, me], 0), ([me, earlier], 1)):
        await watch_of(server, servers).look()
        assert len(await alerts(server)) == count


def watch_of(server, servers):
    """Return the watch of a Server in a deployment of several, the oldest first."""

    async def all_servers():
        return servers

    return AlertWatch(
        store=server.services.store,
        alerts=server.services.alerts,
        fleet=server.services.fleet_queries,
        directory=server.services.directory,
        all_servers=all_servers,
        clock=server.clock,
    )


async def test_an_audit_log_that_only_a_later_server_finds_changed_raises_an_alert(server, monkeypatch):
    """Each Server checks the log on its own: the alert lasts while one of them finds it so, and the oldest one ends it."""
    (me,) = await server.services.cluster.all_servers()
    earlier = msgspec.structs.replace(me, id="another")
    later, oldest = watch_of(server, [earlier, me]), watch_of(server, [me, earlier])
    intact = type(server.services.store)
    for _ in range(12):
        with monkeypatch.context() as patch:
            patch.setattr(intact, "audit_is_intact", False)
            await later.look()
        await oldest.look()
        server.clock.forward(minutes=1)
    assert [action for action, _, _ in await alerts(server)] == ["alert.audit_log"]

    server.clock.forward(minutes=10)
    await later.look()
    assert len(await alerts(server)) == 1
    await oldest.look()

    assert [action for action, _, _ in await alerts(server)] == ["alert.audit_log", "alert.ended"]
