"""
What was signed before a Worker was disabled, before a restart, or for another time is refused afterwards.

A Worker that signs now is still accepted: with a nonce at once, even if its clock is wrong, and without one after at most half a minute.
"""

from datetime import timedelta

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.deployment import ASSERTION_TYPE
from tests.oauth_requests import VERIFY, ask_bound, bound, dpop, show_bound

from lyftdata.core._jose import sign
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.server.admission.replay_file import discard_replays

ALLOWED_SKEW = [-30, 0, 30]


async def switch(server, worker_id, *, enabled):
    """Disable or enable a Worker."""
    headers = await server.sign_in()
    answer = await server.http.patch(f"/api/workers/{worker_id}", json={"enabled": enabled}, headers=headers)
    assert answer.status_code == 200, answer.text


async def nonce_of(server, worker_id):
    """Return a nonce for a Worker."""
    answer = await server.http.post("/oauth2/nonce", data={"client_id": worker_id})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()["nonce"]


async def refused(server, assertion):
    """Return the cause for which an assertion is refused; "" if it is accepted."""
    answer = await server.token_by_assertion(assertion)
    return "" if answer.status_code == 200 else await server.cause(answer)


def skewed(server, seconds):
    """Return the time of a clock that is off by so many seconds."""
    return server.clock() + timedelta(seconds=seconds)


# --- disabled and enabled ---------------------------------------------------------------------------------


@pytest.mark.parametrize("skew_s", ALLOWED_SKEW)
@pytest.mark.parametrize("later_s", [0, 5, 29, 60, 89])
async def test_an_assertion_from_before_a_disable_is_refused_after_it(server, skew_s, later_s):
    """A captured, unused one is refused for as long as its times would allow it, whichever way the Worker's clock is off."""
    worker_id, key = await server.enrolled()
    server.clock.forward(seconds=100)
    captured = server.assertion(key, worker_id, now=skewed(server, skew_s))
    server.clock.forward(seconds=1)
    await switch(server, worker_id, enabled=False)
    await switch(server, worker_id, enabled=True)

    server.clock.forward(seconds=later_s)
    expired = later_s + 1 >= 90 + skew_s

    assert await refused(server, captured) == ("assertion_expired" if expired else "stale_assertion")


async def test_an_assertion_signed_by_a_clock_that_is_ahead_is_accepted_at_its_time(server):
    """A limit stated in the security model: until then it is refused as expired, and a disable in between does not end it."""
    worker_id, key = await server.enrolled("press")
    captured = server.assertion(key, worker_id, now=server.clock() + timedelta(seconds=62))
    assert await refused(server, captured) == "assertion_expired"
    await switch(server, worker_id, enabled=False)
    await switch(server, worker_id, enabled=True)

    server.clock.forward(seconds=32)

    assert await refused(server, captured) == ""
    assert await refused(server, captured) == "assertion_replayed"


async def test_an_assertion_signed_while_disabled_is_refused_after_the_enable(server):
    """It was signed while the Worker was refused."""
    worker_id, key = await server.enrolled()
    await switch(server, worker_id, enabled=False)
    server.clock.forward(seconds=10)
    captured = server.assertion(key, worker_id)
    server.clock.forward(seconds=1)
    await switch(server, worker_id, enabled=True)

    assert await refused(server, captured) == "stale_assertion"


@pytest.mark.parametrize("skew_s", [-5 * 3600, *ALLOWED_SKEW, 5 * 3600])
async def test_a_worker_that_signs_with_a_nonce_is_accepted_at_once(server, skew_s):
    """Whatever its clock says: the first answer has the nonce, and the second attempt is accepted."""
    worker_id, key = await server.enrolled()
    await switch(server, worker_id, enabled=False)
    await switch(server, worker_id, enabled=True)

    first = await server.token_by_assertion(
        server.assertion(key, worker_id, now=skewed(server, min(skew_s, 29)))
    )
    assert first.status_code == 401
    second = server.assertion(key, worker_id, nonce=first.headers["lyftdata-nonce"])

    assert await refused(server, second) == ""
    assert await refused(server, second) == "assertion_replayed"


