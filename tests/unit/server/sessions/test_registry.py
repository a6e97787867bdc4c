"""Who is connected: slots, polls, directives, presence."""

import asyncio

import pytest
from tests.builders import NOON, FakeClock, worker

from lyftdata.core.records import Status
from lyftdata.core.refusals import DuplicateInstanceError
from lyftdata.server.http.peer_watch import watch_peer
from lyftdata.server.sessions import registry as module
from lyftdata.server.sessions.handlers import SessionHandlers
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.sessions.session import Boot, Directive, PollEnd
from lyftdata.store import StoreError

STOP = Directive(kind="stop", code="worker_disabled")


def boot(boot_id="boot-0001", hostname="host-a", address="192.0.2.1"):
    """Return one boot of a Worker."""
    return Boot(boot_id=boot_id, host={"hostname": hostname, "pid": "7"}, reported_labels={}, address=address)


class Peer:
    """The other end of a poll's connection, which a test can close."""

    def __init__(self):
        self.closed = asyncio.Event()

    async def receive(self):
        """Wait until the connection is closed, and return the message that says so."""
        await self.closed.wait()
        return {"type": "http.disconnect"}

    def watch(self, on_closed):
        """Call a function when the connection is closed."""
        return watch_peer(self.receive, on_closed)


@pytest.fixture
async def sessions():
    """Return a registry that collects in `seen` which Workers connected and disconnected."""
    made = WatchedSessions()
    yield made
    made.release_all()


class Watcher(SessionHandlers):
    """Remembers which Workers went online and offline."""

    def __init__(self):
        self.seen: list[tuple[str, bool]] = []
        self.went = asyncio.Event()

    def presence_changed(self, worker_id, *, is_online):
        """Remember a change."""
        self.seen.append((worker_id, is_online))
        if not is_online:
            self.went.set()


class WatchedSessions(Sessions):
    """A registry that remembers which Workers went online and offline."""

    def __init__(self):
        self.watcher = Watcher()
        super().__init__(now=lambda: NOON, handlers=self.watcher)

    @property
    def seen(self) -> list[tuple[str, bool]]:
        """Return the Workers that went online (true) and offline (false), in order."""
        return self.watcher.seen


def attach(sessions, given=None):
    """Attach a boot of w-1."""
    return sessions.attach(worker("w-1"), given or boot(), "key.abc.1")


async def polling(sessions, session, hold_s=30.0):
    """Return a held poll and its peer."""
    peer = Peer()
    poll = asyncio.create_task(sessions.wait(session, hold_s=hold_s, watch_peer=peer.watch))
    await asyncio.sleep(0)
    return poll, peer


async def test_the_first_poll_is_new_and_the_next_is_not(sessions):
    """A new boot is answered at once; its next poll belongs to the same session."""
    session, is_new = attach(sessions)
    again, is_new_again = attach(sessions)

    assert (is_new, is_new_again, again is session) == (True, False, True)
    assert sessions.seen == [("w-1", True)]


async def waiting(sessions, boot_id="boot-0002", within_s=240):
    """Return a poll of another boot that waits for the slot of w-1, and its peer."""
    peer = Peer()
    poll = asyncio.create_task(
        sessions.wait_for_slot("w-1", boot_id, within_s=within_s, watch_peer=peer.watch)
    )
    await asyncio.sleep(0)
    return poll, peer


@pytest.mark.parametrize("end", ["sign_off", "stop", "break", "release_all"])
async def test_the_next_boot_waits_until_the_previous_one_ends(sessions, end):
    """It is held while the other is connected, and continues as soon as that one has ended."""
    first, _ = attach(sessions)
    held, peer = await polling(sessions, first)
    next_one, _ = await waiting(sessions)
    assert not next_one.done()

    if end == "sign_off":
        sessions.sign_off("w-1", "boot-0001")
    elif end == "stop":
        sessions.stop("w-1", STOP)
    elif end == "break":
        peer.closed.set()
        await held
    else:
        sessions.release_all()

    assert await next_one is True
    if end != "release_all":
        assert attach(sessions, boot("boot-0002"))[1]
    await asyncio.gather(held)


