"""What operators read: filters, pages, the Server over time, the log as a file."""

import csv
import io
import re

import pytest
from tests.unit.server.api.test_oauth_token import stranger_key

from lyftdata.core.actor import Actor
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.records import Role, Sample, State, Strategy
from lyftdata.server.admin.schemas.status import Period
from lyftdata.server.admin.worker_queries import WorkerFilter
from lyftdata.store.tables import samples

ADMIN = Actor(operator="admin", role=Role.ADMIN, session_id="s", address="192.0.2.1")


async def add(server, worker_id, name=None, labels=None):
    """Add a Worker."""
    await server.services.workers.add(
        name or worker_id, worker_id=worker_id, labels=labels or {}, issue_key=False, actor=ADMIN
    )


async def test_pages_are_whole_and_do_not_overlap(server, admin):
    """Following `next` gives every Worker once, in order, whatever is filtered."""
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


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"q": "PRESS"}, {"a.1", "b"}),
        ({"q": "a."}, {"a.1"}),
        ({"q": "%"}, {"c"}),
        ({"q": "_"}, set()),
        ({"strategy": Strategy.AUTO_ENROLLMENT}, set()),
        ({"state": State.DISABLED}, {"c"}),
        ({"state": State.NEVER_CONNECTED}, {"a.1", "b"}),
        ({"state": State.ONLINE}, set()),
        ({"api_key": "nobody-has-it"}, set()),
        ({"enrolled_with": "abcd"}, set()),
    ],
)
async def test_filters(server, given, found):
    """Search takes text as it is (no wildcards); the others narrow."""
    await add(server, "a.1", "press one")
    await add(server, "b", "Press two")
    await add(server, "c", "100% other")
    await server.services.workers.change("c", enabled=False, actor=ADMIN)

    assert {w.id for w in await server.services.worker_queries.find(WorkerFilter(**given))} == found


