"""Whatever an operator requests, Workers are answered in between: one budget for all routes, and slots for long answers."""

import asyncio
import contextlib

import pytest
from tests.builders import FakeClock
from tests.unit.web.conftest import FROM_OUR_PAGE

from lyftdata.app import create_app
from lyftdata.core.actor import Actor
from lyftdata.core.errors import TooManyRequestsError
from lyftdata.core.records import Role
from lyftdata.server.admin.operator_budget import OperatorBudget, session_digest
from lyftdata.server.admin.worker_queries import WorkerQueries
from lyftdata.server.api.admin.app import admin_app
from lyftdata.server.api.operator_gate import OperatorGate, note_operator
from lyftdata.server.runtime.background import end_listeners
from lyftdata.server.streams.events import Event, Events
from lyftdata.server.streams.stream_limits import StreamLimiter
from lyftdata.web.routes import PAGES

API = sorted(
    (method.upper(), f"/api{path}")
    for path, methods in admin_app().openapi()["paths"].items()
    for method in methods
    if not path.startswith("/login")
)
# Starlette answers HEAD with the route of GET.
PAGE_REQUESTS = sorted(
    {
        (method, entry.path)
        for entry in PAGES
        for method in {entry.method, *(["HEAD"] if entry.method == "GET" else [])}
    }
)


class Monotonic:
    """A clock that a test sets."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


class Stream:
    """A request with an endless answer, whose client can disconnect."""

    def __init__(self, app, path, headers, *, method="GET"):
        self.status = asyncio.get_running_loop().create_future()
        self.body = []
        self._gone = asyncio.Event()
        self._asked = False
        path, _, query = path.partition("?")
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(b"host", b"lyft.example"), *raw],
            "client": ("192.0.2.50", 1),
            "server": ("lyft.example", 443),
        }
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self):
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        if message["type"] == "http.response.start":
            self.status.set_result(message["status"])
        else:
            self.body.append(message.get("body", b""))

    async def disconnect(self):
        """Close the connection."""
        self._gone.set()
        await self.task


async def statuses(streams):
    """Return how often each status was answered."""
    found = await asyncio.gather(*(stream.status for stream in streams))
    return {status: found.count(status) for status in set(found)}


# --- the budget ------------------------------------------------------------------------------------------


def test_a_budget_is_earned_and_saved_up_to_a_limit():
    """Savings can be spent at once, then only what is earned; a longer pause saves no more than the limit."""
    clock = Monotonic()
    budget = OperatorBudget(earned_per_s=10, most_saved=100, monotonic=clock)

    def taken():
        count = 0
        with contextlib.suppress(TooManyRequestsError):
            while True:
                budget.take("vera", 10)
                count += 1
        return count

    assert taken() == 11
    clock.now_s = 1.5
    assert taken() == 1
    clock.now_s = 1_000
    assert taken() == 11


def test_each_operator_has_a_budget():
    """One cannot use up another's."""
    budget = OperatorBudget(earned_per_s=10, most_saved=100, monotonic=Monotonic())
    budget.charge("vera", 500)

    with pytest.raises(TooManyRequestsError) as refused:
        budget.take("vera", 1)
    budget.take("ada", 1)

    assert refused.value.wait_s == 40


async def test_every_route_of_the_api_is_charged(server, admin, subtests):
    """Every route refuses an operator in debt; so a new route cannot be free by mistake."""
    server.services.budget.charge("admin", 1_000_000)
    for method, path in API:
        # Forget the session, so that the request passes the gate and is refused where the operator is identified.
        server.services.budget._operators.clear()
        target = path.replace("{", "").replace("}", "")

        answer = await server.http.request(method, target, headers=admin, json={})

        with subtests.test(f"{method} {path}"):
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
            assert int(answer.headers["retry-after"]) >= 1


