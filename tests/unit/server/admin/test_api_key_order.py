"""API keys sorted by each column."""

from datetime import timedelta
from typing import Any

import pytest
from tests.builders import NOON, api_key

from lyftdata.core.scopes import UNLIMITED, scope_of
from lyftdata.server.admin.api_key_order import KeyColumn
from lyftdata.store import WriteTx
from lyftdata.store.tables import api_keys

# None comes last, whatever the direction.
VALUES: dict[KeyColumn, list[Any]] = {
    KeyColumn.NAME: ["ended", "everyone", "rotated", "unused"],
    KeyColumn.STATUS: [1, 0, 0, 0],
    KeyColumn.FOR: [(False, 1, ("w-1",)), (True, 0, ()), (False, 2, ("w-1", "w-2")), (False, 0, ())],
    KeyColumn.CONNECTED: [0, 1, 0, 0],
    KeyColumn.EXPIRES: [NOON - timedelta(days=1), None, NOON + timedelta(days=9), None],
    # Ranks: three generations of two keys, and the one used just now.
    KeyColumn.USED: [0, 3, 2, None],
}


def write_keys(tx: WriteTx) -> None:
    """Write keys of every kind; both generations of the rotated one were used."""
    chosen = {"for_all_workers": False, "worker_ids": ("w-1",)}
    both = chosen | {"worker_ids": ("w-1", "w-2")}
    for record in (
        api_key("ENDED00001", name="ended", expires_at=NOON - timedelta(days=1), **chosen),
        api_key("OLDER00001", name="rotated", expires_at=NOON, **both),
        api_key("UNUSED0001", name="unused", **chosen | {"worker_ids": ()}),
    ):
        api_keys.insert_api_key(tx, record)
    newer = api_key("NEWER00001", name="rotated", generation=2, expires_at=NOON + timedelta(days=9), **both)
    api_keys.rotate_api_key(tx, newer, previous_expire_at=NOON + timedelta(hours=1))
    used = {"ENDED00001": 3, "OLDER00001": 1, "NEWER00001": 2}
    api_keys.touch_last_used(tx, {key: (NOON - timedelta(hours=h), "w-1") for key, h in used.items()})


@pytest.fixture
async def keys(server, admin, press):
    """Return a Server with keys, one of them in use by a connected Worker."""
    server.clock.now = NOON
    await server.services.store.write(write_keys)
    body = {"name": "everyone", "worker_ids": None}
    key = (await server.http.post("/api/api-keys", json=body, headers=admin)).json()["key"]
    token = (await server.token_by_key("press-01", key)).json()["access_token"]
    poll = {"boot_id": "boot-0001", "host": {}}
    await server.http.post("/api/worker/session", json=poll, headers={"Authorization": f"Bearer {token}"})
    return server


async def test_each_column_has_its_values(keys):
    """A key with several generations is sorted by the newest; its last use is that of any of them, written or not."""
    services = keys.services
    groups = [
        g for g in services.api_key_queries.find(scope=UNLIMITED) if g[0].name in VALUES[KeyColumn.NAME]
    ]
    found = {}
    for column in KeyColumn:
        value = await services.api_key_order.values_of(column, scope=UNLIMITED)
        found[column] = [value(group) for group in groups]

    assert found == VALUES


async def test_workers_outside_the_scope_are_not_counted(keys):
    """The order of a list reveals nothing about Workers of another team."""
    scope = scope_of({"team": "etl"})
    groups = keys.services.api_key_queries.find(scope=UNLIMITED)

    value = await keys.services.api_key_order.values_of(KeyColumn.CONNECTED, scope=scope)

    assert [value(group) for group in groups] == [0] * len(groups)
