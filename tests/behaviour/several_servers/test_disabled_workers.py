"""Workers that are disabled until a given time, with several Servers."""

import asyncio
from datetime import timedelta

from lyftdata.server.admin.disabled_workers import DisabledWorkers


def enabling(server):
    """At a Server, enable the Workers that are due two hours from now; return how many it enabled."""
    services = server.services
    later = DisabledWorkers(
        store=services.store,
        directory=services.directory,
        clock=lambda: services.clock() + timedelta(hours=2),
    )
    return later.enable_due()


async def until(server, worker_id, *, is_enabled, has_end):
    """Wait until a Server knows this state of a Worker."""
    async with asyncio.timeout(180):
        while True:
            worker = server.services.directory.find_worker(worker_id)
            if worker is not None and (worker.enabled, worker.disabled_until is not None) == (
                is_enabled,
                has_end,
            ):
                return
            await asyncio.sleep(0.01)


async def test_exactly_one_server_enables_a_worker_that_is_due(two):
    """Both Servers learn when the Worker will be enabled, both look for it, and both learn that it was enabled."""
    first, second = two
    worker_id, _ = await first.enrolled()
    body = {"enabled": False, "disabled_note": "disk", "disabled_until": "1h"}
    await first.http.patch(f"/api/workers/{worker_id}", json=body, headers=await first.sign_in())
    await until(second, worker_id, is_enabled=False, has_end=True)

    assert sum(await asyncio.gather(enabling(first), enabling(second))) == 1

    for server in two:
        await until(server, worker_id, is_enabled=True, has_end=False)
    log = await second.services.audit_queries.list_page(limit=9, subject=f"worker:{worker_id}")
    assert [(event.actor, event.action) for event in log.items][:2] == [
        ("server", "worker.enabled"),
        ("operator:admin", "worker.disabled"),
    ]