async def test_a_boot_is_refused_if_the_slot_does_not_become_free(sessions):
    """When its waiting time is over it tries, and finds the slot taken."""
    attach(sessions)
    next_one, _ = await waiting(sessions, within_s=0.01)

    assert await next_one is True
    with pytest.raises(DuplicateInstanceError):
        attach(sessions, boot("boot-0002"))


async def test_a_boot_that_stopped_waiting_takes_no_slot(sessions):
    """It closed the connection while it waited, so it is not connected when the slot becomes free."""
    attach(sessions)
    next_one, peer = await waiting(sessions)
    peer.closed.set()

    assert await next_one is False
    assert sessions._slots._waiting == {}


async def test_a_boot_does_not_wait_for_a_free_slot(sessions):
    """Neither the first boot nor the holder waits; and of many that wait only a few are held."""
    assert await (await waiting(sessions))[0] is True
    attach(sessions)
    assert await (await waiting(sessions, "boot-0001"))[0] is True
    held = [(await waiting(sessions, f"boot-100{number}"))[0] for number in range(6)]
    await asyncio.sleep(0)
    assert [poll.done() for poll in held] == [False] * 4 + [True] * 2
    sessions.sign_off("w-1", "boot-0001")
    assert await asyncio.gather(*held) == [True] * 6
    assert sessions._slots._waiting == {}


async def test_a_poll_ends_when_its_hold_time_is_over(sessions):
    """The poll is answered without a directive, and the Worker stays online."""
    session, _ = attach(sessions)
    poll, _ = await polling(sessions, session, hold_s=0.0)

    assert await poll is PollEnd.HELD
    assert sessions.is_online("w-1")


async def test_a_directive_answers_the_held_poll_or_the_next_one(sessions):
    """A held poll is answered with it at once; without one, the directive waits for the next poll."""
    session, _ = attach(sessions)
    poll, _ = await polling(sessions, session)
    renew = Directive(kind="renew")
    sessions.send_directive("w-1", renew)
    assert await poll is renew

    sessions.send_directive("w-1", renew)
    sessions.send_directive("w-1", renew)
    first, _ = await polling(sessions, session)
    second, _ = await polling(sessions, session, hold_s=0.0)
    assert (await first, await second) == (renew, PollEnd.HELD)


async def test_stop_ends_the_session_at_once(sessions):
    """The Worker is offline before `stop` returns, and its held poll gets the reason."""
    session, _ = attach(sessions)
    poll, _ = await polling(sessions, session)

    assert sessions.stop("w-1", STOP)

    assert not sessions.is_online("w-1")
    assert await poll is STOP
    assert sessions.seen == [("w-1", True), ("w-1", False)]
    assert not sessions.stop("w-1", STOP)


async def test_of_two_live_boots_the_first_keeps_the_slot(sessions):
    """A second process is refused during the first one's polls and between them, and the refusal names both hosts."""
    session, _ = attach(sessions)
    for _ in range(2):
        with pytest.raises(DuplicateInstanceError) as refused:
            attach(sessions, boot("boot-0002", "host-b", "192.0.2.2"))
        assert all(part in refused.value.detail for part in ("host-a", "192.0.2.1", "host-b", "192.0.2.2"))
        await polling(sessions, session)


async def test_a_crashed_process_is_not_taken_for_a_clone(sessions):
    """Once its connection is lost, the next boot takes the slot, and the Worker does not go offline in between."""
    session, _ = attach(sessions)
    poll, peer = await polling(sessions, session)
    peer.closed.set()

    assert await poll is PollEnd.PEER_CLOSED
    assert sessions.is_online("w-1")
    fresh, is_new = attach(sessions, boot("boot-0002"))
    assert is_new
    assert fresh is not session
    assert sessions.seen == [("w-1", True)]


async def test_a_process_killed_between_polls_is_not_taken_for_a_clone(sessions, monkeypatch):
    """Between polls the Server cannot notice it: the next boot waits until the grace period is over, and takes the slot."""
    monkeypatch.setattr(module, "GRACE_AFTER_ANSWER_S", 0.01)
    session, _ = attach(sessions)

    await sessions.wait_for_previous_boot("w-1", "boot-0002")

    fresh, is_new = attach(sessions, boot("boot-0002"))
    assert is_new
    assert fresh is not session