async def test_workers_are_found_by_their_key_and_their_secret(server, press):
    """By the key they are connected with, or used last; by the enrollment key that they came with."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    (key,) = await server.services.api_key_queries.list_all()
    wanted = WorkerFilter(api_key=key.name)
    assert await server.services.worker_queries.find(wanted) == []
    await server.http.post("/api/worker/session", json={"boot_id": "boot-0001"}, headers=headers)
    assert [w.id for w in await server.services.worker_queries.find(wanted)] == ["press-01"]
    enrolled, _ = await server.enrolled()
    (secret,) = server.services.enrollment.keys

    found = await server.services.worker_queries.find(WorkerFilter(enrolled_with=secret.fingerprint))
    assert [w.id for w in found] == [enrolled]


async def test_the_server_over_time(server, admin, press):
    """Admissions and refusals of each minute, the most that were connected; times without the Server have no point."""
    await server.token_by_key(*press)
    server.clock.forward(minutes=1)
    await server.services.samples.flush()
    for _ in range(3):
        await server.token_by_key("press-01", "wrong")
    server.clock.forward(minutes=5)
    await server.services.samples.flush()
    await server.token_by_key(*press)
    shown = (await server.http.get("/api/history", headers=admin)).json()
    by_day = (await server.http.get("/api/history?period=day", headers=admin)).json()

    assert [(p["at"][14:16], p["admitted"], p["refused"]) for p in shown["points"]] == [
        ("00", 1, 0),
        ("01", 0, 3),
        ("06", 1, 0),
    ]
    assert [(p["admitted"], p["refused"]) for p in by_day["points"]] == [(2, 3)]


async def test_a_week_of_minutes_is_shown_by_the_hour(server):
    """What is older than the period is left out; each hour shows its highest count of Workers."""
    now = server.clock()
    for minutes, online in ((1, 3), (2, 7), (200, 1), (60 * 24 * 7 + 1, 9)):
        at = now.replace(minute=0) - (now - now.replace(minute=0))
        at = at.fromtimestamp(now.timestamp() - minutes * 60, tz=now.tzinfo)
        sample = Sample(at=at, online=online, admitted=1, refused=0)
        await server.services.store.write(
            lambda tx, sample=sample: samples.add_sample(tx, sample, keep_since=sample.at)
        )

    shown = await server.services.status_queries.history(Period.WEEK)
    assert sorted(point.online for point in shown.points) == [0, 1, 7]


async def test_the_audit_log_as_a_spreadsheet(server, admin):
    """Every column, and no cell that a spreadsheet would run as a formula."""
    await add(server, "w-1", "=1+1")
    await server.services.workers.change("w-1", name="@SUM(A1)", actor=ADMIN)
    await server.services.workers.change("w-1", name="x;=cmd|' /C calc'!A0;y", actor=ADMIN)
    answer = await server.http.get("/api/audit/export?format=csv", headers=admin)
    header, *rows = csv.reader(io.StringIO(answer.text))

    assert answer.headers["content-type"].startswith("text/csv")
    assert header == ["number", "at", "actor", "action", "subject", "address", "details", "hash"]
    assert [row[0] for row in rows] == [str(n + 1) for n in range(len(rows))]
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]
    # Where the list separator is another, a cell may begin within one of the export's.
    assert not re.search(r"[;|\t][=+@-]", answer.text)


# --- letting more Workers use a key ----------------------------------------------------------------------


async def issue(server, admin, name, worker_ids):
    """Issue a key and return it."""
    body = {"name": name, "worker_ids": worker_ids}
    return (await server.http.post("/api/api-keys", json=body, headers=admin)).json()["key"]


async def test_a_key_for_chosen_workers_is_widened(server, admin, press):
    """The Worker that was refused for it gets in with the very same key, and the log says who allowed it."""
    await add(server, "press-02")
    key = await issue(server, admin, "press-keys", ["press-01"])
    refused = await server.token_by_key("press-02", key)
    assert await server.cause(refused) == "api_key_not_for_worker"

    body = {"worker_ids": ["press-02"]}
    allowed = await server.http.post("/api/api-keys/press-keys/allow", json=body, headers=admin)

    assert allowed.json()["worker_ids"] == ["press-01", "press-02"]
    for worker_id in ("press-01", "press-02"):
        assert (await server.token_by_key(worker_id, key)).status_code == 200
    (event, *_) = (await server.http.get("/api/audit", headers=admin)).json()["items"]
    assert (event["action"], event["subject"]) == ("api_key.allowed", "api_key:press-keys")
    assert event["details"] == {"workers": "press-02"}


async def test_allowing_again_changes_nothing(server, admin, press):
    """A Worker that may use the key already, and a key for all: no change, and no second event in the log."""
    await issue(server, admin, "press-keys", ["press-01"])
    await issue(server, admin, "all-keys", None)
    before = (await server.http.get("/api/audit", headers=admin)).json()["items"]

    for name in ("press-keys", "all-keys"):
        body = {"worker_ids": ["press-01"]}
        answer = await server.http.post(f"/api/api-keys/{name}/allow", json=body, headers=admin)
        assert answer.status_code == 200

    assert (await server.http.get("/api/audit", headers=admin)).json()["items"] == before


async def test_an_older_generation_that_still_works_is_widened_too(server, admin, press):
    """In a rotation's grace both keys are for the same Workers."""
    await add(server, "press-02")
    old = await issue(server, admin, "press-keys", ["press-01"])
    await server.http.post("/api/api-keys/press-keys/rotate", json={"grace_s": 60}, headers=admin)

    body = {"worker_ids": ["press-02"]}
    await server.http.post("/api/api-keys/press-keys/allow", json=body, headers=admin)

    assert (await server.token_by_key("press-02", old)).status_code == 200


