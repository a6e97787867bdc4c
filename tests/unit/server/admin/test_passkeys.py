"""Passkeys: registered, used to sign in, attacked, lost."""

import asyncio
import os
from typing import Any

import pytest
from tests.authenticator import ATTESTED, PRESENT, VERIFIED, Authenticator
from tests.builders import FakeClock
from tests.deployment import PASSWORD
from tests.unit.server.admin.test_second_factors import App, set_up

from lyftdata.core.errors import (
    ConflictError,
    InvalidInputError,
    LoginLockedError,
    NotFoundError,
    NotSignedInError,
    SecondFactorFailedError,
    SecondFactorRequiredError,
)
from lyftdata.core.secret import Secret
from lyftdata.server.admin.password_sign_in import PasswordRight, SignedIn
from lyftdata.store.tables import passkeys as table

CALLER = {"address": "192.0.2.9", "user_agent": "test"}
OTHER_PASSWORD = "another long one"


async def actor_of(server, headers):
    """Return the operator of a session."""
    token = headers["Authorization"].removeprefix("Bearer ")
    return await server.services.operator_sessions.identify(token, address="192.0.2.9")


async def register(server, actor, authenticator, name="desk", **how):
    """Register a passkey; return the recovery codes that were made."""
    options = await server.services.passkeys.begin(actor=actor)
    answer = Secret(authenticator.create(options, **how))
    return await server.services.passkeys.add(name, answer, actor=actor)


async def begin(server, name="admin", password=PASSWORD):
    """Prove the password; return the ticket, and the options for the browser."""
    sign_in = server.services.password_sign_in
    begun = await sign_in.begin_sign_in(name, Secret(password), **CALLER)
    assert isinstance(begun, PasswordRight)
    return begun.ticket, (await sign_in.second_factor_choices(begun.ticket)).passkey_options


async def finish(server, ticket, answer):
    """Send a passkey's answer in the second step of a sign-in."""
    return await server.services.password_sign_in.finish_sign_in(ticket, passkey=Secret(answer), **CALLER)


async def asked(server, actor):
    """Return the options for the browser when a session must authenticate again."""
    return (await server.services.reauthentication.choices(actor=actor)).passkey_options


async def prove(server, actor, answer):
    """Authenticate again, with the right password and a passkey's answer."""
    return await server.services.reauthentication.reauthenticate(
        Secret(PASSWORD), passkey=Secret(answer), actor=actor
    )


async def audited(server, *actions):
    """Return the events of these actions, oldest first."""
    headers = {"Authorization": f"Bearer {(await emergency_token(server)).reveal()}"}
    items = (await server.http.get("/api/audit?limit=100", headers=headers)).json()["items"]
    return [
        (one["action"], one["subject"], one["details"]) for one in reversed(items) if one["action"] in actions
    ]


async def emergency_token(server):
    """Return the token of a new admin's session, opened with an emergency password."""
    from datetime import timedelta

    import msgspec

    from lyftdata.store.tables import operators

    record = await server.services.operators.get("admin")
    until = server.clock() + timedelta(hours=1)
    reader = msgspec.structs.replace(record, name="reader", password_expires_at=until)

    def add(tx):
        if operators.find_operator(tx.conn, "reader") is None:
            operators.insert_operator(tx, reader)

    await server.services.store.write(add)
    signed_in = await server.services.password_sign_in.sign_in("reader", Secret(PASSWORD), **CALLER)
    return signed_in.token


@pytest.fixture
async def actor(server, admin):
    """Return the admin, signed in."""
    return await actor_of(server, admin)


@pytest.fixture
async def key(server, actor):
    """Return the admin's only passkey."""
    made = Authenticator()
    await register(server, actor, made)
    return made


@pytest.fixture
async def ada(server, admin):
    """Return another operator, signed in."""
    body = {"name": "ada", "role": "admin", "password": OTHER_PASSWORD}
    await server.http.post("/api/operators", json=body, headers=admin)
    return await actor_of(server, await server.sign_in("ada", OTHER_PASSWORD))


