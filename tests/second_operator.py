"""A Server with several admins where a second operator must confirm actions, and the requests that tests of this make often."""

from typing import Any

import httpx2
import msgspec
from tests.builders import worker
from tests.deployment import PASSWORD, Deployment

from lyftdata.store import WriteTx
from lyftdata.store.tables import operators, workers

EVERY_ACTION = ["delete_workers", "disable_workers", "withdraw_signing_key", "refuse_agents"]
Headers = dict[str, str]


class Colleagues:
    """
    A Server with the admins `admin` and `ben`, each of whom must confirm what the other requests.

    Attributes:
        server: The Server.
        admin: The headers of `admin`'s session.
        ben: The headers of `ben`'s session.
        number: The number of a mass change of Workers, if a test has made one.
    """

    number = 0

    def __init__(self, server: Deployment, admin: Headers, ben: Headers) -> None:
        self.server = server
        self.admin = admin
        self.ben = ben

    async def ask(self, method: str, path: str, body: Any = None, *, by: Headers | None = None) -> str:
        """Request something that a second operator must confirm; return the ID of the change request."""
        answer = await self.call(method, path, body, by=by)
        assert (answer.status_code, answer.json()["code"]) == (409, "second_operator_required"), answer.text
        return str(answer.json()["request_id"])

    async def confirm(self, request_id: str, *, by: Headers | None = None, note: str = "") -> httpx2.Response:
        """Confirm a change request, as `ben` unless `by` is given."""
        path = f"/api/change-requests/{request_id}/confirm"
        return await self.call("POST", path, {"note": note}, by=by or self.ben)

    async def call(
        self, method: str, path: str, body: Any = None, *, by: Headers | None = None
    ) -> httpx2.Response:
        """Send a request, as `admin` unless `by` is given."""
        return await self.server.http.request(method, path, json=body, headers=by or self.admin)

    async def state(self, request_id: str) -> str:
        """Return the state of a change request."""
        return str((await self.call("GET", f"/api/change-requests/{request_id}")).json()["state"])

    async def actions(self) -> list[str]:
        """Return the actions of the audit log, the latest first."""
        return [one["action"] for one in (await self.call("GET", "/api/audit?limit=50")).json()["items"]]


async def add_operator(
    server: Deployment, headers: Headers, name: str, role: str = "admin", **more: Any
) -> Headers:
    """Add an operator while no confirmation is required; return the headers of their session."""
    body = {"name": name, "role": role, "password": PASSWORD, **more}
    answer = await server.http.post("/api/operators", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    await server.services.store.write(let_keep_passwords)
    return await server.sign_in(name)


async def turn_on(
    server: Deployment, headers: Headers, actions: list[str] | None = None, *, above: int = 1
) -> None:
    """Require a second operator for these actions, by default all."""
    body = {"actions": EVERY_ACTION if actions is None else actions, "above": above}
    answer = await server.http.put("/api/second-operator", json=body, headers=headers)
    assert answer.status_code == 200, answer.text


async def colleagues_of(
    server: Deployment, actions: list[str] | None = None, *, above: int = 1
) -> Colleagues:
    """Add `ben`, and require a second operator for these actions."""
    admin = await server.sign_in()
    ben = await add_operator(server, admin, "ben")
    await turn_on(server, admin, actions, above=above)
    return Colleagues(server, admin, ben)


def let_keep_passwords(tx: WriteTx) -> None:
    """Let every operator keep their first password, since with one that must be changed they cannot issue API tokens or confirm."""
    for record in operators.all_operators(tx.conn):
        operators.replace_operator(tx, msgspec.structs.replace(record, must_change_password=False))


async def add_workers(server: Deployment, *worker_ids: str, **fields: Any) -> None:
    """Add Workers with these IDs."""

    def op(tx: WriteTx) -> None:
        for worker_id in worker_ids:
            workers.insert_worker(tx, worker(worker_id, **fields), unique_name=False)

    await server.services.store.write(op)


def worker_ids(server: Deployment) -> list[str]:
    """Return the IDs of all Workers."""
    return sorted(record.id for record in server.services.directory.workers())


def enabled_ids(server: Deployment) -> list[str]:
    """Return the IDs of the Workers that are enabled."""
    return sorted(record.id for record in server.services.directory.workers() if record.enabled)