@pytest.mark.parametrize("skew_s", ALLOWED_SKEW)
async def test_a_client_without_nonces_is_accepted_after_half_a_minute(server, skew_s):
    """A plain RFC 7523 client waits until its assertion cannot be from before the disable."""
    worker_id, key = await server.enrolled()
    server.clock.forward(seconds=100)
    await switch(server, worker_id, enabled=False)
    assert await refused(server, server.assertion(key, worker_id)) == "worker_disabled"
    await switch(server, worker_id, enabled=True)

    server.clock.forward(seconds=31 - skew_s)

    assert await refused(server, server.assertion(key, worker_id, now=skewed(server, skew_s))) == ""


async def test_a_worker_that_was_never_disabled_needs_no_nonce(server):
    """From its first second on, even if its clock is behind."""
    worker_id, key = await server.enrolled()

    assert await refused(server, server.assertion(key, worker_id, now=skewed(server, -29))) == ""


async def test_an_assertion_without_iat_counts_as_signed_at_the_earliest_possible_time(server):
    """Some clients send only `exp`; then it counts as signed five minutes before that."""
    worker_id, key = await server.enrolled()
    server.clock.forward(seconds=400)

    def plain(jti):
        now_s = int(server.clock().timestamp())
        issuer = server.services.issuer
        claims = {"iss": worker_id, "sub": worker_id, "aud": issuer, "jti": jti, "exp": now_s + 60}
        return sign({"alg": "ES256", "typ": "JWT"}, claims, key=key.jose_key)

    assert await refused(server, plain("first")) == ""
    await switch(server, worker_id, enabled=False)
    await switch(server, worker_id, enabled=True)
    server.clock.forward(seconds=100)
    assert await refused(server, plain("second")) == "stale_assertion"
    server.clock.forward(seconds=171)
    assert await refused(server, plain("third")) == ""


async def test_a_server_clock_that_was_ahead_locks_out_no_worker(server):
    """A Worker that was disabled and enabled while the clock was a day ahead is accepted when the clock is right again."""
    worker_id, key = await server.enrolled()
    server.clock.forward(days=1)
    await switch(server, worker_id, enabled=False)
    await switch(server, worker_id, enabled=True)
    server.clock.forward(days=-1)

    assert await refused(server, server.assertion(key, worker_id)) == ""
    nonce = await nonce_of(server, worker_id)
    assert await refused(server, server.assertion(key, worker_id, nonce=nonce)) == ""


# --- nonces -----------------------------------------------------------------------------------------------


async def test_a_nonce_expires_when_the_worker_is_disabled_or_enabled(server):
    """An assertion signed with a nonce from before is refused."""
    worker_id, key = await server.enrolled()
    captured = server.assertion(key, worker_id, nonce=await nonce_of(server, worker_id))
    await switch(server, worker_id, enabled=False)
    meanwhile = server.assertion(key, worker_id, nonce=await nonce_of(server, worker_id))
    await switch(server, worker_id, enabled=True)

    assert await refused(server, captured) == "stale_assertion"
    assert await refused(server, meanwhile) == "stale_assertion"


async def test_an_assertion_signed_for_tomorrow_is_refused_tomorrow(server):
    """An attacker who fakes the Server's time gets an assertion that expires with its nonce, two minutes later."""
    worker_id, key = await server.enrolled()
    tomorrow = server.clock() + timedelta(days=1)
    kept_back = server.assertion(key, worker_id, now=tomorrow, nonce=await nonce_of(server, worker_id))
    made_up = f"{int(tomorrow.timestamp())}." + "A" * 36
    with_made_up_nonce = server.assertion(key, worker_id, now=tomorrow, nonce=made_up)

    assert await refused(server, kept_back) == "assertion_expired"
    server.clock.forward(days=1)

    assert await refused(server, kept_back) == "stale_assertion"
    assert await refused(server, with_made_up_nonce) == "stale_assertion"