async def test_a_clone_is_refused_once_the_first_polls_again(sessions):
    """While the first is between polls, the second waits; it is refused as soon as the first has shown that it is alive."""
    session, _ = attach(sessions)
    waiting = asyncio.create_task(sessions.wait_for_previous_boot("w-1", "boot-0002"))
    await asyncio.sleep(0)
    assert not waiting.done()

    await polling(sessions, session)

    await asyncio.wait_for(waiting, 180)
    with pytest.raises(DuplicateInstanceError):
        attach(sessions, boot("boot-0002"))


async def test_a_worker_disabled_while_it_waits_for_its_slot_does_not_connect(server, admin, press):
    """Its previous boot is between polls when the Worker is disabled: the token of the next boot is no longer valid."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    await server.http.post("/api/worker/session", json={"boot_id": "boot-0001"}, headers=bearer)
    waiting = asyncio.create_task(
        server.http.post("/api/worker/session", json={"boot_id": "boot-0002"}, headers=bearer)
    )
    await asyncio.sleep(0.05)
    assert not waiting.done()

    await server.http.patch("/api/workers/press-01", json={"enabled": False}, headers=admin)

    answer = await asyncio.wait_for(waiting, 180)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    assert await server.cause(answer) == "token_revoked"
    assert not server.services.sessions.is_online("press-01")


async def test_a_worker_that_does_not_poll_again_goes_offline(sessions, monkeypatch):
    """After the grace period, whether its last poll was answered or its connection was lost."""
    went = sessions.watcher.went
    monkeypatch.setattr(module, "GRACE_AFTER_BREAK_S", 0.0)
    session, _ = attach(sessions)
    poll, peer = await polling(sessions, session)
    peer.closed.set()
    await poll
    await asyncio.wait_for(went.wait(), 180)

    went.clear()
    monkeypatch.setattr(module, "GRACE_AFTER_ANSWER_S", 0.0)
    attach(sessions, boot("boot-0002"))
    await asyncio.wait_for(went.wait(), 180)
    assert sessions.online_count() == 0


async def test_a_worker_that_reconnects_in_time_stays_online(sessions):
    """A poll after a lost connection continues the same session."""
    session, _ = attach(sessions)
    poll, peer = await polling(sessions, session)
    peer.closed.set()
    await poll
    again, is_new = attach(sessions)
    held, _ = await polling(sessions, again)

    assert not is_new
    with pytest.raises(DuplicateInstanceError):
        attach(sessions, boot("boot-0002"))
    assert not held.done()


async def test_a_second_poll_of_the_same_boot_replaces_the_first(sessions):
    """A connection lost by the network does not block the Worker's next poll."""
    session, _ = attach(sessions)
    first, _ = await polling(sessions, session)
    second, _ = await polling(sessions, session)

    assert await first is PollEnd.REPLACED
    sessions.send_directive("w-1", STOP)
    assert await second is STOP


async def test_a_sign_off_ends_the_session_of_its_own_boot_at_once(sessions):
    """That of an older boot does not end the newer one's session."""
    session, _ = attach(sessions)
    poll, _ = await polling(sessions, session)
    sessions.sign_off("w-1", "boot-0000")
    assert sessions.is_online("w-1")

    sessions.sign_off("w-1", "boot-0001")

    assert not sessions.is_online("w-1")
    await poll


async def test_a_stopping_server_answers_every_poll_at_once(sessions):
    """Those that are held, and those that arrive later."""
    session, _ = attach(sessions)
    poll, _ = await polling(sessions, session)
    sessions.release_all()

    assert await poll is PollEnd.STOPPING
    late, _ = await polling(sessions, session)
    assert await late is PollEnd.STOPPING


@pytest.mark.parametrize(
    ("online", "hold_s"), [(0, 25), (3_750, 25), (7_500, 50), (15_000, 100), (1_000_000, 240)]
)
async def test_the_request_rate_is_limited(sessions, online, hold_s):
    """The more Workers, the longer polls are held: at most 150 a second, until the hold time reaches its own limit."""
    sessions._by_worker = dict.fromkeys(map(str, range(online)))
    assert sessions.hold_s() == hold_s
    sessions._by_worker = {}