async def test_what_cannot_be_allowed(server, admin, press):
    """Nobody, a stranger, an enrolled Worker, a revoked key, a key that is not there: each a clear refusal."""
    enrolled, _ = await server.enrolled()
    await issue(server, admin, "press-keys", ["press-01"])
    await issue(server, admin, "old-keys", ["press-01"])
    await server.http.post("/api/api-keys/old-keys/revoke", headers=admin)
    for name, worker_ids, code in (
        ("press-keys", [], "invalid_input"),
        ("press-keys", ["nobody"], "worker_not_found"),
        ("press-keys", [enrolled], "wrong_strategy"),
        ("old-keys", ["press-01"], "api_key_revoked"),
        ("no-keys", ["press-01"], "api_key_not_found"),
    ):
        body = {"worker_ids": worker_ids}
        answer = await server.http.post(f"/api/api-keys/{name}/allow", json=body, headers=admin)
        assert answer.json()["code"] == code
    key = (await server.http.get("/api/api-keys/press-keys", headers=admin)).json()
    assert key["worker_ids"] == ["press-01"]


# --- what needs attention --------------------------------------------------------------------------------


async def concerns(server, admin):
    """Return what needs attention, as kind and subject."""
    answer = await server.http.get("/api/attention", headers=admin)
    return {(c["kind"], c["subject"]) for c in answer.json()["items"]}


async def test_a_quiet_server_needs_nothing(server, admin, press):
    """A Worker that connects as it should, and a stranger's single guess: nothing to do."""
    await server.token_by_key(*press)
    await server.token_by_key("press-01", "nonsense")
    assert await concerns(server, admin) == set()


async def test_a_worker_refused_again_and_again_is_shown_for_an_hour(server, admin, press):
    """Three times is a setting that is wrong; the reference leads to the cause; an hour later it is old."""
    for _ in range(2):
        await server.token_by_key("press-01", "nonsense")
    refused = await server.token_by_key("press-01", "nonsense")
    assert await concerns(server, admin) == {("refused", refused.json()["reference"])}
    server.clock.forward(hours=1, seconds=1)
    assert await concerns(server, admin) == set()


async def refuse(server, worker_id, key="nonsense", *, times=3, address="203.0.113.5"):
    """Have a Worker refused by its key."""
    async with server.from_address(address) as http:
        form = {"grant_type": "client_credentials", "client_id": worker_id, "client_secret": key}
        for _ in range(times):
            server.clock.forward(seconds=10)
            await http.post("/oauth2/token", data=form)


async def titles(server):
    """Return what the overview says of those who are refused."""
    return [c.title for c in await server.services.alerts.find() if c.kind == "refused"]


@pytest.mark.parametrize("how", ["token", "session", "ended session"])
async def test_a_worker_that_was_let_in_since_needs_nothing(server, admin, press, how):
    """Once it has a token or has connected, what was wrong is past; refused once more, it is shown again."""
    await refuse(server, "press-01")
    assert await titles(server) == ["press-01 at 203.0.113.5 was refused 3 times"]
    server.clock.forward(seconds=10)
    token = (await server.token_by_key(*press)).json()["access_token"]
    if how != "token":
        server.services.traces.forget("press-01")
        headers, poll = {"Authorization": f"Bearer {token}"}, {"boot_id": "boot-0001"}
        await server.http.post("/api/worker/session", json=poll, headers=headers)
        if how == "ended session":
            off = {"boot_id": "boot-0001", "sign_off": True}
            await server.http.post("/api/worker/session", json=off, headers=headers)
            await server.services.session_log.flush()

    assert await titles(server) == []
    await refuse(server, "press-01", times=1)
    assert await titles(server) == ["press-01 at 203.0.113.5 was refused 4 times"]