@pytest.mark.parametrize("seconds", [121, 3600])
async def test_a_nonce_expires_after_two_minutes(server, seconds):
    """Then the assertion is refused, even if its own times would allow it."""
    worker_id, key = await server.enrolled()
    nonce = await nonce_of(server, worker_id)
    server.clock.forward(seconds=seconds)

    assert await refused(server, server.assertion(key, worker_id, nonce=nonce)) == "stale_assertion"


async def test_a_nonce_is_for_one_worker_and_one_purpose(server):
    """Another Worker's, one for enrollment, and made-up text are refused."""
    worker_id, key = await server.enrolled()
    other_id, _ = await server.enrolled("other")
    enrolling = await server.register(generate_identity_key(), "third", credential="wrong")
    wrong = [
        await nonce_of(server, other_id),
        await nonce_of(server, "w-nobody"),
        enrolling.headers["lyftdata-nonce"],
        "nonce",
    ]

    for nonce in wrong:
        assert await refused(server, server.assertion(key, worker_id, nonce=nonce)) == "stale_assertion"
    good = await nonce_of(server, worker_id)
    assert await refused(server, server.assertion(key, worker_id, nonce=good)) == ""


async def test_nonces_do_not_reveal_which_workers_exist(server, press):
    """For a known, unknown or disabled Worker, each nonce is different and of the same form."""
    nonces = [await nonce_of(server, who) for who in ("press-01", "press-01", "w-nobody", "")]
    await switch(server, "press-01", enabled=False)
    nonces.append(await nonce_of(server, "press-01"))

    assert len(set(nonces)) == len(nonces)
    assert {len(nonce) for nonce in nonces} == {len(nonces[0])}


async def test_the_limit_on_failures_does_not_keep_a_nonce_from_a_worker(server):
    """At an address with constant failures the answer is 429, and has a nonce too."""
    worker_id, key = await server.enrolled()
    while (await server.token_by_key("nobody", "wrong")).status_code == 401:
        pass
    late = server.assertion(key, worker_id, now=skewed(server, -3600))

    limited = await server.token_by_assertion(late)

    assert limited.status_code == 429
    again = server.assertion(key, worker_id, nonce=limited.headers["lyftdata-nonce"])
    assert await refused(server, again) == ""


async def test_nonces_work_wherever_a_client_authenticates(server):
    """Introspection and revocation answer with a nonce too, and accept assertions signed with it."""
    worker_id, key = await server.enrolled()
    token = (await server.token_by_assertion(server.assertion(key, worker_id))).json()["access_token"]
    for path in ("introspect", "revoke"):
        form = {"token": token, "client_assertion_type": ASSERTION_TYPE}
        late = server.assertion(key, worker_id, now=skewed(server, -3600))
        first = await server.http.post(f"/oauth2/{path}", data=form | {"client_assertion": late})
        assert first.status_code == 401
        again = server.assertion(key, worker_id, nonce=first.headers["lyftdata-nonce"])
        second = await server.http.post(f"/oauth2/{path}", data=form | {"client_assertion": again})
        assert second.status_code == 200


# --- keys -------------------------------------------------------------------------------------------------


async def test_an_assertion_by_the_old_key_is_refused_after_a_rotation(server):
    """One by the new key is accepted at once, without a nonce."""
    key, fresh = generate_identity_key(), generate_identity_key()
    registered = (await server.register(key, "press", credential=ENROLLMENT_KEY)).json()
    worker_id = registered["client_id"]
    captured = server.assertion(key, worker_id)
    with_nonce = server.assertion(key, worker_id, nonce=await nonce_of(server, worker_id))
    body = {"client_id": worker_id, "client_name": "press", "jwks": {"keys": [fresh.public.as_dict()]}}
    headers = {"Authorization": f"Bearer {registered['registration_access_token']}"}
    assert (
        await server.http.put(registered["registration_client_uri"], json=body, headers=headers)
    ).status_code == 200

    assert await refused(server, captured) == "wrong_assertion"
    assert await refused(server, with_nonce) == "wrong_assertion"
    assert await refused(server, server.assertion(fresh, worker_id)) == ""


