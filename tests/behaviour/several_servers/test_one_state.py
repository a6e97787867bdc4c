"""Several Servers on one database: a decision at one takes effect at all."""

import asyncio
import json
import threading
from datetime import timedelta

import msgspec
import pytest
from tests.builders import ENROLLMENT_KEY, ISSUER, OTHER_SECRET_KEY, SECRET_KEY
from tests.deployment import ASSERTION_TYPE, PASSWORD
from tests.postgres import Cable

from lyftdata.core.errors import LyftdataError, SettingsError
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.records import PresenceState
from lyftdata.server.clock import utc_now
from lyftdata.server.runtime import background
from lyftdata.server.runtime.background import prune_and_rotate
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.store import StoreError, audit_log, engine
from lyftdata.store.tables import presence, servers, workers
from lyftdata.store.tables.signing_keys import all_signing_keys


async def until(question, what):
    """Ask until the answer is true, and return it; fail after a while."""
    async with asyncio.timeout(180):
        while not (answer := await question()):
            await asyncio.sleep(0.01)
    assert answer, what
    return answer


async def test_every_server_shows_the_last_use_of_an_enrollment_key(two):
    """An enrollment at one Server counts as the key's last use at the other."""
    first, second = two
    headers = await second.sign_in()

    async def last_used():
        status = (await second.http.get("/api/enrollment", headers=headers)).json()
        return status["keys"][0]["last_used_at"]

    assert await last_used() is None
    await first.enrolled("press-01")
    await until(last_used, "the use at the other Server")