async def test_the_first_workers_after_a_restart_are_held_as_long_as_the_last():
    """After a restart, polls are held as if as many Workers as before were connected, until all should be back or more are connected."""
    clock = FakeClock()
    sessions = Sessions(now=clock)
    sessions.set_expected_count(15_000)
    assert sessions.hold_s() == 100

    sessions._by_worker = dict.fromkeys(map(str, range(30_000)))  # type: ignore[assignment]
    assert sessions.hold_s() == 200
    sessions._by_worker = {}
    clock.forward(minutes=2)
    assert sessions.hold_s() == 25


async def test_a_smaller_expected_count_does_not_replace_a_larger_one():
    """The larger count applies until its time is over: the fleet is still reconnecting."""
    clock = FakeClock()
    sessions = Sessions(now=clock)
    sessions.set_expected_count(15_000)
    clock.forward(seconds=90)
    sessions.set_expected_count(7_500)
    assert sessions.hold_s() == 100

    clock.forward(minutes=2)
    sessions.set_expected_count(7_500)
    assert sessions.hold_s() == 50


async def test_a_worker_that_returns_to_a_server_is_not_spread_again(sessions):
    """A load balancer may send polls to each Server in turn: the first poll is spread once at each."""
    session, _ = attach(sessions)
    assert [sessions.begin_hold(session) for _ in range(2)] == [True, False]

    sessions.detach("w-1", is_over=False)
    sessions.set_remote_session("w-1", session)
    session, _ = attach(sessions)
    assert not sessions.begin_hold(session)


@pytest.mark.parametrize("how", ["broken", "ended", "elsewhere_no_more", "sent_elsewhere", "started_again"])
async def test_a_worker_that_may_reconnect_with_the_whole_fleet_is_spread_again(sessions, how):
    """Anything that may have affected the whole fleet at once makes the next poll count as the first."""
    session, _ = attach(sessions)
    assert sessions.begin_hold(session)
    poll, peer = await polling(sessions, session)
    if how == "broken":
        peer.closed.set()
        await poll
    elif how == "ended":
        sessions.sign_off("w-1", "boot-0001")
    elif how == "elsewhere_no_more":
        sessions.detach("w-1", is_over=False)
        sessions.set_remote_session("w-1", session)
        sessions.set_remote_session("w-1", None)
    elif how == "sent_elsewhere":
        sessions.release_to_peers()
    else:
        peer.closed.set()
        await poll
    await poll

    session, _ = attach(sessions, boot("boot-0002") if how == "started_again" else None)
    assert sessions.begin_hold(session)


# --- in a whole Server -----------------------------------------------------------------------------------


