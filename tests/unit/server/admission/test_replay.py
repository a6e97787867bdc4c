"""
What was signed before a Worker was disabled, before a restart, or for another time is of no use afterwards.

And nobody who signs now is kept out by that: not by a clock that is off, and not without nonces for more than half a minute.
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
    """Return the time by a clock that is off."""
    return server.clock() + timedelta(seconds=seconds)


# --- disabled and enabled ---------------------------------------------------------------------------------


@pytest.mark.parametrize("skew_s", ALLOWED_SKEW)
@pytest.mark.parametrize("later_s", [0, 5, 29, 60, 89])
async def test_an_assertion_from_before_a_disable_is_of_no_use_after_it(server, skew_s, later_s):
    """Captured and never used, it is refused as long as its times would let it pass, whichever way the Worker's clock was off."""
    worker_id, key = await server.enrolled()
    server.clock.forward(seconds=100)
    captured = server.assertion(key, worker_id, now=skewed(server, skew_s))
    server.clock.forward(seconds=1)
    await switch(server, worker_id, enabled=False)
    await switch(server, worker_id, enabled=True)

    server.clock.forward(seconds=later_s)
    expired = later_s + 1 >= 90 + skew_s

    assert await refused(server, captured) == ("assertion_expired" if expired else "stale_assertion")


async def test_what_a_clock_that_is_ahead_has_signed_is_good_at_its_time(server):
    """The limit that the security model states: it is neither valid nor void before, and a disable in between does not end it."""
    worker_id, key = await server.enrolled("press")
    captured = server.assertion(key, worker_id, now=server.clock() + timedelta(seconds=62))
    assert await refused(server, captured) == "assertion_expired"
    await switch(server, worker_id, enabled=False)
    await switch(server, worker_id, enabled=True)

    server.clock.forward(seconds=32)

    assert await refused(server, captured) == ""
    assert await refused(server, captured) == "assertion_replayed"


async def test_an_assertion_signed_while_disabled_is_of_no_use_after_the_enable(server):
    """It was signed for a Worker that was kept out."""
    worker_id, key = await server.enrolled()
    await switch(server, worker_id, enabled=False)
    server.clock.forward(seconds=10)
    captured = server.assertion(key, worker_id)
    server.clock.forward(seconds=1)
    await switch(server, worker_id, enabled=True)

    assert await refused(server, captured) == "stale_assertion"


@pytest.mark.parametrize("skew_s", [-5 * 3600, *ALLOWED_SKEW, 5 * 3600])
async def test_who_signs_with_a_nonce_is_let_in_at_once(server, skew_s):
    """Whatever its clock says: the first answer brings the nonce, and the second attempt passes."""
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
async def test_who_knows_no_nonces_is_let_in_after_half_a_minute(server, skew_s):
    """A plain RFC 7523 client waits until its time cannot be from before; then it goes on as ever."""
    worker_id, key = await server.enrolled()
    server.clock.forward(seconds=100)
    await switch(server, worker_id, enabled=False)
    assert await refused(server, server.assertion(key, worker_id)) == "worker_disabled"
    await switch(server, worker_id, enabled=True)

    server.clock.forward(seconds=31 - skew_s)

    assert await refused(server, server.assertion(key, worker_id, now=skewed(server, skew_s))) == ""


async def test_a_worker_that_was_never_disabled_needs_no_nonce(server):
    """From its first second on, with a clock that is behind."""
    worker_id, key = await server.enrolled()

    assert await refused(server, server.assertion(key, worker_id, now=skewed(server, -29))) == ""


async def test_an_assertion_without_iat_counts_as_signed_as_early_as_it_may_be(server):
    """Some clients name its end alone; then five minutes before that count."""
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


async def test_a_servers_clock_that_was_ahead_locks_no_worker_out(server):
    """Disabled and enabled by a clock that was a day ahead, a Worker is let in when the clock is right again."""
    worker_id, key = await server.enrolled()
    server.clock.forward(days=1)
    await switch(server, worker_id, enabled=False)
    await switch(server, worker_id, enabled=True)
    server.clock.forward(days=-1)

    assert await refused(server, server.assertion(key, worker_id)) == ""
    nonce = await nonce_of(server, worker_id)
    assert await refused(server, server.assertion(key, worker_id, nonce=nonce)) == ""


# --- nonces -----------------------------------------------------------------------------------------------


async def test_a_nonce_ends_with_the_state_it_was_made_in(server):
    """Signed with a nonce from before a disable, an assertion is refused after it."""
    worker_id, key = await server.enrolled()
    captured = server.assertion(key, worker_id, nonce=await nonce_of(server, worker_id))
    await switch(server, worker_id, enabled=False)
    meanwhile = server.assertion(key, worker_id, nonce=await nonce_of(server, worker_id))
    await switch(server, worker_id, enabled=True)

    assert await refused(server, captured) == "stale_assertion"
    assert await refused(server, meanwhile) == "stale_assertion"