async def test_a_sign_in_needs_password_and_passkey(server, key):
    """Downgrade: the password alone opens no session, by page or API; both together do, and the audit log names the factor."""
    ticket, options = await begin(server)
    with pytest.raises(SecondFactorRequiredError):
        await server.services.password_sign_in.sign_in("admin", Secret(PASSWORD), **CALLER)
    alone = await server.http.post("/api/login", json={"username": "admin", "password": PASSWORD})
    assert (alone.status_code, alone.json()["code"]) == (401, "second_factor_required")

    signed_in = await finish(server, ticket, key.get(options))

    assert isinstance(signed_in, SignedIn)
    assert signed_in.session.second_factor == "passkey"
    assert await audited(server, "operator.passkey_added", "operator.signed_in") == [
        ("operator.signed_in", "operator:admin", {}),
        ("operator.passkey_added", "operator:admin", {"name": "desk"}),
        ("operator.signed_in", "operator:admin", {"second_factor": "passkey"}),
        ("operator.signed_in", "operator:reader", {}),
    ]


async def test_the_options_name_only_the_operators_own_passkeys(server, actor, ada, key):
    """The relying party is the host of the public URL; a registration excludes authenticators that have one already."""
    import json

    from lyftdata.core.encoding import base64url

    await register(server, ada, Authenticator(), "hers")
    creation = json.loads(await server.services.passkeys.begin(actor=actor))
    request = json.loads((await begin(server))[1])

    mine = [{"type": "public-key", "id": base64url(key.credential_id)}]
    assert creation["excludeCredentials"] == request["allowCredentials"] == mine
    assert creation["rp"] == {"id": "lyft.example", "name": "lyftdata lyft.example"}
    assert request["rpId"] == "lyft.example"
    assert creation["attestation"] == "none"
    assert creation["authenticatorSelection"]["userVerification"] == request["userVerification"] == "required"
    assert "admin" not in creation["user"]["id"]
    assert creation["challenge"] != request["challenge"]