async def connected(server, press):
    """Connect press-01 and hold its poll; return the poll."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    verified = server.services.verifier.verify(token)
    session, _ = server.services.sessions.attach(verified.worker, boot(), verified.claims.cred)
    poll, _ = await polling(server.services.sessions, session)
    return poll


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "final"),
    [
        ("PATCH", "/api/workers/press-01", {"enabled": False}, "worker_disabled", False),
        ("DELETE", "/api/workers/press-01", None, "worker_deleted", True),
        ("POST", "/api/api-keys/{key}/revoke", {}, "api_key_revoked", True),
        ("POST", "/api/api-keys/{key}/rotate", {"grace_s": 0}, "api_key_rotated", True),
    ],
)
async def test_a_revocation_ends_the_session_before_the_operator_is_answered(
    server, admin, press, method, path, body, code, final
):
    """By then the Worker is offline, and has got the reason with a reference that operators can look up."""
    poll = await connected(server, press)
    (key,) = (await server.http.get("/api/api-keys", headers=admin)).json()["items"]
    assert key["used_by"] == ["press-01"]

    await server.http.request(method, path.format(key=key["name"]), json=body, headers=admin)

    assert not server.services.sessions.is_online("press-01")
    reply = await poll
    assert (reply.kind, reply.code, reply.final) == ("stop", code, final)
    refusal = await server.http.get(f"/api/refusals/{reply.reference}", headers=admin)
    assert refusal.json()["code"] == code


async def test_a_poll_is_held_until_its_api_key_expires_at_most(server, admin, monkeypatch):
    """With a key that expires in five seconds it is held for five, however long the token is valid."""
    await server.http.post("/api/workers", json={"name": "press-01", "id": "press-01"}, headers=admin)
    body = {"name": "short", "expires_in_s": 5}
    key = (await server.http.post("/api/api-keys", json=body, headers=admin)).json()["key"]
    token = (await server.token_by_key("press-01", key)).json()["access_token"]
    held = []

    async def wait(_session, *, hold_s, watch_peer):
        held.append((hold_s, watch_peer is not None))
        return PollEnd.HELD

    monkeypatch.setattr(server.services.sessions, "wait", wait)
    monkeypatch.setattr("lyftdata.server.api.worker_session.random.random", lambda: 1.0)
    for _ in range(2):
        await server.http.post(
            "/api/worker/session",
            json={"boot_id": "boot-0001"},
            headers={"Authorization": f"Bearer {token}"},
        )

    assert held == [(5.0, True)]


async def test_workers_that_reconnect_together_do_not_stay_in_step(server, press, monkeypatch):
    """The first held poll ends at a random moment of the interval; later ones last the whole interval."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    held = []

    async def wait(_session, *, hold_s, watch_peer):
        held.append(hold_s)
        return PollEnd.HELD

    monkeypatch.setattr(server.services.sessions, "wait", wait)
    monkeypatch.setattr("lyftdata.server.api.worker_session.random.random", iter([0.5]).__next__)
    for forward_s in (0, 0, 0, 15):
        server.clock.forward(seconds=forward_s)
        await server.http.post(
            "/api/worker/session",
            json={"boot_id": "boot-0001"},
            headers={"Authorization": f"Bearer {token}"},
        )

    assert held == [12.5, 25.0, 25.0]


async def test_a_worker_whose_labels_change_is_asked_to_renew(server, admin, press):
    """Labels are in the token, so the Worker gets a new one at once."""
    poll = await connected(server, press)

    await server.http.patch("/api/workers/press-01", json={"labels": {"zone": "eu-2"}}, headers=admin)

    assert (await poll).kind == "renew"
    assert server.services.sessions.is_online("press-01")


async def test_status_goes_from_never_to_online_to_offline(server, admin, press):
    """The list shows a Worker's status, can filter by it, and says when the Worker was last seen."""
    assert server.services.worker_queries.status_of("press-01") is Status.NEVER_CONNECTED
    poll = await connected(server, press)
    server.services.traces.worker_seen(
        "press-01", at=server.clock(), address="192.0.2.1", api_key_name="k", host={}
    )
    for status in Status:
        found = (
            await server.http.get("/api/workers", params={"status": status.value}, headers=admin)
        ).json()["items"]
        assert len(found) == (status is Status.ONLINE)
    server.services.sessions.sign_off("press-01", "boot-0001")
    await poll
    await server.services.traces.flush()
    (shown,) = (await server.http.get("/api/workers", params={"status": "offline"}, headers=admin)).json()[
        "items"
    ]
    assert shown["last_seen_at"] == "2026-03-01T12:00:00Z"