async def test_every_page_is_charged(server, admin, subtests):
    """By GET, HEAD and POST, including the event stream and the export."""
    token = admin["Authorization"].split()[1]
    server.services.budget.charge("admin", 1_000_000)
    headers = FROM_OUR_PAGE | {"Cookie": f"__Host-lyftdata={token}"}
    for method, path in [*PAGE_REQUESTS, ("GET", "/login")]:
        server.services.budget._operators.clear()
        target = path.replace("{", "").replace("}", "")

        answer = await server.http.request(method, target, headers=headers)

        with subtests.test(f"{method} {path}"):
            assert answer.status_code == 429


@pytest.mark.parametrize("path", ["/api/workers", "/workers"])
async def test_the_gate_refuses_without_reading_the_database(server, admin, monkeypatch, path):
    """Further requests of an operator in debt cost next to nothing, by API or page."""
    monkeypatch.setattr("lyftdata.server.api.operator_gate._HELD_FOR_S", 0)
    token = admin["Authorization"].split()[1]
    headers = admin | {"Cookie": f"__Host-lyftdata={token}"}
    assert (await server.http.get("/api/whoami", headers=admin)).status_code == 200
    server.services.budget.charge("admin", 1_000_000)
    reads = []

    async def read(op):
        reads.append(op)

    monkeypatch.setattr(server.services.store, "read", read)
    answer = await server.http.get(path, headers=headers)

    assert (answer.status_code, reads) == (429, [])


def gate_for(app, budget, token="lyftdata_session_" + "a" * 44):
    """Return a function that sends a request, with a known session of vera's, through a gate."""
    budget.remember_session(session_digest(token.encode()), "vera")
    gate = OperatorGate(app, budget)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def ask(path):
        sent = []

        async def send(message):
            sent.append(message)

        headers = [(b"authorization", f"Bearer {token}".encode())]
        await gate({"type": "http", "path": path, "headers": headers}, receive, send)
        return sent

    return ask


async def test_a_large_answer_costs_more_than_a_small_one():
    """The size of the answer is charged: a list of thousands costs more than one line."""
    budget = OperatorBudget(earned_per_s=1, most_saved=100, monotonic=Monotonic())

    async def answers(scope, _receive, send):
        note_operator(scope, "vera")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        size = 1_000_000 if scope["path"] == "/large" else 100
        await send({"type": "http.response.body", "body": b"x" * size})

    ask = gate_for(answers, budget)
    await ask("/small")
    small = 100 - budget._left("vera")
    await ask("/large")
    large = 100 - small - budget._left("vera")

    assert small < 1
    assert large > 50


@pytest.mark.parametrize("decoys", [4, 100])
async def test_made_up_tokens_do_not_hide_the_session(server, admin, decoys):
    """Unknown tokens before the real one change nothing: the gate finds the operator."""
    cookies = "; ".join(f"c{i}=lyftdata_session_{i}" for i in range(decoys))
    assert (await server.http.get("/api/whoami", headers=admin)).status_code == 200

    headers = [(b"cookie", cookies.encode()), (b"authorization", admin["Authorization"].encode())]

    assert server.services.budget.operator_of(headers) == "admin"


@pytest.mark.parametrize("path", ["/api/refusals", "/refusals"])
async def test_an_answer_is_charged_to_the_operator_of_the_session(server, admin, monkeypatch, path):
    """Its size too, even if the gate did not know the session, or took the request for another operator's."""
    budget = server.services.budget
    token = admin["Authorization"].split()[1]
    unknown_session = "lyftdata_session_" + "b" * 44
    if not path.startswith("/api"):
        await _change_first_password(server, admin)
    headers = admin | {"Cookie": f"x={unknown_session}; __Host-lyftdata={token}"}
    charged = []
    charge = budget.charge

    def noted(operator, cost):
        charged.append((operator, cost))
        charge(operator, cost)

    monkeypatch.setattr(budget, "charge", noted)
    for known in ({}, {session_digest(unknown_session.encode()): "vera"}):
        budget._operators.clear()
        budget._operators.update(known)
        charged.clear()

        answer = await server.http.get(path, headers=headers)

        assert answer.status_code == 200
        assert {operator for operator, _ in charged} == {"admin"}
        assert sum(cost for _, cost in charged[1:]) == pytest.approx(len(answer.content) / 1024 * 0.08)


