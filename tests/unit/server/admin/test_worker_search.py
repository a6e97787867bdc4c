"""Searches over a fleet: the same table on both databases, in the API, and for connected Workers."""

import random

import pytest
from msgspec.structs import replace
from tests.builders import SECRET_KEY, api_key
from tests.plain_search import KEYS, plain_search, random_fleet, random_query
from tests.worker_searches import EVERYTHING, NOT_LISTED, REJECTED, SEARCHES, write_fleet, write_origins

from lyftdata.core.scopes import UNLIMITED, scope_of
from lyftdata.core.worker_query import parse_worker_query
from lyftdata.server.admin.last_connections import LastConnections
from lyftdata.store.changes import WorkerChanged
from lyftdata.store.tables import activity, api_keys, workers

TEAM = scope_of({"zone": "eu-1"})


@pytest.fixture(params=["sqlite", "postgresql"])
async def fleet(opened, request):
    """Return a Server on each database, with the fleet of the table."""
    environ = {}
    if request.param == "postgresql":
        url = request.getfixturevalue("cluster").new_database()
        environ = {"LYFTDATA_DATABASE_URL": url, "LYFTDATA_SECRET_KEY": SECRET_KEY}
    async with opened(**environ) as server:
        admin = await server.sign_in()
        await server.http.post("/api/api-keys", json={"name": "press-keys"}, headers=admin)
        await server.http.post("/api/api-keys/press-keys/rotate", json={"grace_s": 3600}, headers=admin)
        now = server.clock()
        generations = {key.generation: key.public_id for key in server.services.directory.api_keys()}
        await server.services.store.write(lambda tx: write_fleet(tx, now))
        await server.services.store.write(lambda tx: write_origins(tx, now, generations[1], generations[2]))
        server.services.traces.seen |= {"press-1", "press-2", "press-10", "gpu-7", "odd", "old"}
        yield server


async def test_each_search_finds_what_the_table_says(fleet):
    """On both databases, in queries and in the API."""
    admin = await fleet.sign_in()
    found, listed = {}, {}
    for search, _ in SEARCHES:
        workers = await fleet.services.worker_queries.find(parse_worker_query(search), scope=UNLIMITED)
        found[search] = {worker.id for worker in workers}
        query = {"q": search} if search else {}
        answer = await fleet.http.get("/api/workers", params=query, headers=admin)
        listed[search] = {worker["id"] for worker in answer.json()["items"]}

    assert found == dict(SEARCHES)
    assert listed == found
    assert EVERYTHING.isdisjoint(NOT_LISTED)


async def test_an_invalid_search_lists_nothing(server, press, admin):
    """The API answers 422 with a message that names the position, and no Worker."""
    for search, position, message in REJECTED:
        answer = await server.http.get("/api/workers", params={"q": search}, headers=admin)
        assert answer.status_code == 422, search
        assert "press-01" not in answer.text
        if len(search) <= 500:
            assert message in answer.json()["detail"]
            assert f"at character {position}: " in answer.json()["detail"]
    blank = await server.http.get("/api/workers", params={"q": "  "}, headers=admin)
    assert blank.status_code == 422