# What is wrong with an otherwise right answer.
WRONG: dict[str, Any] = {
    "origin of another site": {"origin": "https://evil.example"},
    "origin with another port": {"origin": "https://lyft.example:8443"},
    "origin without TLS": {"origin": "http://lyft.example"},
    "host of another site": {"rp_id": "evil.example"},
    "parent domain": {"rp_id": "example"},
    "in a frame of another site": {"cross_origin": True},
    "user not verified": {"flags": PRESENT},
    "user not present": {"flags": VERIFIED},
    "the other ceremony": {"type": "webauthn.create"},
    "forged signature": {"signature": os.urandom(70)},
    "handle of somebody else": {"user_handle": os.urandom(32)},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_an_answer_with_one_flaw_is_refused(server, actor, key, wrong):
    """Phishing, embedding, a stolen key without its PIN, forgery; without the flaw it is accepted."""
    with pytest.raises(SecondFactorFailedError):
        await prove(server, actor, key.get(await asked(server, actor), **wrong))

    await prove(server, actor, key.get(await asked(server, actor), user_handle=key.user_handle))


async def test_an_answer_is_accepted_once(server, actor):
    """Replay, of an authenticator without a counter: neither concurrently nor later."""
    key = Authenticator(counts=False)
    await register(server, actor, key)
    answer = key.get(await asked(server, actor))

    both = await asyncio.gather(*(prove(server, actor, answer) for _ in "12"), return_exceptions=True)

    assert sorted(type(one).__name__ for one in both) == ["Reauthenticated", "SecondFactorFailedError"]
    with pytest.raises(SecondFactorFailedError):
        await prove(server, actor, answer)


async def test_an_answer_is_accepted_for_five_minutes(server, actor, key):
    """To the second."""
    for seconds, is_good in ((299, True), (300, False)):
        answer = key.get(await asked(server, actor))
        server.clock.forward(seconds=seconds)
        if is_good:
            await prove(server, actor, answer)
        else:
            with pytest.raises(SecondFactorFailedError):
                await prove(server, actor, answer)


async def test_a_challenge_belongs_to_one_session_and_one_purpose(server, actor, key):
    """An answer signed for another session, another sign-in or a registration is refused."""
    ticket, options = await begin(server)
    other_ticket, other_options = await begin(server)
    other = await actor_of(
        server, {"Authorization": (await finish(server, ticket, key.get(options))).token.reveal()}
    )

    for foreign in (
        await asked(server, other),
        other_options,
    ):
        with pytest.raises(SecondFactorFailedError):
            await prove(server, actor, key.get(foreign))
    with pytest.raises(SecondFactorFailedError):
        await finish(server, other_ticket, key.get(await asked(server, actor)))
    registration = await server.services.passkeys.begin(actor=other)
    with pytest.raises(InvalidInputError):
        await server.services.passkeys.add(
            "copied", Secret(Authenticator().create(registration)), actor=actor
        )


async def test_the_passkey_of_another_operator_is_refused(server, actor, ada, key):
    """Even if it is genuine: it signs in only its own operator, and cannot be registered for two."""
    hers = Authenticator()
    await register(server, ada, hers, "hers")

    ticket, options = await begin(server)
    with pytest.raises(SecondFactorFailedError):
        await finish(server, ticket, hers.get(options))
    with pytest.raises(ConflictError) as known:
        await register(server, actor, hers, "stolen")

    assert known.value.code == "passkey_known"
    ticket, options = await begin(server, "ada", OTHER_PASSWORD)
    assert (await finish(server, ticket, hers.get(options))).operator.name == "ada"


async def test_a_copied_passkey_is_detected(server, actor, key):
    """Once one of the two has increased the counter, the other is refused, and the audit log says so."""
    copied = key.copy()
    for _ in range(2):
        await prove(server, actor, key.get(await asked(server, actor)))

    for authenticator, wrong in ((copied, {}), (copied, {"sign_count": 0})):
        with pytest.raises(SecondFactorFailedError):
            await prove(server, actor, authenticator.get(await asked(server, actor), **wrong))

    event = ("operator.passkey_counter_regressed", "operator:admin", {"name": "desk"})
    assert await audited(server, event[0]) == [event, event]
    await prove(server, actor, key.get(await asked(server, actor)))


async def test_a_copy_is_recorded_only_with_a_valid_signature(server, actor, key):
    """The signature is verified before the counter is compared."""
    await prove(server, actor, key.get(await asked(server, actor)))

    with pytest.raises(SecondFactorFailedError):
        await prove(
            server, actor, key.get(await asked(server, actor), sign_count=0, signature=os.urandom(70))
        )

    assert await audited(server, "operator.passkey_counter_regressed") == []


async def test_wrong_answers_are_limited(server, key):
    """They are counted together with wrong codes: after five, even the right one must wait."""
    for _ in range(5):
        ticket, options = await begin(server)
        with pytest.raises(SecondFactorFailedError):
            await finish(server, ticket, Authenticator().get(options))

    ticket, options = await begin(server)
    with pytest.raises(LoginLockedError):
        await finish(server, ticket, key.get(options))


@pytest.mark.parametrize(
    "answer",
    [
        "x",
        "[]",
        "{}",
        '{"id": 1, "response": {}}',
        '{"id": "", "response": {}}',
        '{"id": ["a", "b", "c", "d"], "response": {}}',
        "[" * 9_000,
    ],
)
async def test_a_malformed_answer_is_refused(server, actor, key, answer):
    """Like a wrong one, without an internal error; so is one that is too large."""
    for given in (answer, answer + " " * 10_000):
        with pytest.raises(SecondFactorFailedError):
            await prove(server, actor, given)
    with pytest.raises(InvalidInputError):
        await server.services.passkeys.add("x", Secret(answer), actor=actor)


CREATED_WRONG: dict[str, Any] = {
    name: how | ({"flags": how["flags"] | ATTESTED} if "flags" in how else {})
    for name, how in WRONG.items()
    if name not in {"forged signature", "handle of somebody else", "the other ceremony"}
} | {
    "the other ceremony": {"type": "webauthn.get"},
    "certificates of a maker": {
        "statement": {"fmt": "packed", "attStmt": {"alg": -7, "sig": b"x", "x5c": [b"x"]}}
    },
    "a statement without its signature": {
        "statement": {"fmt": "packed", "attStmt": {"alg": -7, "sig": b"x"}}
    },
    "a format of one platform": {"statement": {"fmt": "tpm", "attStmt": {}}},
}


@pytest.mark.parametrize("wrong", CREATED_WRONG.values(), ids=CREATED_WRONG)
async def test_a_registration_with_one_flaw_stores_nothing(server, actor, wrong):
    """Without the flaw it is stored."""
    key = Authenticator()
    with pytest.raises(InvalidInputError) as refused:
        await register(server, actor, key, **wrong)

    assert refused.value.field == "passkey"
    assert await server.services.passkeys.list("admin") == []
    await register(server, actor, key)


async def test_a_registration_is_accepted_once_and_for_five_minutes(server, actor):
    """Neither a used answer nor a late one adds a passkey."""
    passkeys = server.services.passkeys
    options = await passkeys.begin(actor=actor)
    await passkeys.add("one", Secret(Authenticator().create(options)), actor=actor)
    with pytest.raises(InvalidInputError):
        await passkeys.add("two", Secret(Authenticator().create(options)), actor=actor)
    options = await passkeys.begin(actor=actor)
    server.clock.forward(minutes=5)
    with pytest.raises(InvalidInputError):
        await passkeys.add("three", Secret(Authenticator().create(options)), actor=actor)

    assert [one.name for one in await passkeys.list("admin")] == ["one"]


async def test_a_session_that_has_just_ended_changes_no_second_factor(server, admin, actor, key):
    """
    Persistence: a thief's request that was accepted just before leaves nothing behind.

    When the first factor is set up, other sessions end, a thief's among them; so they do when an admin resets it.
    """
    passkeys, factors = server.services.passkeys, server.services.second_factors
    (first,) = await passkeys.list("admin")
    answer = Authenticator().create(await passkeys.begin(actor=actor))
    setup = await factors.begin_totp(actor=actor)
    app = App(setup.secret.reveal(), server.clock)
    before = await factors.status("admin")
    await server.services.operator_sessions.end_all_sessions(actor=actor)

    for change in (
        passkeys.add("thief", Secret(answer), actor=actor),
        passkeys.remove(first.id, actor=actor),
        factors.confirm_totp(setup.setup, Secret(app.code()), actor=actor),
        factors.renew_recovery_codes(actor=actor),
        factors.remove(actor=actor),
        factors.remove_app(actor=actor),
    ):
        with pytest.raises(NotSignedInError):
            await change

    assert await factors.status("admin") == before


async def test_the_first_passkey_makes_recovery_codes_and_ends_other_sessions(server, admin, actor):
    """A second one does neither; names must be unique, and twenty passkeys are the limit."""
    thief = await server.sign_in()
    codes = await register(server, actor, Authenticator(), "one")

    assert len(codes) == 10
    assert (await server.http.get("/api/whoami", headers=thief)).status_code == 401
    assert await register(server, actor, Authenticator(), "two") == []
    with pytest.raises(InvalidInputError) as taken:
        await register(server, actor, Authenticator(), " one ")
    assert taken.value.field == "name"
    for number in range(18):
        await register(server, actor, Authenticator(), f"more {number}")
    with pytest.raises(ConflictError) as full:
        await register(server, actor, Authenticator(), "one too many")
    assert full.value.code == "too_many_passkeys"
    begun = await server.services.password_sign_in.begin_sign_in("admin", Secret(PASSWORD), **CALLER)
    signed_in = await server.services.password_sign_in.finish_sign_in(begun.ticket, code=codes[0], **CALLER)
    assert signed_in.session.second_factor == "recovery_code"


async def test_an_operator_can_have_an_app_and_a_passkey(server, admin, actor, key):
    """Either signs in; each is removed separately, and with the last one the recovery codes are removed."""
    app, _ = await set_up(server, admin)
    assert (await server.services.second_factors.status("admin")).passkeys
    login = {"username": "admin", "password": PASSWORD, "code": app.code()}
    assert (await server.http.post("/api/login", json=login)).status_code == 200
    ticket, options = await begin(server)
    await finish(server, ticket, key.get(options))

    assert (await server.http.delete("/api/me/second-factor/totp", headers=admin)).status_code == 204
    left = (await server.http.get("/api/me/second-factor", headers=admin)).json()
    assert (left["factors"], [one["name"] for one in left["passkeys"]], left["recovery_codes"]) == (
        [],
        ["desk"],
        10,
    )
    assert left["passkeys"][0]["used_at"] is not None
    path = f"/api/me/passkeys/{left['passkeys'][0]['id']}"
    assert (await server.http.delete(path, headers=admin)).status_code == 204

    status = (await server.http.get("/api/me/second-factor", headers=admin)).json()
    assert status == {"factors": [], "passkeys": [], "recovery_codes": 0}
    assert (await server.http.delete(path, headers=admin)).status_code == 404
    await server.sign_in()


async def test_removing_a_passkey_ends_the_other_sessions(server, admin, actor, key):
    """A thief may have used it; removal needs recent authentication."""
    ticket, options = await begin(server)
    thief = {"Authorization": f"Bearer {(await finish(server, ticket, key.get(options))).token.reveal()}"}
    [record] = await server.services.passkeys.list("admin")
    path = f"/api/me/passkeys/{record.id}"
    server.clock.forward(minutes=15)
    assert (await server.http.delete(path, headers=admin)).json()["code"] == "reauthentication_required"
    new = await prove(server, actor, key.get(await asked(server, actor)))
    headers = {"Authorization": f"Bearer {new.token.reveal()}"}

    assert (await server.http.delete(path, headers=headers)).status_code == 204

    assert (await server.http.get("/api/whoami", headers=thief)).status_code == 401
    assert (await server.http.get("/api/whoami", headers=headers)).status_code == 200


async def test_an_admin_can_remove_another_operators_passkeys(server, admin, actor, ada):
    """One of them, or all; the operator's sessions end, it is audited, and the ID of another operator's passkey is not found."""
    keys = {name: Authenticator() for name in ("one", "two")}
    for name, key in keys.items():
        await register(server, ada, key, name)
        server.clock.forward(seconds=1)
    mine = Authenticator()
    await register(server, actor, mine, "mine")
    listed = (await server.http.get("/api/operators/ada/passkeys", headers=admin)).json()["items"]
    assert [one["name"] for one in listed] == ["one", "two"]
    [other] = await server.services.passkeys.list("admin")

    path = "/api/operators/ada/passkeys"
    assert (await server.http.delete(f"{path}/{other.id}", headers=admin)).status_code == 404
    assert (await server.http.delete(f"{path}/{listed[0]['id']}", headers=admin)).status_code == 204
    assert (await server.http.get("/api/operators/nobody/passkeys", headers=admin)).status_code == 404

    assert await server.services.operator_sessions.is_signed_in(ada) is False
    for name, is_good in (("one", False), ("two", True)):
        ticket, options = await begin(server, "ada", OTHER_PASSWORD)
        answer = keys[name].get(options)
        if is_good:
            await finish(server, ticket, answer)
        else:
            with pytest.raises(SecondFactorFailedError):
                await finish(server, ticket, answer)
    assert (await server.http.delete("/api/operators/ada/second-factor", headers=admin)).status_code == 204
    await server.sign_in("ada", OTHER_PASSWORD)
    assert ("operator.passkey_removed", "operator:ada", {"name": "one"}) in await audited(
        server, "operator.passkey_removed"
    )


async def test_the_last_required_factor_cannot_be_removed(opened):
    """Downgrade: an operator who must have a second factor cannot remove the last one by any route; another admin can reset it."""
    async with opened(FakeClock(), LYFTDATA_SECOND_FACTOR="all") as server:
        headers = await server.sign_in()
        actor = await actor_of(server, headers)
        assert actor.must_add_second_factor
        key = Authenticator()
        await register(server, actor, key)
        assert not (await actor_of(server, headers)).must_add_second_factor
        [record] = await server.services.passkeys.list("admin")

        for path in (
            f"/api/me/passkeys/{record.id}",
            "/api/me/second-factor",
            f"/api/operators/admin/passkeys/{record.id}",
            "/api/operators/admin/second-factor",
        ):
            refused = await server.http.delete(path, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (409, "second_factor_needed")
        ticket, options = await begin(server)
        await finish(server, ticket, key.get(options))
        await set_up(server, headers)
        assert (await server.http.delete(f"/api/me/passkeys/{record.id}", headers=headers)).status_code == 204
        refused = await server.http.delete("/api/me/second-factor/totp", headers=headers)
        assert refused.json()["code"] == "second_factor_needed"
        own = "/api/operators/admin/second-factor"
        refused = await server.http.delete(own, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (409, "second_factor_needed")
        body = {"name": "ada", "role": "admin", "password": OTHER_PASSWORD}
        await server.http.post("/api/operators", json=body, headers=headers)
        ada = await server.sign_in("ada", OTHER_PASSWORD)
        await set_up(server, ada)
        assert (await server.http.delete(own, headers=ada)).status_code == 204


@pytest.mark.parametrize("url", ["https://192.0.2.7", "https://[2001:db8::7]:8443", "http://lyft.example"])
async def test_passkeys_are_unavailable_if_the_public_url_does_not_allow_them(opened, url):
    """An existing passkey is not requested, and recovery codes still sign in."""
    async with opened(FakeClock()) as server:
        codes = await register(server, await actor_of(server, await server.sign_in()), Authenticator())
    async with opened(FakeClock(), LYFTDATA_PUBLIC_URL=url) as server:
        assert not server.services.passkeys.is_possible
        begun = await server.services.password_sign_in.begin_sign_in("admin", Secret(PASSWORD), **CALLER)
        choices = await server.services.password_sign_in.second_factor_choices(begun.ticket)
        assert choices.passkey_options == ""
        signed_in = await server.services.password_sign_in.finish_sign_in(
            begun.ticket, code=codes[0], **CALLER
        )
        headers = {"Authorization": f"Bearer {signed_in.token.reveal()}"}
        with pytest.raises(ConflictError) as refused:
            await server.services.passkeys.begin(actor=await actor_of(server, headers))
        assert refused.value.code == "passkeys_unavailable"


async def test_the_stored_passkey_cannot_be_used_to_sign_in(server, actor, key):
    """The database has only the public key, and the handle given to the authenticator does not reveal the operator's name."""
    [record] = await server.services.store.read(lambda conn: table.passkeys_of(conn, "admin"))

    assert record.credential_id == key.credential_id
    assert record.user_handle == key.user_handle
    assert len(record.user_handle) == 32
    private = key._key.private_numbers().private_value.to_bytes(32)
    assert private not in record.public_key


async def test_a_deleted_operator_leaves_no_passkeys(server, admin, ada):
    """A new operator with the same name has none."""
    await register(server, ada, Authenticator())
    assert (await server.http.delete("/api/operators/ada", headers=admin)).status_code == 204

    with pytest.raises(NotFoundError):
        await server.services.passkeys.list("ada")
    body = {"name": "ada", "role": "admin", "password": OTHER_PASSWORD}
    await server.http.post("/api/operators", json=body, headers=admin)
    assert await server.services.passkeys.list("ada") == []
    await server.sign_in("ada", OTHER_PASSWORD)