async def test_what_is_signed_for_tomorrow_is_of_no_use_tomorrow(server):
    """Anyone who makes up the Server's time gets an assertion that dies with its nonce, two minutes later."""
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
async def test_a_nonce_dies_after_two_minutes(server, seconds):
    """Then the assertion is refused, although its own times would let it pass."""
    worker_id, key = await server.enrolled()
    nonce = await nonce_of(server, worker_id)
    server.clock.forward(seconds=seconds)

    assert await refused(server, server.assertion(key, worker_id, nonce=nonce)) == "stale_assertion"


async def test_a_nonce_is_for_one_worker_and_one_purpose(server):
    """Another Worker's, and one for enrolling, are not good; nor is text that somebody made up."""
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


async def test_nonces_do_not_tell_which_workers_there_are(server, press):
    """Known or not, disabled or not: each nonce is another, of the same form."""
    nonces = [await nonce_of(server, who) for who in ("press-01", "press-01", "w-nobody", "")]
    await switch(server, "press-01", enabled=False)
    nonces.append(await nonce_of(server, "press-01"))

    assert len(set(nonces)) == len(nonces)
    assert {len(nonce) for nonce in nonces} == {len(nonces[0])}


async def test_the_limit_on_failures_keeps_no_signer_out(server):
    """Behind an address that fails all the time the answer is 429, and brings the nonce as well."""
    worker_id, key = await server.enrolled()
    while (await server.token_by_key("nobody", "wrong")).status_code == 401:
        pass
    late = server.assertion(key, worker_id, now=skewed(server, -3600))

    limited = await server.token_by_assertion(late)

    assert limited.status_code == 429
    again = server.assertion(key, worker_id, nonce=limited.headers["lyftdata-nonce"])
    assert await refused(server, again) == ""


async def test_a_nonce_counts_wherever_a_client_authenticates_itself(server):
    """Introspection and revocation answer with a nonce too, and accept what was signed with it."""
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


async def test_an_assertion_by_the_old_key_is_of_no_use_after_a_rotation(server):
    """And one by the new key is accepted at once, without a nonce."""
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


async def test_a_proof_for_tomorrow_is_of_no_use_tomorrow(server):
    """Its nonce has died by then."""
    key = generate_identity_key()
    first = await server.register(key, "press", credential="wrong")
    tomorrow = server.clock() + timedelta(days=1)
    kept_back = server.proof(key, "press", now=tomorrow, nonce=first.headers["lyftdata-nonce"])
    server.clock.forward(days=1)

    answer = await server.register(key, "press", credential=kept_back)

    assert await server.cause(answer) == "proof_expired"


# --- restarts ---------------------------------------------------------------------------------------------


async def test_what_was_used_before_a_restart_is_not_good_after_it(opened):
    """Assertions and proofs of possession alike, whichever way the Worker's clock is off."""
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
async def test_a_restart_keeps_nobody_out(opened, skew_s):
    """What was signed just before it or is signed just after it, without a nonce, is accepted once."""
    async with opened() as server:
        worker_id, key = await server.enrolled()
        before = server.assertion(key, worker_id, now=skewed(server, skew_s))
        clock = server.clock
    async with opened(clock) as server:
        server.jti_from(1_000)
        assert await refused(server, before) == ""
        assert await refused(server, server.assertion(key, worker_id, now=skewed(server, skew_s))) == ""


def crash(server):
    """Have a Server that was closed in order look as if it had crashed: it has left nothing."""
    discard_replays(server.services.settings.staging_dir)


@pytest.mark.parametrize("skew_s", ALLOWED_SKEW)
async def test_what_was_used_before_a_crash_is_not_good_after_it(opened, skew_s):
    """Nobody knows what was used; so nothing that may be from before is accepted without a nonce."""
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


async def test_after_a_crash_who_signs_with_a_nonce_is_let_in_at_once(opened):
    """And who knows none after half a minute; who enrolls after the crash, and who has an API key, at once."""
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


async def test_a_second_start_after_a_crash_knows_no_more(opened):
    """What a Server left before the one that crashed is not taken for what that one has used."""
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
async def test_a_file_that_cannot_be_read_is_like_none(opened, content):
    """The Server starts, and accepts nothing from before without a nonce."""
    async with opened() as server:
        worker_id, key = await server.enrolled()
        clock = server.clock
    (kept,) = server.services.settings.staging_dir.glob("used-assertions*")
    kept.write_text(content)
    clock.forward(seconds=1)
    async with opened(clock) as server:
        server.jti_from(1_000)
        assert await refused(server, server.assertion(key, worker_id)) == "stale_assertion"


async def test_a_used_proof_of_possession_is_not_good_after_a_restart(opened):
    """Neither after one in order nor after a crash; a new one is, once it holds the Server's new nonce."""
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