async def test_a_connected_worker_is_found_by_its_session(server, press, admin):
    """By its current host, address, version and key, not by previous ones."""

    async def find(search):
        found = await server.services.worker_queries.find(parse_worker_query(search), scope=UNLIMITED)
        return [worker.id for worker in found]

    token = (await server.token_by_key(*press)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    key = (await server.services.api_key_queries.list_all(scope=UNLIMITED))[0].name
    for boot, host, version in (("boot-0001", "before", "1.0"), ("boot-0002", "After", "1.5")):
        poll = {"boot_id": boot, "host": {"hostname": host, "agent_version": version}}
        await server.http.post("/api/worker/session", json=poll, headers=headers)
        await server.services.traces.flush()
        if boot == "boot-0001":
            server.services.sessions.sign_off("press-01", boot)
            assert await find("host:before seen:<1h status:offline version:<1.4") == ["press-01"]

    for search in (
        "host:=after",
        "after",
        "status:online",
        "seen:<1s",
        "version:1.5",
        "address:127.0.0.1",
        "127.0.0.1",
        f"key:{key}@current",
        f"key:={key}",
        f"{key} -host:before",
        "-seen:never",
    ):
        assert await find(search) == ["press-01"], search
    for search in (
        "host:before",
        "before",
        "status:offline",
        "seen:>1s",
        "version:<1.4",
        "address:10.0.0.0/8",
        f"key:{key}@old",
        "-after",
    ):
        assert await find(search) == [], search


async def test_an_enrollment_key_is_found_by_its_name(server, admin):
    """The startup key is called `startup`, an issued one has its own name; both are also found by fingerprint."""
    enrolled, _ = await server.enrolled()
    (startup,) = server.services.enrollment.keys

    for search in ("enrolled:startup", "enrolled:=STARTUP", f"enrolled:={startup.fingerprint}"):
        found = await server.services.worker_queries.find(parse_worker_query(search), scope=UNLIMITED)
        assert [worker.id for worker in found] == [enrolled], search
    assert (
        await server.services.worker_queries.find(parse_worker_query("enrolled:partners"), scope=UNLIMITED)
        == []
    )


def archived(one, now):
    """Return the same Worker, archived."""
    return replace(one, record=replace(one.record, archived_at=now))


@pytest.mark.parametrize("seed", range(4))
async def test_a_search_finds_the_same_as_a_simple_one(server, seed):
    """Over a random fleet, partly connected: the same as checking each word against each Worker."""
    chance, now, services = random.Random(seed), server.clock(), server.services
    keys = [api_key(public_id, name=name) for name, public_id in KEYS.items()]
    described, traces, sessions = random_fleet(chance, 700, now)
    if seed % 2:
        described = [archived(one, now) if chance.random() < 0.1 else one for one in described]

    def write(tx):
        for key in keys:
            api_keys.insert_api_key(tx, key)
        workers.insert_fresh(tx, [one.record for one in described])
        activity.upsert_traces(tx, traces)

    await services.store.write(write)
    services.traces.seen |= {one.record.id for one in described if one.seen_at is not None}
    for session in sessions:
        services.sessions.set_remote_session(session.worker_id, session)

    found_any = 0
    listed = [one for one in described if one.record.archived_at is None]
    of_team = [one for one in listed if TEAM.covers(one.record.labels)]
    for _ in range(120):
        query = parse_worker_query(random_query(chance))
        found = [one.id for one in await services.worker_queries.find(query, scope=UNLIMITED)]
        assert set(found) == plain_search(query, listed, now), query.text
        assert len(found) == len(set(found)), query.text
        within = await services.worker_queries.find(query, scope=TEAM)
        assert {one.id for one in within} == plain_search(query, of_team, now), query.text
        found_any += bool(found)
    assert found_any > 30


async def test_a_worker_that_leaves_the_scope_while_the_database_answers_is_not_found(
    server, press, monkeypatch
):
    """Nor is one that is archived meanwhile: the result is checked after the database answered."""
    directory, now = server.services.directory, server.clock()
    kept = directory.find_worker("press-01")
    scope = scope_of({"team": "etl"})

    def then(record):
        """Return a database search during which the entry changes."""

        async def find_ids(self, terms, among):
            directory.apply([WorkerChanged("press-01", record)])
            return {"press-01"}

        return find_ids

    for within, before, after, is_found in (
        (UNLIMITED, kept, kept, True),
        (UNLIMITED, kept, replace(kept, archived_at=now), False),
        (scope, replace(kept, labels={"team": "etl"}), replace(kept, labels={"team": "ops"}), False),
    ):
        directory.apply([WorkerChanged("press-01", before)])
        monkeypatch.setattr(LastConnections, "find_ids", then(after))
        found = await server.services.worker_queries.find(
            parse_worker_query("address:0.0.0.0/0"), scope=within
        )
        assert bool(found) is is_found
