"""The pages behind a load balancer: each request may go to another Server."""

import httpx2
import pytest
from tests.builders import ISSUER
from tests.deployment import PASSWORD
from tests.unit.web.conftest import Browser

from lyftdata.app import create_app
from lyftdata.core.actor import Actor
from lyftdata.core.bulk_changes import BulkAction
from lyftdata.core.errors import ConflictError
from lyftdata.core.records import Role


class RoundRobin(httpx2.AsyncBaseTransport):
    """A load balancer: every request goes to the next Server."""

    def __init__(self, servers):
        apps = [create_app(server.services) for server in servers]
        self._transports = [httpx2.ASGITransport(app, client=("192.0.2.50", 1)) for app in apps]
        self._count = 0

    async def handle_async_request(self, request):
        """Pass a request on."""
        self._count += 1
        return await self._transports[self._count % len(self._transports)].handle_async_request(request)


async def test_pages_work_when_each_request_reaches_another_server(two):
    """The operator signs in at one Server, gets a form from the next and submits it to another; the overview lists both."""
    async with httpx2.AsyncClient(transport=RoundRobin(two), base_url=ISSUER) as http:
        browser = Browser(http)
        assert (await browser.sign_in("admin", PASSWORD)).status_code == 303
        await browser.learn_token()
        changed = await browser.post(
            "/account/password", current=PASSWORD, new="another fine phrase", again="another fine phrase"
        )
        assert changed.status_code in {200, 303}, changed.text
        await browser.learn_token()

        made = await browser.post("/add-worker", name="press", id="press-01", key="none")
        pages = [await browser.get("/workers/press-01") for _ in range(4)]
        overview = await browser.get("/")

    assert made.status_code in {200, 303}, made.text
    assert {page.status_code for page in pages} == {200}
    assert overview.text.count("127.0.0.1:3000</td>") == 2


async def test_a_bulk_change_made_at_one_server_can_be_undone_at_another(two):
    """All that the other Server needs is in the audit log."""
    first, second = two
    admin = Actor(operator="admin", role=Role.ADMIN, session_id="s", address="192.0.2.50")
    for worker_id in ("press-01", "press-02"):
        await first.services.workers.add(
            worker_id, worker_id=worker_id, labels={}, issue_key=False, actor=admin
        )
    done = await first.services.bulk_changes.change(
        BulkAction.DISABLE, ["press-01", "press-02"], added_labels={}, actor=admin
    )
    await second.services.workers.change("press-02", name="another", actor=admin)

    undone = await second.services.bulk_changes.undo(done.number, actor=admin)

    assert (undone.restored, undone.changed_since) == (["press-01"], ["press-02"])
    with pytest.raises(ConflictError, match="undone already"):
        await first.services.bulk_changes.undo(done.number, actor=admin)