async def test_a_worker_disabled_while_its_poll_arrives_is_not_connected(server, admin, press):
    """It is disabled between the first and the last byte of its poll."""
    token = (await server.token_by_key(*press)).json()["access_token"]

    async def slow_body():
        yield b'{"boot_id": "boot-'
        await server.http.patch("/api/workers/press-01", json={"enabled": False}, headers=admin)
        yield b'0001"}'

    answer = await server.http.post(
        "/api/worker/session", content=slow_body(), headers={"Authorization": f"Bearer {token}"}
    )

    assert answer.status_code == 401
    assert not server.services.sessions.is_online("press-01")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"boot_id": "short"}',
        b'{"boot_id": "has spaces in it"}',
        b'{"boot_id": 5}',
        b'{"boot_id": "boot-0001", "host": {"a": 1}}',
        b'{"boot_id": "boot-0001", "labels": "a b"}',
        b"\xff",
        b'{"boot_id": "boot-0001", "host": ' + b'{"a":' * 2000,
    ],
)
async def test_an_invalid_poll_is_rejected(server, press, body):
    """The error is clear, and no session begins."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    answer = await server.http.post(
        "/api/worker/session", content=body, headers={"Authorization": f"Bearer {token}"}
    )

    assert answer.status_code == 400
    assert not server.services.sessions.is_online("press-01")


async def test_hostile_host_facts_are_cleaned_and_shortened(server, admin, press):
    """What a Worker reports of its host is shown without control characters; unknown facts are dropped."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    facts = {"hostname": "\x1b[2J<script>" + "x" * 500, "os": "a\nb", "evil": "y"}
    await server.http.post(
        "/api/worker/session",
        json={"boot_id": "boot-0001", "host": facts},
        headers={"Authorization": f"Bearer {token}"},
    )
    shown = (await server.http.get("/api/workers/press-01", headers=admin)).json()["host"]

    assert set(shown) == {"hostname", "os"}
    assert len(shown["hostname"]) == 128
    assert "\x1b" not in shown["hostname"]
    assert "\n" not in shown["os"]


async def test_rotating_the_key_ends_the_held_poll(server, admin, press):
    """The poll began when the key had no expiry; the next one is held until the key expires at most."""
    poll = await connected(server, press)
    (key,) = (await server.http.get("/api/api-keys", headers=admin)).json()["items"]

    await server.http.post(f"/api/api-keys/{key['name']}/rotate", json={"grace_s": 3}, headers=admin)

    assert (await asyncio.wait_for(poll, 180)).kind == "renew"


@pytest.mark.parametrize(
    ("how", "end"),
    [
        ("sign off", "signed_off"),
        ("disable", "worker_disabled"),
        ("revoke", "api_key_revoked"),
        ("silence", "lost"),
        ("start again", "started_again"),
        ("stop", "server_stopped"),
    ],
)
async def test_the_session_history_says_how_each_session_ended(server, admin, press, monkeypatch, how, end):
    """It has start, end, host and the reason, before and after it is written to the database."""
    monkeypatch.setattr(module, "GRACE_AFTER_BREAK_S", 0.01 if how == "silence" else 60)
    sessions = server.services.sessions
    token = (await server.token_by_key(*press)).json()["access_token"]
    verified = server.services.verifier.verify(token)
    session, _ = sessions.attach(verified.worker, boot(), verified.claims.cred)
    poll, peer = await polling(sessions, session)
    (shown,) = (await server.http.get("/api/workers/press-01/sessions", headers=admin)).json()["items"]
    assert (shown["is_open"], shown["ended_at"], shown["host"]["hostname"]) == (True, None, "host-a")
    server.clock.forward(seconds=90)
    match how:
        case "sign off":
            sessions.sign_off("press-01", "boot-0001")
        case "disable":
            await server.http.patch("/api/workers/press-01", json={"enabled": False}, headers=admin)
        case "revoke":
            (key,) = (await server.http.get("/api/api-keys", headers=admin)).json()["items"]
            await server.http.post(f"/api/api-keys/{key['name']}/revoke", headers=admin)
        case "silence":
            peer.closed.set()
            while sessions.is_online("press-01"):
                await asyncio.sleep(0.01)
        case "start again":
            peer.closed.set()
            await poll
            sessions.attach(verified.worker, boot("boot-0002"), verified.claims.cred)
        case "stop":
            sessions.release_all()
    await poll

    for _ in range(2):
        items = (await server.http.get("/api/workers/press-01/sessions", headers=admin)).json()["items"]
        first = items[-1]
        assert (first["end"], first["is_open"]) == (end, False)
        assert (first["started_at"], first["ended_at"]) == ("2026-03-01T12:00:00Z", "2026-03-01T12:01:30Z")
        assert len(items) == (2 if how == "start again" else 1)
        await server.services.session_log.flush()


async def test_sessions_that_cannot_be_written_are_kept_for_the_next_write(server, admin, press, monkeypatch):
    """A full disk loses no session."""
    await connected(server, press)
    with monkeypatch.context() as broken:

        async def full(_op):
            raise StoreError("The disk is full.")

        broken.setattr(server.services.store, "write", full)
        with pytest.raises(StoreError):
            await server.services.session_log.flush()
    server.services.sessions.sign_off("press-01", "boot-0001")

    (shown,) = (await server.http.get("/api/workers/press-01/sessions", headers=admin)).json()["items"]
    assert shown["end"] == "signed_off"
