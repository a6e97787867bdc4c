"""Workers that have been inactive for a long time are left out of lists and counts, and return by themselves."""

from datetime import timedelta

import pytest

from lyftdata.core.actor import Actor
from lyftdata.core.records import Role, State
from lyftdata.core.scopes import UNLIMITED
from lyftdata.core.worker_query import search_terms
from lyftdata.server.admin import worker_archive
from lyftdata.server.runtime.background import archive_inactive, flush

ADMIN = Actor(operator="admin", role=Role.ADMIN, session_id="s", address="192.0.2.1")
MONTH = timedelta(days=30)


async def state(server, worker_id):
    """Return the state of a Worker as its page shows it."""
    return server.services.worker_queries.state_of(server.services.directory.find_worker(worker_id))


async def listed(server, wanted=None):
    """Return the IDs of the Workers in the list, whose total is checked too."""
    page = await server.services.worker_queries.page(
        search_terms(None, status=wanted), scope=UNLIMITED, limit=100, after=None
    )
    assert page.total == len(page.items)
    return {worker.id for worker in page.items}


async def token(server, worker_id, key):
    """Get a token; return the status of the answer."""
    return (await server.token_by_assertion(server.assertion(key, worker_id))).status_code


async def test_an_inactive_worker_is_left_out_until_its_next_token(server):
    """After 30 days it is left out of lists and counts, but not of its own page and the filter; both changes are audited."""
    worker_id, key = await server.enrolled()
    server.clock.now += MONTH - timedelta(seconds=1)
    await archive_inactive(server.services)
    assert await listed(server) == {worker_id}

    server.clock.now += timedelta(seconds=2)
    await archive_inactive(server.services)
    assert await listed(server) == set()
    assert await listed(server, State.ARCHIVED) == {worker_id}
    assert await state(server, worker_id) is State.ARCHIVED
    assert server.services.status_queries.status().workers == 0
    assert "lyftdata_workers 0.0" in server.services.metrics.render().decode()

    assert await token(server, worker_id, key) == 200
    await flush(server.services)
    assert await listed(server) == {worker_id}
    assert server.services.directory.archived_count() == 0
    log = await server.services.audit_queries.list_page(limit=2, subject=f"worker:{worker_id}")
    assert [(event.actor, event.action) for event in log.items] == [
        ("server", "worker.active_again"),
        ("server", "worker.archived"),
    ]


async def test_token_requests_alone_keep_a_worker_listed(server):
    """A client that never connects, but requests a token now and then, is active."""
    worker_id, key = await server.enrolled()
    for _ in range(3):
        server.clock.now += timedelta(days=20)
        assert await token(server, worker_id, key) == 200
        await archive_inactive(server.services)

    assert await listed(server) == {worker_id}


@pytest.mark.parametrize("change", ["disabled", "connected"])
async def test_some_workers_are_never_archived(server, press, change):
    """One with an API key, one that an operator has disabled, and one that was connected recently."""
    worker_id, _ = await server.enrolled()
    if change == "disabled":
        await server.services.workers.change(worker_id, enabled=False, actor=ADMIN)
        server.clock.now += MONTH * 2
    else:
        server.clock.now += MONTH * 2
        server.services.traces.worker_seen(
            worker_id, at=server.clock(), address="192.0.2.9", api_key_name=None, host={}
        )
    await archive_inactive(server.services)

    assert await listed(server) == {worker_id, press[0]}


async def test_one_run_archives_more_than_one_batch(server, monkeypatch):
    """A fleet that was switched off a month ago is archived in one run."""
    monkeypatch.setattr(worker_archive, "_AT_ONCE", 2)
    for number in range(3):
        await server.enrolled(f"etl-{number}")
    server.clock.now += MONTH * 2

    assert await server.services.worker_archive.archive_inactive() == 3
    assert await server.services.worker_archive.archive_inactive() == 0


async def test_an_archived_worker_keeps_its_name_and_can_be_deleted(server):
    """Its entry is unchanged: a new Worker with its name supersedes it like any that is offline, and it can be deleted."""
    first, _ = await server.enrolled("etl-1")
    other, _ = await server.enrolled("etl-2")
    server.clock.now += MONTH * 2
    await archive_inactive(server.services)

    newcomer, _ = await server.enrolled("etl-1")
    assert server.services.directory.find_worker(first).superseded_by == newcomer
    await server.services.workers.delete(other, actor=ADMIN)
    assert await listed(server, State.ARCHIVED) == {first}
    assert server.services.directory.archived_count() == 1


async def test_nothing_is_archived_if_the_setting_says_never(opened):
    """`LYFTDATA_ARCHIVE_AFTER=never`."""
    async with opened(LYFTDATA_ARCHIVE_AFTER="never") as server:
        worker_id, _ = await server.enrolled()
        server.clock.now += MONTH * 100
        await archive_inactive(server.services)

        assert await listed(server) == {worker_id}


async def test_archived_workers_stay_archived_after_a_restart(opened):
    """Counts and lists are the same after the entries are loaded again."""
    async with opened() as server:
        worker_id, _ = await server.enrolled()
        server.clock.now += MONTH * 2
        await archive_inactive(server.services)
        clock = server.clock

    async with opened(clock=clock) as again:
        assert await listed(again) == set()
        assert await listed(again, State.ARCHIVED) == {worker_id}
        assert (again.services.directory.worker_count(), again.services.directory.archived_count()) == (0, 1)


async def test_an_inactive_worker_with_an_api_key_raises_an_alert(server, admin, press):
    """An operator added it, so it is not archived: an alert counts such Workers, and its filter lists them."""
    worker_id, key = press
    assert "inactive" not in [alert.kind for alert in await server.services.alerts.find()]
    server.clock.now += MONTH + timedelta(days=1)
    await archive_inactive(server.services)

    [alert] = [alert for alert in await server.services.alerts.find() if alert.kind == "inactive"]
    assert (alert.title, alert.subject) == ("1 Worker with an API key has not been active for 30 days", "30d")
    query = {"strategy": "api_key", "inactive_for": alert.subject}
    admin = await server.sign_in()
    found = (await server.http.get("/api/workers", params=query, headers=admin)).json()
    assert [worker["id"] for worker in found["items"]] == [worker_id]

    assert (await server.token_by_key(worker_id, key)).status_code == 200
    await flush(server.services)
    assert (await server.http.get("/api/workers", params=query, headers=admin)).json()["items"] == []
    assert "inactive" not in [alert.kind for alert in await server.services.alerts.find()]


async def test_an_invalid_time_is_rejected(server, admin):
    """A malformed filter, or one beyond the range of the calendar, lists nothing."""
    for text in ("soon", "999999999d", "999999999d999999999d"):
        answer = await server.http.get("/api/workers", params={"inactive_for": text}, headers=admin)
        assert answer.status_code == 422, text