# --- enrollment proofs ------------------------------------------------------------------------------------


async def test_a_proof_signed_with_a_nonce_enrolls(server):
    """A host whose clock is hours off is refused once, and enrolls with the nonce of that answer."""
    key = generate_identity_key()
    late = server.proof(key, "press", now=skewed(server, -3600))
    first = await server.register(key, "press", credential=late)
    assert (first.status_code, await server.cause(first)) == (401, "proof_expired")

    again = server.proof(key, "press", nonce=first.headers["lyftdata-nonce"])

    assert (await server.register(key, "press", credential=again)).status_code == 201
    replayed = await server.register(key, "press", credential=again)
    assert await server.cause(replayed) == "proof_replayed"


async def test_a_proof_for_tomorrow_is_refused_tomorrow(server):
    """Its nonce has expired by then."""
    key = generate_identity_key()
    first = await server.register(key, "press", credential="wrong")
    tomorrow = server.clock() + timedelta(days=1)
    kept_back = server.proof(key, "press", now=tomorrow, nonce=first.headers["lyftdata-nonce"])
    server.clock.forward(days=1)

    answer = await server.register(key, "press", credential=kept_back)

    assert await server.cause(answer) == "proof_expired"


# --- restarts ---------------------------------------------------------------------------------------------


async def test_an_assertion_used_before_a_restart_is_refused_after_it(opened):
    """Whichever way the Worker's clock is off, and also after a second restart."""
    async with opened() as server:
        worker_id, key = await server.enrolled()
        used = [server.assertion(key, worker_id, now=skewed(server, skew_s)) for skew_s in ALLOWED_SKEW]
        for assertion in used:
            assert await refused(server, assertion) == ""
        clock = server.clock
    for _ in range(2):
        async with opened(clock) as server:
            for assertion in used:
                assert await refused(server, assertion) == "assertion_replayed"


@pytest.mark.parametrize("skew_s", ALLOWED_SKEW)
async def test_a_restart_refuses_no_unused_assertion(opened, skew_s):
    """One signed just before or just after it, without a nonce, is accepted once."""
    async with opened() as server:
        worker_id, key = await server.enrolled()
        before = server.assertion(key, worker_id, now=skewed(server, skew_s))
        clock = server.clock
    async with opened(clock) as server:
        server.jti_from(1_000)
        assert await refused(server, before) == ""
        assert await refused(server, server.assertion(key, worker_id, now=skewed(server, skew_s))) == ""


def crash(server):
    """Make a Server that was shut down cleanly look as if it had crashed, by removing what it saved."""
    discard_replays(server.services.settings.staging_dir)


@pytest.mark.parametrize("skew_s", ALLOWED_SKEW)
async def test_an_assertion_used_before_a_crash_is_refused_after_it(opened, skew_s):
    """The Server no longer knows what was used, so it accepts nothing that may be older without a nonce."""
    async with opened() as server:
        worker_id, key = await server.enrolled()
        server.clock.forward(seconds=1)
        used = server.assertion(key, worker_id, now=skewed(server, skew_s))
        assert await refused(server, used) == ""
        nonce = await nonce_of(server, worker_id)
        used_with_nonce = server.assertion(key, worker_id, nonce=nonce)
        assert await refused(server, used_with_nonce) == ""
        clock = server.clock
    crash(server)
    clock.forward(seconds=1)
    async with opened(clock) as server:
        server.jti_from(1_000)
        for later_s in (0, 29, 30):
            clock.forward(seconds=later_s)
            expired = skew_s - 1 - (clock() - server.services.started_at).total_seconds() <= -90
            assert await refused(server, used) == ("assertion_expired" if expired else "stale_assertion")
        assert await refused(server, used_with_nonce) == "stale_assertion"


