"""Steps that tests of event delivery share."""

from typing import Any

from tests.deployment import Deployment
from tests.webhook_receiver import Receiver


async def add_webhook(
    server: Deployment, admin: dict[str, str], hook: Receiver, name: str = "hook", **more: Any
) -> None:
    """Add a receiver as a destination, and give the receiver the secret."""
    body = {"name": name, "transport": "webhook", "url": f"http://127.0.0.1:{hook.port}/in/x"} | more
    answer = await server.http.post("/api/event-destinations", json=body, headers=admin)
    assert answer.status_code == 201, answer.text
    hook.secret = answer.json()["secret"]


async def add_worker(server: Deployment, admin: dict[str, str], worker_id: str, **more: Any) -> None:
    """Cause an event by adding a Worker."""
    body = {"name": worker_id, "id": worker_id} | more
    answer = await server.http.post("/api/workers", json=body, headers=admin)
    assert answer.status_code == 201, answer.text


async def deliver(server: Deployment) -> None:
    """Deliver everything that can be delivered now."""
    # A delivery that was already running may have read an older state.
    await server.services.event_delivery.wait_until_idle()
    await server.services.event_delivery.look()
    await server.services.event_delivery.wait_until_idle()


async def shown(server: Deployment, admin: dict[str, str], name: str = "hook") -> dict[str, Any]:
    """Return a destination as the API shows it."""
    found: dict[str, Any] = (await server.http.get(f"/api/event-destinations/{name}", headers=admin)).json()
    return found


async def last_number(server: Deployment) -> int:
    """Return the number of the last event of the audit log."""
    return (await server.services.audit_queries.list_page(limit=1)).items[0].number
