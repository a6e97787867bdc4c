"""Searches of what Workers left behind, on each database."""

from datetime import timedelta
from ipaddress import ip_network

from tests.builders import NOON, worker
from tests.store.conftest import ON_SQLITE, add_workers, run_directly

from lyftdata.core.query_values import TextPattern, VersionRange
from lyftdata.core.records import WorkerTraces
from lyftdata.core.versions import parse_version
from lyftdata.store.tables import activity, trace_search


def left(worker_id, **fields):
    """Return what a Worker left behind."""
    return WorkerTraces(worker_id=worker_id, last_seen_at=NOON, **fields)


async def write(store, *traces):
    """Add Workers with these traces."""
    await add_workers(store, *(worker(trace.worker_id) for trace in traces))
    await store.write(lambda tx: activity.upsert_traces(tx, traces))


async def test_what_was_replaced_is_not_found(store):
    """The last host, version and address count, and a Worker that reports none is found by none."""
    await write(store, left("w-1", address="10.0.0.1", host={"hostname": "Old", "agent_version": "1.0"}))
    now = left("w-1", address="10.0.0.2", host={"hostname": "NEW"})
    await store.write(lambda tx: activity.upsert_traces(tx, [now]))

    def found(conn):
        old, new = (TextPattern((text,), is_whole=False) for text in ("old", "new"))
        version = parse_version("1.0")
        assert version is not None
        return [
            trace_search.ids_by_host(conn, old),
            trace_search.ids_by_host(conn, new),
            trace_search.ids_by_text(conn, new),
            trace_search.ids_by_version(conn, VersionRange(">=", version, ())),
            trace_search.ids_by_address(conn, ip_network("10.0.0.1")),
            trace_search.ids_by_address(conn, ip_network("10.0.0.2/31")),
            trace_search.ids_seen(conn, since=NOON - timedelta(seconds=1)),
            trace_search.ids_seen(conn, before=NOON),
        ]

    assert await store.read(found) == [set(), {"w-1"}, {"w-1"}, set(), set(), {"w-1"}, {"w-1"}, set()]


async def test_hostile_host_names_are_stored_and_found(store):
    """A name that grows when it is folded, and one with every special character of a pattern."""
    await write(
        store,
        left("w-1", host={"hostname": "\N{LATIN SMALL LETTER SHARP S}" * 128}),
        left("w-2", host={"hostname": "%_\\'\";--"}),
    )

    def found(conn):
        return [
            trace_search.ids_by_host(conn, TextPattern((text,), is_whole=False))
            for text in ("ss", "%_", "\\'", "_%", '";--')
        ]

    assert await store.read(found) == [{"w-1"}, {"w-2"}, {"w-2"}, set(), {"w-2"}]


async def test_more_versions_and_keys_than_a_statement_takes(store):
    """A fleet in which each Worker has a version and a key of its own is searched in several statements."""
    traces = [left(f"w-{n}", api_key_name=f"key-{n}", host={"agent_version": f"1.{n}"}) for n in range(1_200)]
    await write(store, *traces)
    version = parse_version("1.600")
    assert version is not None

    newer = await store.read(lambda conn: trace_search.ids_by_version(conn, VersionRange(">=", version, ())))
    by_key = await store.read(lambda conn: trace_search.ids_by_key(conn, [f"key-{n}" for n in range(1_100)]))

    assert (len(newer), len(by_key)) == (600, 1_100)


@ON_SQLITE
async def test_versions_are_read_from_an_index(store, database_url):
    """Which versions there are is read from the index, and not from each row with its facts."""
    plan = run_directly(
        database_url,
        "EXPLAIN QUERY PLAN SELECT DISTINCT agent_version FROM worker_traces WHERE agent_version IS NOT NULL",
    )
    assert "ix_worker_traces_agent_version" in str(plan)
