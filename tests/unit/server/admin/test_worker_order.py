"""Workers sorted by each column."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.builders import worker
from tests.worker_searches import write_fleet

from lyftdata.core.query_values import fold
from lyftdata.core.scopes import UNLIMITED
from lyftdata.core.worker_query import parse_worker_query
from lyftdata.server.admin.worker_order import Column, first_by_id

# Workers without a value in the column come last, by name, in both directions.
ORDERS = {
    Column.NAME: "odd binder gpu-7 late press-1 press-10 press-2",
    Column.STATUS: "odd gpu-7 press-1 press-2 binder press-10 late",
    Column.HOST: "odd press-1 press-10 gpu-7 press-2 | binder late",
    Column.ADDRESS: "press-1 press-2 press-10 gpu-7 odd | binder late",
    Column.VERSION: "odd press-10 press-1 press-2 gpu-7 | binder late",
    Column.LABELS: "gpu-7 binder press-1 press-2 press-10 | odd late",
    Column.KEY: "press-1 press-10 press-2 | odd binder gpu-7 late",
    Column.STRATEGY: "odd binder press-1 press-10 press-2 gpu-7 late",
    Column.SEEN: "odd gpu-7 press-10 press-2 press-1 | binder late",
    Column.CREATED: "odd binder gpu-7 press-1 press-10 press-2 late",
}


@pytest.fixture
async def fleet(server):
    """Return a Server with the fleet of the search table."""
    now = server.clock()
    await server.services.store.write(lambda tx: write_fleet(tx, now))
    server.services.traces.seen |= {"press-1", "press-2", "press-10", "gpu-7", "odd", "old"}
    return server


async def test_a_list_can_be_sorted_by_any_column(fleet):
    """Versions as numbers, times as times, states in the order of the facets; in reverse order, missing values stay last."""
    queries = fleet.services.worker_queries
    found = await queries.find(parse_worker_query(""), scope=UNLIMITED)
    orders, reverse = {}, {}
    for column in Column:
        orders[column] = [w.id for w in await queries.sort(found, column, descending=False, limit=99)]
        reverse[column] = [w.id for w in await queries.sort(found, column, descending=True, limit=99)]

    assert orders == {column: order.replace(" |", "").split() for column, order in ORDERS.items()}
    for column, order in ORDERS.items():
        valued, _, missing = order.partition(" | ")
        assert reverse[column][len(valued.split()) :] == missing.split()
        assert set(reverse[column]) == set(orders[column])
    assert reverse[Column.SEEN][0] == "press-1"
    assert reverse[Column.VERSION][0] == "gpu-7"


async def test_a_connected_worker_is_sorted_by_its_session(fleet, press):
    """It was seen just now, whatever is stored about it."""
    token = (await fleet.token_by_key(*press)).json()["access_token"]
    poll = {"boot_id": "boot-0001", "host": {"hostname": "a-host", "agent_version": "9.0"}}
    headers = {"Authorization": f"Bearer {token}"}
    await fleet.http.post("/api/worker/session", json=poll, headers=headers)
    queries = fleet.services.worker_queries
    found = await queries.find(parse_worker_query(""), scope=UNLIMITED)

    for column, descending in (
        (Column.SEEN, True),
        (Column.VERSION, True),
        (Column.HOST, False),
        (Column.KEY, False),
        (Column.ADDRESS, True),
    ):
        first = await queries.sort(found, column, descending=descending, limit=3)
        assert "press-01" in {worker.id for worker in first}, column


@pytest.mark.parametrize("descending", [False, True])
async def test_the_first_n_are_those_of_the_whole_list(fleet, descending):
    """However many are requested, also if many have the same value and some have none."""
    queries = fleet.services.worker_queries
    found = await queries.find(parse_worker_query(""), scope=UNLIMITED)
    for column in Column:
        whole = await queries.sort(found, column, descending=descending, limit=len(found))
        assert sorted(w.id for w in whole) == sorted(w.id for w in found)
        for limit in range(1, len(found)):
            first = await queries.sort(found[::-1], column, descending=descending, limit=limit)
            assert first == whole[:limit], (column, limit)


NAMES = st.sampled_from(("press", "Press", "PRESS-2", "binder", "Straße", "strasse", "line\nbreak", ""))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NAMES, max_size=12), limit=st.integers(1, 13), descending=st.booleans())
async def test_the_first_by_name_are_found_in_batches(server, monkeypatch, names, limit, descending):
    """Names that differ only in case are sorted by ID, and none is lost between batches."""
    monkeypatch.setattr("lyftdata.server.admin.worker_order._AT_ONCE", 3)
    found = [worker(f"w-{-number % 7}{number}", name=name) for number, name in enumerate(names)]

    by_name = await server.services.worker_queries.sort(
        found, Column.NAME, descending=descending, limit=limit
    )
    by_id = await first_by_id(found, limit)

    assert by_name == sorted(found, key=lambda w: (fold(w.name), w.id), reverse=descending)[:limit]
    assert by_id == sorted(found, key=lambda w: w.id)[:limit]
