"""Workers as operators see them: pages, filters, states."""

from lyftdata.core.actor import Actor
from lyftdata.core.records import Role, State
from lyftdata.core.scopes import UNLIMITED
from lyftdata.core.worker_query import parse_worker_query

ADMIN = Actor(operator="admin", role=Role.ADMIN, session_id="s", address="192.0.2.1")


async def add(server, worker_id, name=None, labels=None):
    """Add a Worker."""
    await server.services.workers.add(
        name or worker_id, worker_id=worker_id, labels=labels or {}, issue_key=False, actor=ADMIN
    )


async def test_pages_are_complete_and_do_not_overlap(server, admin):
    """Following `next` returns every Worker once, in order, with any filter."""
    for n in range(25):
        await add(server, f"w-{n:02}", labels={"even": "yes"} if n % 2 == 0 else {})

    for given, expected in (
        ({}, 25),
        ({"label": "even"}, 13),
        ({"label": "even=yes"}, 13),
        ({"label": "even=no"}, 0),
    ):
        seen: list[str] = []
        after: dict[str, str] = {}
        while True:
            query = {"limit": 4} | given | after
            page = (await server.http.get("/api/workers", params=query, headers=admin)).json()
            seen += [worker["id"] for worker in page["items"]]
            assert page["total"] == expected
            if page["next"] is None:
                break
            after = {"after": page["next"]}
        assert seen == sorted(set(seen))
        assert len(seen) == expected


async def test_workers_are_found_by_api_key_and_by_enrollment_key(server, press):
    """By the API key they are connected with or used last; by the enrollment key they enrolled with."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    (key,) = await server.services.api_key_queries.list_all(scope=UNLIMITED)
    wanted = parse_worker_query(f"key:={key.name}")
    assert await server.services.worker_queries.find(wanted, scope=UNLIMITED) == []
    await server.http.post("/api/worker/session", json={"boot_id": "boot-0001"}, headers=headers)
    assert [w.id for w in await server.services.worker_queries.find(wanted, scope=UNLIMITED)] == ["press-01"]
    enrolled, _ = await server.enrolled()
    (secret,) = server.services.enrollment.keys

    found = await server.services.worker_queries.find(
        parse_worker_query(f"enrolled:={secret.fingerprint}"), scope=UNLIMITED
    )
    assert [w.id for w in found] == [enrolled]


async def test_the_last_key_address_and_host_stay_when_a_worker_disconnects(server, admin, press):
    """Operators look for them once it is offline."""
    session = server.services.sessions
    token = (await server.token_by_key(*press)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    poll = {"boot_id": "boot-0001", "host": {"hostname": "host-a"}}
    await server.http.post("/api/worker/session", json=poll, headers=headers)
    await server.services.traces.flush()
    before = (await server.http.get("/api/workers/press-01", headers=admin)).json()
    server.clock.forward(seconds=90)
    session.sign_off("press-01", "boot-0001")

    for _ in range(2):
        after = (await server.http.get("/api/workers/press-01", headers=admin)).json()
        assert (after["status"], after["last_seen_at"]) == ("offline", "2026-03-01T12:01:30Z")
        for name in ("api_key", "address", "host"):
            assert after[name] == before[name]
            assert after[name]
        await server.services.traces.flush()


async def test_a_worker_has_one_state(server, admin, press):
    """A disabled Worker is not counted as offline or never connected."""
    await server.http.patch("/api/workers/press-01", json={"enabled": False}, headers=admin)
    counts = {
        state: (await server.http.get("/api/workers", params={"status": state}, headers=admin)).json()[
            "total"
        ]
        for state in State
    }
    assert counts == {state: int(state is State.DISABLED) for state in State}


async def test_a_name_instead_of_an_id_gets_a_hint(server, admin):
    """Operators know Workers by name; the API takes the ID."""
    worker_id, _ = await server.enrolled("scaler")
    answer = (await server.http.get("/api/workers/scaler", headers=admin)).json()
    assert answer["hint"] == f"A Worker is found by its ID: 'scaler' has the ID {worker_id}."