async def test_a_connected_workers_tokens_do_not_hide_a_second_host(server, admin, press):
    """What is refused elsewhere under the same ID stays in sight while the first host goes on."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    await server.http.post("/api/worker/session", json={"boot_id": "boot-0001"}, headers=headers)
    await refuse(server, "press-01")
    server.clock.forward(seconds=1)
    await server.token_by_key(*press)

    assert await titles(server) == ["press-01 at 203.0.113.5 was refused 3 times"]


async def test_one_line_a_worker_and_cause(server, admin, press):
    """From however many addresses; another cause is another line, since what to do is another thing."""
    for n in range(4):
        await refuse(server, "press-01", times=1, address=f"203.0.113.{n}")
    await refuse(server, "press-01", stranger_key())

    assert sorted(await titles(server)) == [
        "press-01 at 203.0.113.5 was refused 3 times",
        "press-01 at 4 addresses was refused 4 times",
    ]


async def test_a_worker_is_called_by_its_name(server, admin):
    """Also one that enrolled and is refused by its ID, or by its name; strangers have a line an address and cause."""
    worker_id, _ = await server.enrolled("binder-02")
    await refuse(server, worker_id)
    for _ in range(3):
        server.clock.forward(seconds=10)
        key = generate_identity_key()
        proof = server.proof(key, "binder-02", secret="x" * 40)
        await server.register(key, "binder-02", credential=proof)
    await refuse(server, "press-99", address="203.0.113.99")
    await refuse(server, "press-98", stranger_key(), address="203.0.113.99")

    assert sorted(await titles(server)) == [
        "203.0.113.99 was refused 3 times, as an unknown Worker",
        "203.0.113.99 was refused 3 times, as an unknown Worker",
        "binder-02 at 127.0.0.1 was refused 3 times",
        "binder-02 at 203.0.113.5 was refused 3 times",
    ]


async def test_a_key_that_ends_within_a_fortnight_is_shown_until_it_has(server, admin):
    """Both sides of both boundaries."""
    body = {"name": "press-keys", "expires_in_s": 15 * 86_400}
    await server.http.post("/api/api-keys", json=body, headers=admin)
    shown = {("key_expires", "press-keys")}
    for hours, expected in ((24, shown), (14 * 24 - 1, shown), (1, set())):
        server.clock.forward(hours=hours, seconds=-1)
        if hours == 24:
            assert await concerns(server, await server.sign_in()) == set()
        server.clock.forward(seconds=1)
        assert await concerns(server, await server.sign_in()) == expected


async def test_a_published_secret_and_a_coming_signing_key_are_shown(opened):
    """What the log warned of at the start stays in sight; a key published ahead says when it will sign."""
    async with opened(LYFTDATA_AUTO_ENROLLMENT_KEY="c3s3R0s1T5QAQr7lz1KsT00pKh3adnma") as server:
        assert await concerns(server, await server.sign_in()) == {("setting", "")}
        server.clock.forward(days=40)
        await server.services.signing_keys.refresh()
        found = await concerns(server, await server.sign_in())
        assert ("signing_key", "") in found


async def test_what_a_worker_left_behind_stays_when_it_leaves(server, admin, press):
    """The key it used last, its address and its host are what one asks for once it is gone."""
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
    """A disabled Worker is not among those that are offline or were never connected."""
    await server.http.patch("/api/workers/press-01", json={"enabled": False}, headers=admin)
    counts = {
        state: (await server.http.get("/api/workers", params={"status": state}, headers=admin)).json()[
            "total"
        ]
        for state in State
    }
    assert counts == {state: int(state is State.DISABLED) for state in State}


async def test_a_cause_that_there_is_not_is_no_good_news(server, admin):
    """A misspelt filter is an error, not an empty list."""
    answer = await server.http.get("/api/refusals", params={"code": "banana"}, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


async def test_a_name_instead_of_an_id_gets_a_hint(server, admin):
    """Operators know Workers by their names; what is asked for is the ID."""
    worker_id, _ = await server.enrolled("scaler")
    answer = (await server.http.get("/api/workers/scaler", headers=admin)).json()
    assert answer["hint"] == f"A Worker is found by its ID: 'scaler' has the ID {worker_id}."