async def test_workers_are_not_affected_by_an_operators_debt(server, admin, press):
    """Routes for Workers have no budget."""
    server.services.budget.charge("admin", 1_000_000)

    assert (await server.token_by_key(*press)).status_code == 200


async def test_three_requests_of_an_operator_are_answered_concurrently():
    """The others wait, and an event stream does not count once it has begun."""
    running, let_go = [], asyncio.Event()

    async def slow(scope, _receive, send):
        running.append(scope["path"])
        if scope["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await let_go.wait()

    ask = gate_for(slow, OperatorBudget())
    tasks = [asyncio.create_task(ask(path)) for path in ["/stream"] * 5 + ["/page"] * 9]
    for _ in range(50):
        await asyncio.sleep(0)

    assert running.count("/stream") == 5
    assert running.count("/page") == 3
    let_go.set()
    await asyncio.gather(*tasks)
    assert running.count("/page") == 9


# --- slots -----------------------------------------------------------------------------------------------


def test_a_slot_is_released_once():
    """Releasing it twice does not free two."""
    slots = StreamLimiter(total=2, per_operator=1)
    first, other = slots.take("vera"), slots.take("ada")
    assert first is not None
    assert other is not None
    assert (slots.take("vera"), slots.take("eve")) == (None, None)

    first.release()
    first.release()

    assert slots.taken() == 1
    assert slots.take("eve") is not None
    assert slots.take("vera") is None


@pytest.mark.parametrize(
    ("path", "asked", "allowed"), [("/api/events", 65, 40), ("/events", 65, 40), ("/api/audit/export", 9, 2)]
)
async def test_a_burst_gets_no_more_slots_than_allowed(server, admin, monkeypatch, path, asked, allowed):
    """Checking and taking a slot is one step: concurrent requests cannot all find it free."""
    monkeypatch.setattr("lyftdata.server.api.operator_gate._AT_ONCE", asked)
    held = asyncio.Event()
    if "export" in path:

        async def waits(_actor):
            await held.wait()
            return False

        monkeypatch.setattr(server.services.operator_sessions, "is_signed_in", waits)
    token = admin["Authorization"].split()[1]
    app = create_app(server.services)
    # As the browser of an operator who has changed the first password.
    if path == "/events":
        await _change_first_password(server, admin)
    headers = admin | {"Cookie": f"__Host-lyftdata={token}"}

    streams = [Stream(app, path, headers) for _ in range(asked)]
    found = await statuses(streams)

    assert found == {200: allowed, 409: asked - allowed}
    held.set()
    await asyncio.gather(*(stream.disconnect() for stream in streams))
    again = Stream(app, path, headers)
    assert await again.status == 200
    await again.disconnect()


async def _change_first_password(server, admin):
    from tests.deployment import PASSWORD

    body = {"current_password": PASSWORD, "new_password": "quite another phrase"}
    answer = await server.http.post("/api/me/password", json=body, headers=admin)
    assert answer.status_code == 204


async def test_a_client_that_leaves_before_its_stream_begins_holds_no_slot(server, admin):
    """45 clients that disconnect at once leave room for the next one."""
    app = create_app(server.services)
    for _ in range(45):
        stream = Stream(app, "/api/events", admin)
        stream._gone.set()
        await stream.task

    last = Stream(app, "/api/events", admin)
    assert await last.status == 200
    await last.disconnect()
    assert server.services.events.session_ids() == set()


async def test_one_operator_cannot_take_every_slot_for_streams(server):
    """Forty streams of one operator leave room for another's."""
    events = server.services.events
    ada = Actor(operator="ada", role=Role.VIEWER, session_id="a", address="192.0.2.1")
    vera = Actor(operator="vera", role=Role.VIEWER, session_id="v", address="192.0.2.1")
    for _ in range(40):
        events.admit(ada)

    with pytest.raises(Exception, match="Too many listeners"):
        events.admit(ada)
    assert not events.admit(vera).is_ended


# --- events ----------------------------------------------------------------------------------------------


async def test_an_event_is_rendered_once_for_all_streams(server, admin, press, monkeypatch):
    """Thirty streams get the same event, looked up and rendered once."""
    rendered = []

    view = WorkerQueries.view

    def counting(queries, worker, stored):
        rendered.append(worker.id)
        return view(queries, worker, stored)

    monkeypatch.setattr(WorkerQueries, "view", counting)
    app = create_app(server.services)
    streams = [Stream(app, "/api/events", admin) for _ in range(30)]
    await statuses(streams)
    server.services.events.publish(Event("worker", "press-01"))
    async with asyncio.timeout(180):
        while any(b'"id":"press-01"' not in b"".join(stream.body) for stream in streams):
            await asyncio.sleep(0.01)

    assert rendered == ["press-01"]
    await asyncio.gather(*(stream.disconnect() for stream in streams))


async def test_of_many_events_about_one_worker_one_is_rendered(server, admin, press):
    """With the Worker as it is then; a deleted one is reported as deleted."""
    app = create_app(server.services)
    stream = Stream(app, "/api/events", admin)
    await stream.status
    for _ in range(100):
        server.services.events.publish(Event("worker", "press-01"))
    server.services.events.publish(Event("worker_deleted", "gone-01"))
    async with asyncio.timeout(180):
        while b"gone-01" not in b"".join(stream.body):
            await asyncio.sleep(0.01)

    reported = b"".join(stream.body)
    assert reported.count(b"event: worker\n") == 1
    assert b'event: worker_deleted\ndata: {"id":"gone-01"}' in reported
    await stream.disconnect()


@pytest.mark.parametrize("path", ["/api/events", "/events"])
async def test_a_live_stream_ends_with_its_session(server, admin, press, path):
    """An operator who signed out gets no more events, by the API and on the pages."""
    await _change_first_password(server, admin)
    token = admin["Authorization"].split()[1]
    app = create_app(server.services)
    stream = Stream(app, path, admin | {"Cookie": f"__Host-lyftdata={token}"})
    assert await stream.status == 200
    await end_listeners(server.services)
    assert not stream.task.done()

    await server.http.post("/api/logout", headers=admin)
    await end_listeners(server.services)

    async with asyncio.timeout(180):
        await stream.task
    assert server.services.events.session_ids() == set()


@pytest.mark.parametrize("since", ["as it is", "older", "another Server's"])
async def test_a_pages_stream_begins_with_an_update_if_the_page_is_outdated(server, admin, press, since):
    """A page is loaded again only if something has happened since it was made, or another Server made it."""
    await _change_first_password(server, admin)
    token = admin["Authorization"].split()[1]
    events = server.services.events
    mark = "0.0" if since == "another Server's" else events.mark
    if since == "older":
        events.publish(Event("worker", "press-01"))

    stream = Stream(
        create_app(server.services), f"/events?since={mark}", {"Cookie": f"__Host-lyftdata={token}"}
    )
    assert await stream.status == 200
    for _ in range(100):
        await asyncio.sleep(0)

    assert (b"event: fleet" in b"".join(stream.body)) == (since != "as it is")
    await stream.disconnect()


async def test_an_expired_session_ends_its_streams(opened):
    """After twelve hours."""
    clock = FakeClock()
    async with opened(clock) as server:
        stream = Stream(create_app(server.services), "/api/events", await server.sign_in())
        assert await stream.status == 200
        clock.forward(hours=12)
        await end_listeners(server.services)
        async with asyncio.timeout(180):
            await stream.task


async def test_a_listener_that_does_not_read_is_ended():
    """The queue of a listener is limited."""
    events = Events()
    listener = events.admit(Actor(operator="ada", role=Role.VIEWER, session_id="a", address=""))
    for _ in range(1_001):
        listener.put(b"x")

    assert await listener.next_data(every_s=60) is None
