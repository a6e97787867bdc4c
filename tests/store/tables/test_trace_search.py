"""Searches of Workers' last connections, on each database."""

from datetime import timedelta
from ipaddress import ip_network

from tests.builders import NOON, worker
from tests.store.conftest import ON_SQLITE, run_directly

from lyftdata.core.query_values import TextPattern, VersionRange
from lyftdata.core.records import WorkerTraces
from lyftdata.core.versions import parse_version
from lyftdata.store.tables import activity, workers
from lyftdata.store.tables.trace_search import (
    AddressIsIn,
    AnyTextFits,
    HostFits,
    KeyIsOneOf,
    LastSeen,
    VersionFits,
    find_ids,
)


def left(worker_id, **fields):
    """Return the traces of a Worker's last connection."""
    return WorkerTraces(worker_id=worker_id, last_seen_at=NOON, **fields)


async def write(store, *traces):
    """Add Workers with these traces."""

    def op(tx):
        workers.insert_fresh(tx, [worker(trace.worker_id) for trace in traces])
        activity.upsert_traces(tx, traces)

    await store.write(op)


async def test_replaced_values_are_not_found(store):
    """The last host, version and address count; a Worker that reports none is not found by them."""
    await write(store, left("w-1", address="10.0.0.1", host={"hostname": "Old", "agent_version": "1.0"}))
    now = left("w-1", address="10.0.0.2", host={"hostname": "NEW"})
    await store.write(lambda tx: activity.upsert_traces(tx, [now]))
    old, new = (TextPattern((text,), is_whole=False) for text in ("old", "new"))
    version = parse_version("1.0")
    assert version is not None

    conditions = [
        (HostFits(old), False),
        (HostFits(new), True),
        (AnyTextFits(new, frozenset()), True),
        (VersionFits(VersionRange(">=", version, ())), False),
        (AddressIsIn(ip_network("10.0.0.1")), False),
        (AddressIsIn(ip_network("10.0.0.2/31")), True),
        (LastSeen(since=NOON - timedelta(seconds=1)), True),
        (LastSeen(before=NOON), False),
        (KeyIsOneOf(frozenset()), False),
    ]
    for condition, is_found in conditions:
        found = await store.read(lambda conn, condition=condition: find_ids(conn, [[condition]]))
        assert found == (["w-1"] if is_found else []), condition


async def test_every_term_must_match_by_one_of_its_conditions(store):
    """In one scan, also with addresses, which are compared again; and only among given Workers."""
    hosts = {"w-1": "rack1", "w-2": "rack1", "w-3": "rack2", "w-4": "rack3"}
    addresses = {"w-1": "10.4.0.1", "w-2": "10.9.0.1", "w-3": "2001:db8::1", "w-4": "10.4.0.4"}
    await write(store, *(left(w, address=addresses[w], host={"hostname": hosts[w]}) for w in hosts))
    racks = [HostFits(TextPattern((host,), is_whole=True)) for host in ("rack1", "rack2")]
    networks = [AddressIsIn(ip_network(network)) for network in ("10.4.0.0/15", "2001:db8::/64")]

    def find(*terms, among=None):
        return store.read(lambda conn: set(find_ids(conn, terms, among=among)))

    assert await find(racks) == {"w-1", "w-2", "w-3"}
    assert await find(racks, networks) == {"w-1", "w-3"}
    assert await find(racks, networks, networks[1:]) == {"w-3"}
    assert await find(racks, networks, among=["w-3", "w-4"]) == {"w-3"}
    assert await find(racks, among=[]) == set()


async def test_hostile_host_names_are_stored_and_found(store):
    """A name that gets longer by case folding, and one with every special character of patterns."""
    await write(
        store,
        left("w-1", host={"hostname": "\N{LATIN SMALL LETTER SHARP S}" * 128}),
        left("w-2", host={"hostname": "%_\\'\";--"}),
    )

    def found(conn):
        return [
            find_ids(conn, [[HostFits(TextPattern((text,), is_whole=False))]])
            for text in ("ss", "%_", "\\'", "_%", '";--')
        ]

    assert await store.read(found) == [["w-1"], ["w-2"], ["w-2"], [], ["w-2"]]


async def test_more_versions_and_keys_than_fit_into_a_statement(store):
    """A fleet with a different version and key for each Worker is searched in several statements."""
    traces = [left(f"w-{n}", api_key_name=f"key-{n}", host={"agent_version": f"1.{n}"}) for n in range(1_200)]
    await write(store, *traces)
    version = parse_version("1.600")
    assert version is not None
    newer = [VersionFits(VersionRange(">=", version, ()))]
    by_key = [KeyIsOneOf(frozenset(f"key-{n}" for n in range(1_100)))]

    def find(*terms):
        return store.read(lambda conn: len(find_ids(conn, terms)))

    assert [await find(newer), await find(by_key), await find(newer, by_key)] == [600, 1_100, 500]


async def test_a_text_is_found_in_the_names_of_few_or_many_keys(store):
    """Few are listed in the statement; for many, the text is searched in each name. Case is ignored."""
    traces = [left(f"w-{n}", address="10.0.0.1", api_key_name=f"Key-{n}") for n in range(600)]
    await write(store, *traces, left("w-none", address="10.0.0.1"))

    def find(text):
        pattern = TextPattern((text,), is_whole=False)
        names = frozenset(f"Key-{n}" for n in range(600) if pattern.matches(f"key-{n}"))
        return store.read(lambda conn: len(find_ids(conn, [[AnyTextFits(pattern, names)]])))

    assert [await find("key-"), await find("key-59"), await find("other")] == [600, 11, 0]


async def test_a_worker_without_an_address_is_in_no_network(store):
    """Its row does not shift the results of others."""
    addresses = {"w-1": "", "w-2": "10.0.0.2", "w-3": "", "w-4": "unknown", "w-5": "10.0.0.5"}
    await write(store, *(left(worker_id, address=address) for worker_id, address in addresses.items()))

    def find(network):
        condition = AddressIsIn(ip_network(network))
        return store.read(lambda conn: set(find_ids(conn, [[condition]])))

    assert await find("0.0.0.0/0") == {"w-2", "w-5"}
    assert await find("10.0.0.4/30") == {"w-5"}


@ON_SQLITE
async def test_versions_are_read_from_an_index(store, database_url):
    """The list of versions is read from the index, not from every row."""
    plan = run_directly(
        database_url,
        "EXPLAIN QUERY PLAN SELECT DISTINCT agent_version FROM worker_traces WHERE agent_version IS NOT NULL",
    )
    assert "ix_worker_traces_agent_version" in str(plan)