async def new_worker(server, worker_id="press-01"):
    """Add a Worker with its own API key at a Server; return its ID and key."""
    headers = await server.sign_in()
    body = {"name": worker_id, "id": worker_id, "issue_key": True}
    answer = await server.http.post("/api/workers", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return worker_id, answer.json()["api_key"]["key"]


async def disable(server, worker_id="press-01"):
    """Disable a Worker at a Server."""
    answer = await server.http.patch(
        f"/api/workers/{worker_id}", json={"enabled": False}, headers=await server.sign_in()
    )
    assert answer.status_code == 200, answer.text


async def revoke_key(server, worker_id="press-01"):
    """Revoke the API key of a Worker at a Server."""
    headers = await server.sign_in()
    [key] = (await server.http.get("/api/api-keys", headers=headers)).json()["items"]
    answer = await server.http.post(f"/api/api-keys/{key['name']}/revoke", headers=headers)
    assert answer.status_code == 200, answer.text


async def delete(server, worker_id="press-01"):
    """Delete a Worker at a Server."""
    answer = await server.http.delete(f"/api/workers/{worker_id}", headers=await server.sign_in())
    assert answer.status_code == 204, answer.text


def code_of(answer):
    """Return the code of a refusal, as its caller sees it."""
    return answer.json().get("code") or answer.json()["error"]


async def token_of(server, worker_id, key):
    """Return a worker token."""
    answer = await server.token_by_key(worker_id, key)
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"]


def poll(server, token, boot_id="boot-0001", **more):
    """Start a poll at a Server."""
    return asyncio.ensure_future(
        server.http.post(
            "/api/worker/session",
            json={"boot_id": boot_id, "host": {"hostname": boot_id}} | more,
            headers={"Authorization": f"Bearer {token}"},
        )
    )


async def connected(server, token, boot_id="boot-0001"):
    """Connect a Worker: the first poll is answered at once; return the one that is held after it."""
    first = await poll(server, token, boot_id)
    assert first.status_code == 200, first.text
    held = poll(server, token, boot_id)
    await until(lambda: _holds(server), "the poll is held")
    return held


def has_stop_directive(held):
    """Return whether a poll was answered with a stop; a Server may answer one early, and then the Worker polls again."""
    if not held.done():
        return False
    answer = held.result()
    return answer.status_code in {401, 403, 409} or any(
        directive["kind"] == "stop" for directive in answer.json().get("directives", [])
    )


async def _holds(server):
    return any(session.poll is not None for session in server.services.sessions)


async def refused_at(server, worker_id, key):
    """Return whether a Server refuses a credential."""
    return (await server.token_by_key(worker_id, key)).status_code == 401


async def test_a_worker_added_at_one_server_is_accepted_at_the_other_at_once(two):
    """Every Server knows its entry and its key as soon as the operator gets the answer."""
    first, second = two
    press = await new_worker(first)

    assert await _is_let_in(second, press)
    token = await token_of(first, *press)
    assert (await second.verify(token)).status_code == 204


async def test_a_worker_that_enrolls_at_one_server_gets_a_token_at_the_other_at_once(two):
    """Even before the notification can have arrived."""
    first, second = two
    for n in range(10):
        worker_id, key = await first.enrolled(f"press-{n}")
        second.jti_from(1_000 * (n + 1))
        assert (await second.token_by_assertion(second.assertion(key, worker_id))).status_code == 200


async def _is_let_in(server, press):
    return (await server.token_by_key(*press)).status_code == 200


@pytest.mark.parametrize(
    ("withdraw", "code"),
    [(disable, "worker_disabled"), (revoke_key, "api_key_revoked"), (delete, "worker_deleted")],
    ids=["disable", "revoke", "delete"],
)
async def test_a_withdrawal_at_one_server_takes_effect_at_the_other(two, withdraw, code):
    """Tokens and the session there end: the Worker gets the cause, and is refused from then on."""
    first, second = two
    press = await new_worker(first)
    token = await token_of(first, *press)
    held = await connected(second, token)

    await withdraw(first)

    directive = (await asyncio.wait_for(held, 180)).json()["directives"][0]
    assert (directive["kind"], directive["code"]) == ("stop", code)
    for server in two:
        assert (await server.verify(token)).status_code == 401
        assert (await server.token_by_key(*press)).status_code in {400, 401}


async def test_of_two_starts_at_two_servers_the_second_is_refused(two):
    """A clone is detected wherever it connects, and both hosts are shown."""
    first, second = two
    token = await token_of(first, *await new_worker(first))
    held = await connected(first, token, "boot-first")

    answer = await poll(second, token, "boot-clone")

    assert (answer.status_code, code_of(answer)) == (409, "duplicate_instance")
    detail = second.services.refusals.unwritten()[-1].detail
    assert "boot-first" in detail
    assert "boot-clone" in detail
    assert not has_stop_directive(held)
    held.cancel()


async def test_of_two_concurrent_starts_exactly_one_connects(two):
    """Two Servers that are asked at the same moment agree on one."""
    first, second = two
    token = await token_of(first, *await new_worker(first))

    answers = await asyncio.gather(poll(first, token, "boot-first"), poll(second, token, "boot-second"))

    assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_a_crashed_start_is_not_taken_for_a_clone_at_another_server(two):
    """Its connection has closed, so the next start is accepted at either Server."""
    first, second = two
    token = await token_of(first, *await new_worker(first))
    held = await connected(first, token, "boot-first")
    session = first.services.sessions.find_here("press-01")
    held.cancel()
    # The client in this process cannot close a connection, so do what the Server does when one closes.
    session.broken = True
    first.services.sessions._handlers.session_broken(session)

    answer = await poll(second, token, "boot-second")

    assert answer.status_code == 200
    await until(lambda: _is_gone_from(first), "the first Server lets go")


async def _is_gone_from(server):
    return server.services.sessions.find_here("press-01") is None


async def test_a_session_continues_when_its_polls_reach_another_server(two):
    """A load balancer may send each poll to another Server: it stays one session, shown the same by both, and is held at once."""
    first, second = two
    token = await token_of(first, *await new_worker(first))
    await poll(first, token)
    since = first.services.sessions.find("press-01").since
    await until(lambda: _is_online(second), "the other Server learns of it")

    held = poll(second, token)
    await until(lambda: _holds(second), "the poll is held, not answered as a new one")
    await until(lambda: _is_gone_from(first), "the first Server lets go")

    for server in two:
        assert server.services.sessions.find("press-01").since == since
        assert server.services.sessions.online_count() == 1
    held.cancel()


async def _is_online(server):
    return server.services.sessions.is_online("press-01")


async def test_every_server_shows_workers_that_are_connected_elsewhere(two):
    """With status and host; once it has signed off, a Worker is offline at both."""
    first, second = two
    token = await token_of(first, *await new_worker(first))
    await poll(first, token)
    await until(lambda: _is_online(second), "the other Server learns of it")
    headers = await second.sign_in()

    shown = (await second.http.get("/api/workers/press-01", headers=headers)).json()
    assert (shown["status"], shown["host"]) == ("online", {"hostname": "boot-0001"})
    assert shown["api_key"].startswith("press-01")

    body = {"boot_id": "boot-0001", "sign_off": True}
    await first.http.post("/api/worker/session", json=body, headers={"Authorization": f"Bearer {token}"})
    await until(lambda: _is_offline(second, headers), "the other Server shows it offline")


async def _is_offline(server, headers):
    shown = await server.http.get("/api/workers/press-01", headers=headers)
    return shown.json()["status"] == "offline"


async def test_a_used_assertion_is_refused_at_the_other_server(two):
    """Of many concurrent attempts at both Servers exactly one is accepted."""
    first, second = two
    worker_id, key = await first.enrolled()
    assertion = first.assertion(key, worker_id)
    assert (await first.token_by_assertion(assertion)).status_code == 200

    assert (await second.token_by_assertion(assertion)).status_code == 401

    raced = first.assertion(key, worker_id)
    answers = await asyncio.gather(*(server.token_by_assertion(raced) for server in (first, second) * 5))
    assert sorted(answer.status_code for answer in answers) == [200, *[401] * 9]


async def test_assertions_from_before_a_worker_was_disabled_are_refused_at_every_server(two):
    """After the Worker was enabled again its earlier assertions and nonces are refused at both Servers; new ones are accepted."""
    first, second = two
    worker_id, key = await first.enrolled()
    asked = {"client_id": worker_id}
    nonce = (await second.http.post("/oauth2/nonce", data=asked)).json()["nonce"]
    captured = [first.assertion(key, worker_id), first.assertion(key, worker_id, nonce=nonce)]
    await disable(first, worker_id)
    enabled = await first.http.patch(
        f"/api/workers/{worker_id}", json={"enabled": True}, headers=await first.sign_in()
    )
    assert enabled.status_code == 200, enabled.text
    # Until then the second Server refuses it as disabled.
    await until(lambda: _knows_enabled(second, worker_id), "the second learns that it is enabled")

    for server in (second, first):
        for assertion in captured:
            assert await server.cause(await server.token_by_assertion(assertion)) == "stale_assertion"
    for given, accepted in ((first, second), (second, first)):
        nonce = (await given.http.post("/oauth2/nonce", data=asked)).json()["nonce"]
        signed = first.assertion(key, worker_id, nonce=nonce)
        assert (await accepted.token_by_assertion(signed)).status_code == 200
        assert (await given.token_by_assertion(signed)).status_code == 401


async def test_a_used_assertion_is_refused_by_a_server_that_starts_afterwards(two, start_server):
    """With or without a nonce. A new assertion is accepted there at once, since the database knows which were used."""
    first, _ = two
    worker_id, key = await first.enrolled()
    nonce = (await first.http.post("/oauth2/nonce", data={"client_id": worker_id})).json()["nonce"]
    used = [first.assertion(key, worker_id), first.assertion(key, worker_id, nonce=nonce)]
    for assertion in used:
        assert (await first.token_by_assertion(assertion)).status_code == 200

    async with start_server() as third:
        for assertion in used:
            assert await third.cause(await third.token_by_assertion(assertion)) == "assertion_replayed"
        assert (await third.token_by_assertion(first.assertion(key, worker_id))).status_code == 200


async def _knows(server, worker_id):
    return server.services.directory.find_worker(worker_id) is not None


async def test_an_enrollment_proof_is_single_use_across_servers(two):
    """Sent to both at once, it enrolls at one and is refused at the other."""
    first, second = two
    key = generate_identity_key()
    proof = first.proof(key, "press")

    answers = await asyncio.gather(
        first.register(key, "press", credential=proof), second.register(key, "press", credential=proof)
    )

    assert sorted(answer.status_code for answer in answers) == [201, 401]


async def test_a_name_in_use_at_one_server_cannot_be_taken_at_another(two):
    """The Worker with the name is connected to the first Server; the second refuses another one that claims it."""
    first, second = two
    worker_id, key = await first.enrolled("press")
    token = (await first.token_by_assertion(first.assertion(key, worker_id))).json()["access_token"]
    held = await connected(first, token)
    second.jti_from(1_000)

    answer = await second.register(generate_identity_key(), "press")

    assert (answer.status_code, code_of(answer)) == (409, "name_in_use")
    held.cancel()


async def test_a_server_whose_clock_is_ahead_prunes_nothing_that_peers_need(two, start_server):
    """What was used or revoked stays so at a Server that starts afterwards with the right time."""
    first, second = two
    worker_id, key = await first.enrolled()
    assertion = first.assertion(key, worker_id)
    answer = await first.token_by_assertion(assertion)
    token = answer.json()["access_token"]
    taken_back = {
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": first.assertion(key, worker_id),
    }
    assert (await first.http.post("/oauth2/revoke", data=taken_back | {"token": token})).status_code == 200
    another = generate_identity_key()
    proof = first.proof(another, "press-02")
    assert (await first.register(another, "press-02", credential=proof)).status_code == 201

    second.services.cluster._clock = lambda: utc_now() + timedelta(hours=1)
    await prune_and_rotate(msgspec.structs.replace(second.services, clock=second.services.cluster._clock))

    async with start_server() as third:
        assert (await third.verify(token)).status_code == 401
        assert await third.cause(await third.token_by_assertion(assertion)) == "assertion_replayed"
        replayed = await third.register(another, "press-02", credential=proof)
        assert await third.cause(replayed) == "proof_replayed"


async def test_failures_at_one_server_count_at_the_other(two):
    """A guesser has one budget for all Servers; a right key is still accepted."""
    first, second = two
    press = await new_worker(first)
    while (await first.token_by_key("press-01", "wrong")).status_code == 401:
        pass

    await until(lambda: _is_limited(second), "the other Server limits at once")
    assert await _is_let_in(second, press)


async def _is_limited(server):
    limiter = server.services.refusals.limiter
    bucket = limiter._buckets.get("127.0.0.1")
    return bucket is not None and bucket.tokens < 2


async def test_guessing_a_password_at_one_server_locks_the_account_at_the_other(two):
    """After five wrong passwords in all, not five at each Server."""
    first, second = two
    for _ in range(5):
        await first.http.post("/api/login", json={"username": "admin", "password": "wrong wrong wrong"})

    await until(lambda: _is_locked(second), "the other Server does not look at the password")


async def _is_locked(server):
    answer = await server.http.post("/api/login", json={"username": "admin", "password": "wrong wrong wrong"})
    return answer.status_code == 429


async def test_guessing_the_enrollment_key_at_one_server_is_limited_at_the_other(two):
    """After twenty wrong keys in all, not twenty at each Server."""
    first, second = two
    wrong = {"Authorization": f"Bearer {'w' * 40}"}
    for _ in range(20):
        await first.http.post("/oauth2/register", json={}, headers=wrong)

    await until(lambda: _is_waiting(second), "the other Server does not look at the credential")


async def _is_waiting(server):
    return server.services.enrollment_limit.wait_s("127.0.0.1", server.clock().timestamp() - 3) is not None


async def test_a_network_known_at_one_server_is_known_at_the_other(two):
    """After a sign-in at one Server, failures of unknown callers do not lock the operator out at the other."""
    first, second = two
    await first.sign_in()
    wrong = {"username": "admin", "password": "wrong wrong wrong"}
    for number in range(60):
        async with second.from_address(f"198.18.0.{number}") as unknown_caller:
            await unknown_caller.post("/api/login", json=wrong)
    async with second.from_address("203.0.113.9") as elsewhere:
        right = {"username": "admin", "password": PASSWORD}
        assert (await elsewhere.post("/api/login", json=right)).status_code == 429

    assert await second.sign_in()


async def test_servers_that_start_concurrently_agree_on_one_signing_key_and_one_admin(start_server):
    """On an empty database one signing key and one first operator are created."""
    contexts = [start_server() for _ in range(3)]
    started = await asyncio.gather(*(context.__aenter__() for context in contexts))
    try:
        keys = await started[0].services.store.read(all_signing_keys)
        assert len(keys) == 1
        assert len({server.services.signing_keys.signer.kid for server in started}) == 1
        assert [server.services.signing_keys.jwks for server in started] == [
            started[0].services.signing_keys.jwks
        ] * 3
        for server in started:
            await server.sign_in()
    finally:
        for context in reversed(contexts):
            await context.__aexit__(None, None, None)


async def test_a_signing_key_made_at_one_server_is_published_by_the_other(two):
    """There is one rotation for all: the other Server reads the new key when it is notified."""
    first, second = two
    with_next = first.services.signing_keys
    now = with_next._clock() + timedelta(days=365)
    with_next._clock = lambda: now
    await with_next.refresh()

    await until(lambda: _publishes(second, with_next.jwks), "the other Server publishes the next key")


async def test_a_withdrawn_signing_key_is_refused_even_if_the_keys_cannot_be_read_at_first(
    start_server, monkeypatch
):
    """The other Server tries again at once, and does not wait for its periodic load."""
    monkeypatch.setattr(background, "_PRUNE_EVERY_S", 86_400.0)
    async with start_server() as first, start_server() as second:
        press = await new_worker(first)
        token = (await first.token_by_key(*press)).json()["access_token"]
        await until(lambda: _verifies(second, token), "the other Server accepts the token")
        (withdrawn,) = first.services.signing_keys.verification_keys
        read, failures = second.services.store.read, iter(range(2))

        async def fail_twice(query):
            if query is all_signing_keys and next(failures, None) is not None:
                raise StoreError("The connection was lost.")
            return await read(query)

        monkeypatch.setattr(second.services.store, "read", fail_twice)
        body = {"now": True, "withdraw": [withdrawn]}
        answer = await first.http.post("/api/signing-keys/rotate", json=body, headers=await first.sign_in())
        assert answer.status_code == 200, answer.text

        async def is_refused():
            return not await _verifies(second, token)

        await until(is_refused, "the other Server refuses the token")
        assert next(failures, None) is None


async def test_a_token_of_a_new_signing_key_is_accepted_by_a_server_that_is_still_loading_it(
    two, monkeypatch
):
    """A Worker may use its token at another Server a millisecond after the key was put to use."""
    first, second = two
    press = await new_worker(first)
    read, may_load = second.services.store.read, asyncio.Event()

    async def slow_read(query):
        if query is all_signing_keys:
            await may_load.wait()
        return await read(query)

    monkeypatch.setattr(second.services.store, "read", slow_read)
    answer = await first.http.post(
        "/api/signing-keys/rotate", json={"now": True}, headers=await first.sign_in()
    )
    assert answer.status_code == 200, answer.text
    token = (await first.token_by_key(*press)).json()["access_token"]

    verifying = asyncio.ensure_future(second.verify(token))
    await asyncio.wait({verifying}, timeout=1)
    may_load.set()

    assert (await verifying).status_code == 204


async def _verifies(server, token):
    return (await server.verify(token)).status_code == 204


async def _publishes(server, jwks):
    published = {key["kid"] for key in json.loads(jwks)["keys"]}
    return set(server.services.signing_keys.verification_keys) == published


async def test_both_servers_write_one_audit_log(two):
    """The events of both Servers form one chain, which each of them verifies."""
    first, _ = two
    await asyncio.gather(
        *(new_worker(server, f"w-{n}-{k}") for n, server in enumerate(two) for k in range(5))
    )

    for server in two:
        report = await server.services.store.verify_audit()
        assert report.ok, report.problem
    events = await first.services.store.read(lambda conn: audit_log.events_after(conn, after=0, limit=1000))
    assert {f"worker:w-{n}-{k}" for n in range(2) for k in range(5)} <= {e.event.subject for e in events}
    assert [e.number for e in events] == list(range(1, len(events) + 1))


async def test_a_truncated_audit_log_is_detected_after_the_next_write(two, cluster, database_url):
    """Truncating the log and restoring an old head does not go unnoticed: each Server knows what was there."""
    first, second = two
    database = database_url.rpartition("/")[2]
    head = await first.services.store.read(
        lambda conn: conn.exec_driver_sql("SELECT number, hash, mac FROM audit_head").one()
    )
    await new_worker(first)
    await new_worker(second, "press-02")
    cluster.execute(f"DELETE FROM audit_events WHERE number > {head.number}", database)
    cluster.execute(
        f"UPDATE audit_head SET number = {head.number}, hash = '\\x{head.hash.hex()}', mac = '\\x{head.mac.hex()}'",
        database,
    )

    await new_worker(second, "press-03")

    assert not (await first.services.store.verify_audit()).ok
    assert not (await second.services.store.verify_audit()).ok


async def test_a_server_without_its_change_feed_reads_before_it_answers(two, cluster):
    """Its decisions are right even though it receives no notifications."""
    first, second = two
    press = await new_worker(first)
    token = await token_of(first, *press)
    second.services.store._change_feed._ended.set()
    second.services.store._change_feed._thread.join()

    await disable(first)
    await until(lambda: _is_refused(second, token), "the revocation acts")


async def _is_refused(server, token):
    return (await server.verify(token)).status_code == 401


async def test_a_server_whose_readers_are_busy_is_ready(two):
    """Unknown callers with made-up sessions, or a long verification of the audit log, do not take a Server out of the balancer."""
    first, _ = two
    go_on = threading.Event()
    busy = [asyncio.ensure_future(first.services.store.read(lambda _conn: go_on.wait(180))) for _ in range(2)]
    try:
        answer = await asyncio.wait_for(first.http.get("/readyz"), 180)
    finally:
        go_on.set()
        await asyncio.gather(*busy)

    assert answer.status_code == 200


async def test_a_server_that_is_cut_off_decides_nothing(
    start_server, cable: Cable, database_url, monkeypatch
):
    """It answers 503 and releases held polls; once reconnected it learns what happened meanwhile before it answers again."""
    # Otherwise the first poll is held for a random time, which may end before the Server has noticed that it is cut off.
    monkeypatch.setattr("lyftdata.server.api.worker_session.random.random", lambda: 1.0)
    async with start_server() as first, start_server(url=cable.url(database_url)) as second:
        press = await new_worker(first)
        token = await token_of(first, *press)
        held = await connected(second, token)

        cable.cut()
        assert (await asyncio.wait_for(held, 180)).status_code == 503
        assert (await second.verify(token)).status_code == 503
        assert (await second.token_by_key(*press)).status_code == 503
        assert (await second.http.get("/readyz")).status_code == 503
        assert (await second.http.get("/healthz")).status_code == 200
        await disable(first)

        cable.restore()
        answers = set()

        async def is_back():
            status = (await second.verify(token)).status_code
            answers.add(status)
            return status != 503

        await until(is_back, "the Server is back")
        assert answers <= {503, 401}


async def test_a_server_that_is_cut_off_can_be_stopped(start_server, cable: Cable, database_url, monkeypatch):
    """Its reader and writer wait for answers that never come, as behind a pooler that hangs: it aborts them and stops."""
    monkeypatch.setattr(background, "_FLUSHED_WITHIN_S", 0.5)
    monkeypatch.setattr(engine, "_FINISHED_WITHIN_S", 0.5)
    starting = start_server(url=cable.url(database_url))
    server = await starting.__aenter__()
    # Give both a connection that has worked.
    await server.services.store.read(lambda _conn: None)
    await new_worker(server)

    cable.cut()
    waiting = asyncio.create_task(server.services.store.read(lambda _conn: None))
    async with asyncio.timeout(180):
        await starting.__aexit__(None, None, None)

    with pytest.raises(StoreError):
        await waiting


async def test_a_worker_of_a_crashed_server_keeps_its_name(start_server, monkeypatch):
    """Its peers notice the missing heartbeat; the Worker is offline and awaited, and its session ended with the crash."""
    # The crashed Server still runs in this process: it must not join again, nor take its Worker back below.
    monkeypatch.setattr(background, "_BEAT_EVERY_S", 86_400.0)
    async with start_server() as first:
        worker_id, key = await first.enrolled("press")
        token = (await first.token_by_assertion(first.assertion(key, worker_id))).json()["access_token"]
        crashing = start_server()
        second = await crashing.__aenter__()
        await poll(second, token)
        await until(lambda: _is_known_online(first, worker_id), "the first learns of it")
        await second.services.session_log.flush()
        second.services.cluster.deregister = second.services.cluster.flush = _nothing

        # As if its host had lost power a minute ago.
        await first.services.store.write(
            lambda tx: tx.conn.exec_driver_sql(
                "UPDATE servers SET beat_at = beat_at - interval '1 minute' WHERE id = %s",
                (second.services.store.server_id,),
            )
        )
        await first.services.cluster.send_heartbeat()
        record = await first.services.store.read(lambda conn: presence.find(conn, worker_id))
        assert record.state is PresenceState.AWAITED
        assert not first.services.sessions.is_online(worker_id)
        refused = await first.register(generate_identity_key(), "press")
        assert (refused.status_code, code_of(refused)) == (409, "name_in_use")
        sessions = await first.services.session_log.sessions_of(worker_id)
        assert [session.end for session in sessions] == ["server_crashed"]

        # The Worker connects to the Server that is left.
        assert (await poll(first, token)).status_code == 200
        await crashing.__aexit__(None, None, None)


async def _nothing():
    """Do nothing."""


async def _knows_enabled(server, worker_id):
    return server.services.directory.find_worker(worker_id).enabled


async def _is_known_online(server, worker_id):
    return server.services.sessions.is_online(worker_id)


async def test_a_stopped_server_is_removed_and_its_workers_move_to_the_other(start_server):
    """As in a rolling upgrade: the Worker is not refused, and only the remaining Server is listed."""
    async with start_server() as first:
        async with start_server() as second:
            token = await token_of(first, *await new_worker(first))
            await until(lambda: _knows(second, "press-01"), "the other knows the Worker")
            await poll(second, token)
            assert len(await first.services.cluster.all_servers()) == 2
            second.services.sessions.release_all()

        assert [s.id for s in await first.services.store.read(servers.all_servers)] == [
            first.services.store.server_id
        ]
        assert (await poll(first, token)).status_code == 200


def test_servers_on_a_shared_database_must_be_given_their_key_and_their_url(tmp_path):
    """Otherwise each would generate its own: the start is refused, with the settings that are missing."""
    environ = {
        "LYFTDATA_STAGING_DIR": str(tmp_path),
        "LYFTDATA_DATABASE_URL": "postgresql://u:hidden-password@db.example/lyftdata?sslmode=verify-full",
    }
    with pytest.raises(SettingsError) as refused:
        read_server_settings(environ)

    assert [problem.partition(":")[0] for problem in refused.value.problems] == [
        "LYFTDATA_SECRET_KEY",
        "LYFTDATA_PUBLIC_URL",
    ]
    assert "hidden-password" not in str(refused.value)
    read_server_settings(environ | {"LYFTDATA_SECRET_KEY": SECRET_KEY, "LYFTDATA_PUBLIC_URL": ISSUER})


async def test_a_wrong_secret_key_is_reported_at_the_start(two, start_server):
    """A Server with another secret key cannot read the signing keys: it does not start and changes nothing."""
    with pytest.raises(LyftdataError):
        async with start_server(
            LYFTDATA_SECRET_KEY=OTHER_SECRET_KEY, LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
        ):
            pass

    first, _ = two
    assert await first.services.store.read(lambda conn: list(workers.all_workers(conn))) == []
    assert (await first.services.store.verify_audit()).ok
