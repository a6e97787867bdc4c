"""Archiving of inactive Workers with several Servers."""

import asyncio
from datetime import timedelta

from lyftdata.server.admin.worker_archive import WorkerArchive
from lyftdata.server.runtime.background import flush


def archiving(server):
    """At a Server, archive the Workers that are inactive now; return their number."""
    archive = WorkerArchive(store=server.services.store, after=timedelta(), clock=server.clock)
    return archive.archive_inactive()


async def archived(server, number):
    """Wait until a Server counts this many archived Workers."""
    async with asyncio.timeout(180):
        while server.services.directory.archived_count() != number:
            await asyncio.sleep(0.01)


async def test_a_worker_is_archived_once_and_active_again_through_any_server(two):
    """Both Servers look for inactive Workers at the same time; a token at either of them makes a Worker active again at both."""
    first, second = two
    worker_id, key = await first.enrolled()

    assert sum(await asyncio.gather(archiving(first), archiving(second))) == 1
    await archived(first, 1)
    await archived(second, 1)

    answer = await second.token_by_assertion(second.assertion(key, worker_id))
    assert answer.status_code == 200
    await flush(second.services)
    await archived(first, 0)
    await archived(second, 0)
    log = await first.services.audit_queries.list_page(limit=2, subject=f"worker:{worker_id}")
    assert [event.action for event in log.items] == ["worker.active_again", "worker.archived"]