async def test_after_a_crash_a_worker_that_signs_with_a_nonce_is_accepted_at_once(opened):
    """Without a nonce after half a minute; new enrollments and Workers with an API key at once."""
    async with opened() as server:
        worker_id, key = await server.enrolled()
        headers = await server.sign_in()
        body = {"name": "press-01", "id": "press-01", "issue_key": True}
        api_key = (await server.http.post("/api/workers", json=body, headers=headers)).json()["api_key"][
            "key"
        ]
        clock = server.clock
    crash(server)
    clock.forward(seconds=1)
    async with opened(clock) as server:
        server.jti_from(1_000)
        plain = await server.token_by_assertion(server.assertion(key, worker_id))
        assert await server.cause(plain) == "stale_assertion"
        with_nonce = server.assertion(key, worker_id, nonce=plain.headers["lyftdata-nonce"])
        assert await refused(server, with_nonce) == ""
        new_id, new_key = await server.enrolled("newcomer")
        assert await refused(server, server.assertion(new_key, new_id)) == ""
        assert (await server.token_by_key("press-01", api_key)).status_code == 200
        clock.forward(seconds=30)
        assert await refused(server, server.assertion(key, worker_id)) == ""


async def test_the_saved_assertions_are_used_by_one_start(opened):
    """The file is removed at the start, so that after a crash an older one is not taken for complete; it is private."""
    async with opened() as server:
        worker_id, key = await server.enrolled()
        clock = server.clock
    staging_dir = server.services.settings.staging_dir
    async with opened(clock) as server:
        assert list(staging_dir.glob("used-assertions*")) == []
        assert await refused(server, server.assertion(key, worker_id, jti="before")) == ""
    (kept,) = staging_dir.glob("used-assertions*")
    assert kept.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"assertions": {"w": 1}, "proofs": {}}', "\x00"])
async def test_an_unreadable_file_counts_as_missing(opened, content):
    """The Server starts, and accepts no older assertion without a nonce."""
    async with opened() as server:
        worker_id, key = await server.enrolled()
        clock = server.clock
    (kept,) = server.services.settings.staging_dir.glob("used-assertions*")
    kept.write_text(content)
    clock.forward(seconds=1)
    async with opened(clock) as server:
        server.jti_from(1_000)
        assert await refused(server, server.assertion(key, worker_id)) == "stale_assertion"


async def test_a_used_proof_of_possession_is_refused_after_a_restart(opened):
    """After a clean restart and after a crash; a new proof is accepted once it has the Server's new nonce."""
    async with opened() as server:
        headers = await server.sign_in()
        body = {"name": "press-01", "id": "press-01", "issue_key": True}
        answer = await server.http.post("/api/workers", json=body, headers=headers)
        press = ("press-01", answer.json()["api_key"]["key"])
        server.clock.forward(seconds=1)
        key = generate_identity_key()
        token = await bound(server, press, key)
        proof = dpop(key, server, token=token, **VERIFY)
        assert (await show_bound(server, token, proof)).status_code == 204
        old_nonce = server.services.dpop.nonce()
        clock = server.clock
    async with opened(clock) as server:
        server.jti_from(1_000)
        assert (await show_bound(server, token, proof)).status_code == 401
        assert (await show_bound(server, token, dpop(key, server, token=token, **VERIFY))).status_code == 204
    crash(server)
    clock.forward(seconds=1)
    async with opened(clock) as server:
        server.jti_from(2_000)
        replayed = await show_bound(server, token, proof)
        assert (replayed.status_code, replayed.json()["error"]) == (401, "use_dpop_nonce")
        with_old = dpop(key, server, token=token, nonce=old_nonce, **VERIFY)
        assert (await show_bound(server, token, with_old)).json()["error"] == "use_dpop_nonce"
        fresh = dpop(key, server, token=token, nonce=replayed.headers["dpop-nonce"], **VERIFY)
        assert (await show_bound(server, token, fresh)).status_code == 204
        assert (await show_bound(server, token, fresh)).status_code == 401
        clock.forward(seconds=5)
        later = dpop(key, server, token=token, **VERIFY)
        assert (await show_bound(server, token, later)).status_code == 204
        other = await ask_bound(server, press, dpop(key, server, nonce=old_nonce))
        assert other.json()["error"] == "use_dpop_nonce"
