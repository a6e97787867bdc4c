"""`POST /oauth2/token`: who gets a token, and what a refused caller learns."""

import base64
import gc
from datetime import timedelta
from typing import Any

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.deployment import ASSERTION_TYPE
from tests.unit.core.forge import join

from lyftdata.core import _jose, assertions
from lyftdata.core.api_keys import generate_api_key
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.refusals import RefusedError
from lyftdata.server.clock import random_bytes

GRANT = {"grant_type": "client_credentials"}


def unknown_api_key():
    """Return a well-formed API key that no Server has issued."""
    return generate_api_key(random_bytes).text.reveal()


async def issue(server, admin, name="press-keys", **body):
    """Issue an API key."""
    answer = await server.http.post("/api/api-keys", json={"name": name, **body}, headers=admin)
    assert answer.status_code == 201, answer.text
    return answer.json()["key"]


# --- who gets a token ------------------------------------------------------------------------------------


async def test_a_worker_gets_a_token_by_post_or_basic(server, press):
    """With `client_secret_post` and with `client_secret_basic` (RFC 6749); the answer must not be cached."""
    for answer in (
        await server.token_by_key(*press),
        await server.http.post("/oauth2/token", data=GRANT, auth=press),
        await server.http.post("/oauth2/token", data=GRANT | {"client_id": press[0]}, auth=press),
    ):
        assert answer.status_code == 200, answer.text
        assert answer.json()["token_type"] == "Bearer"
        assert answer.json()["expires_in"] == 900
        assert answer.headers["cache-control"] == "no-store"
        assert (await server.verify(answer.json()["access_token"])).status_code == 204


async def test_an_enrolled_worker_gets_a_token_by_private_key_jwt(server):
    """It signs an assertion with its identity key; the enrollment key is no longer needed."""
    worker_id, key = await server.enrolled()

    answer = await server.token_by_assertion(server.assertion(key, worker_id))

    assert answer.status_code == 200
    assert (await server.verify(answer.json()["access_token"])).headers["x-lyftdata-worker-id"] == worker_id


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "Ed25519"])
async def test_the_configured_algorithm_signs_tokens(opened, algorithm):
    """The JWKS and discovery name the algorithm, and the Server accepts the tokens that it signed with it."""
    async with opened(LYFTDATA_SIGNING_ALGORITHM=algorithm) as server:
        worker_id, key = await server.enrolled()
        token = (await server.token_by_assertion(server.assertion(key, worker_id))).json()["access_token"]

        assert (await server.verify(token)).status_code == 204
        (jwk,) = (await server.http.get("/.well-known/jwks.json")).json()["keys"]
        assert (jwk["alg"], jwk["use"], "d" in jwk) == (algorithm, "sig", False)
        openid = (await server.http.get("/.well-known/openid-configuration")).json()
        assert algorithm in openid["id_token_signing_alg_values_supported"]
        assert openid["issuer"] == openid["token_endpoint"].removesuffix("/oauth2/token")


async def test_one_key_serves_many_workers(server, admin):
    """An API key without `worker_ids` works for every Worker; one with them works only for those."""
    shared = await issue(server, admin)
    for name in ("press-01", "press-02"):
        await server.http.post("/api/workers", json={"name": name, "id": name}, headers=admin)
    scoped = await issue(server, admin, "scoped", worker_ids=["press-02"])

    assert (await server.token_by_key("press-01", shared)).status_code == 200
    assert (await server.token_by_key("press-02", shared)).status_code == 200
    assert (await server.token_by_key("press-02", scoped)).status_code == 200
    refused = await server.token_by_key("press-01", scoped)
    assert await server.cause(refused) == "api_key_not_for_worker"


# --- refusals: one answer for the caller, the cause for operators ----------------------------------------


async def test_every_refused_api_key_gets_the_same_answer(server, admin, press):
    """Whatever the cause, an unproven caller reads the same bytes and headers; operators find the cause."""
    enrolled, _ = await server.enrolled()
    shared = await issue(server, admin)
    revoked = await issue(server, admin, "revoked")
    await server.http.post("/api/api-keys/revoked/revoke", headers=admin)
    expired = await issue(server, admin, "expired", expires_in_s=60)
    server.clock.forward(seconds=60)
    cases = {
        "unknown_worker": ("nobody", shared),
        "wrong_api_key": ("press-01", unknown_api_key()),
        "malformed_api_key": ("press-01", "hunter2"),
        "api_key_revoked": ("press-01", revoked),
        "api_key_expired": ("press-01", expired),
        "api_key_not_for_worker": ("other", press[1]),
        "wrong_strategy": (enrolled, shared),
        "missing_credentials": None,
    }
    seen = set()
    for code, credential in cases.items():
        if credential is None:
            answer = await server.http.post("/oauth2/token", data=GRANT)
        else:
            answer = await server.token_by_key(*credential)
        assert answer.status_code == 401
        assert await server.cause(answer) == code
        reference = answer.json()["reference"]
        nonce = answer.headers["lyftdata-nonce"]
        given = {**answer.headers, "lyftdata-nonce": f"a nonce of {len(nonce)} characters"}
        headers = tuple(sorted(item for item in given.items() if item[0] != "date"))
        seen.add((answer.text.replace(reference, "REFERENCE"), len(answer.content), headers))

    assert len(seen) == 1, seen
    assert "invalid_client" in next(iter(seen))[0]


async def test_every_refused_assertion_gets_the_same_answer(server, press):
    """Unknown Worker, wrong key, wrong strategy, expired and replayed assertions are indistinguishable to the caller."""
    worker_id, key = await server.enrolled()
    used = server.assertion(key, worker_id)
    assert (await server.token_by_assertion(used)).status_code == 200
    cases = {
        "unknown_worker": server.assertion(key, "w-nobody"),
        "wrong_assertion": server.assertion(generate_identity_key(), worker_id),
        "wrong_strategy": server.assertion(key, press[0]),
        "assertion_expired": server.assertion(key, worker_id, now=server.clock() - timedelta(hours=1)),
        "assertion_replayed": used,
    }
    seen = set()
    for code, assertion in cases.items():
        answer = await server.token_by_assertion(assertion)
        assert answer.status_code == 401
        assert await server.cause(answer) == code, code
        nonce = answer.headers["lyftdata-nonce"]
        seen.add((answer.text.replace(answer.json()["reference"], "REFERENCE"), len(nonce)))

    assert len(seen) == 1


async def test_a_worker_that_proved_its_key_learns_why(server, admin, press):
    """A disabled Worker gets the code, a remedy and that it is not final; when it is enabled again, it gets a token."""
    await server.http.patch("/api/workers/press-01", json={"enabled": False}, headers=admin)

    answer = await server.token_by_key(*press)

    assert answer.status_code == 400
    answered = answer.json()
    assert (answered["error"], answered["code"], answered["final"]) == (
        "unauthorized_client",
        "worker_disabled",
        False,
    )
    assert answered["remedy"]
    await server.http.patch("/api/workers/press-01", json={"enabled": True}, headers=admin)
    assert (await server.token_by_key(*press)).status_code == 200


async def test_an_unproven_caller_does_not_learn_that_a_worker_is_disabled(server, admin, press):
    """Without the key, the answer is the same as for an enabled Worker."""
    await server.http.patch("/api/workers/press-01", json={"enabled": False}, headers=admin)

    answer = await server.token_by_key("press-01", unknown_api_key())

    assert "code" not in answer.json()


async def test_metrics_do_not_reveal_the_cause_of_a_refusal(server, press):
    """All unproven attempts are counted under one label, so a reader of `/metrics` cannot tell which of them failed how."""
    await server.token_by_key("nobody", unknown_api_key())
    await server.token_by_key("press-01", unknown_api_key())

    text = (await server.http.get("/metrics")).text

    assert 'lyftdata_refusals_total{cause="unproven"} 2.0' in text
    assert "wrong_api_key" not in text


# --- the limit on failures -------------------------------------------------------------------------------


async def test_a_flood_of_failures_is_limited_and_the_right_key_still_passes(server, press):
    """After the burst, wrong keys get 429 with Retry-After; the right key from the same address is always accepted."""
    answers = [await server.token_by_key("press-01", unknown_api_key()) for _ in range(30)]

    assert [a.status_code for a in answers[:20]] == [401] * 20
    assert [a.status_code for a in answers[20:]] == [429] * 10
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert (await server.token_by_key(*press)).status_code == 200
    assert await server.cause(answers[-1]) == "rate_limited"


async def test_a_flood_of_failures_stores_a_bounded_number_of_refusals(server):
    """Beyond the limit, attempts share one reference a minute, so a flood fills neither memory nor disk."""
    for _ in range(200):
        await server.token_by_key("press-01", unknown_api_key())

    assert len(server.services.refusals._pending) <= 21
    await server.services.refusals.flush()
    assert server.services.refusals._pending == []


async def test_a_disabled_worker_cannot_flood_the_refusal_log(server, admin, press):
    """Refusals of a Worker that has proved its key are bounded too; every answer still has the cause."""
    await server.http.patch("/api/workers/press-01", json={"enabled": False}, headers=admin)
    answers = []
    for _ in range(5):
        answers += [await server.token_by_key(*press) for _ in range(40)]
        await server.services.refusals.flush()
    page = (await server.http.get("/api/refusals?q=press-01", headers=admin)).json()["items"]

    assert {a.json()["code"] for a in answers} == {"worker_disabled"}
    assert sum(group["count"] for group in page) <= 22
    assert await server.cause(answers[-1]) == "worker_disabled"


async def test_an_invalid_token_is_reported_as_invalid_from_a_limited_address(server, admin, press):
    """A disabled Worker behind a busy address must learn that its token is invalid, or it would go on working."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    for _ in range(30):
        await server.token_by_key("w", "wrong")
    await server.http.patch("/api/workers/press-01", json={"enabled": False}, headers=admin)

    answer = await server.http.post(
        "/api/worker/session",
        json={"boot_id": "boot-0001"},
        headers={"Authorization": f"Bearer {token}"},
    )

    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


async def test_the_limit_counts_each_address_separately(server):
    """Failures from one address do not limit another."""
    for _ in range(25):
        await server.token_by_key("press-01", unknown_api_key())
    async with server.from_address("192.0.2.7") as other:
        answer = await other.post("/oauth2/token", data=GRANT, auth=("press-01", unknown_api_key()))

    assert answer.status_code == 401


# --- the protocol ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "authorization_code"}, "unsupported_grant_type"),
        ({"grant_type": "password", "username": "admin", "password": "x"}, "unsupported_grant_type"),
        (GRANT | {"client_id": "a", "client_secret": "b", "client_assertion": "c"}, "invalid_request"),
        (GRANT | {"client_assertion": "a.b.c"}, "invalid_request"),
        (GRANT | {"client_assertion": "a.b.c", "client_assertion_type": "other"}, "invalid_request"),
        (
            GRANT | {"client_id": "b", "client_assertion": "a.b.c", "client_assertion_type": ASSERTION_TYPE},
            "invalid_request",
        ),
        (GRANT | {f"f{n}": "" for n in range(30)}, "invalid_request"),
    ],
)
async def test_a_request_that_breaks_the_protocol_gets_the_standard_error(server, form, error):
    """The codes are those of RFC 6749, section 5.2."""
    answer = await server.http.post("/oauth2/token", data=form)

    assert answer.status_code == 400
    assert answer.json()["error"] == error
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        ("grant_type=client_credentials&grant_type=client_credentials", {}, 400),
        ("grant_type=%ff%fe", {}, 400),
        (b"grant_type=\xff", {}, 400),
        ("{}", {"Content-Type": "application/json"}, 400),
        ("x" * 20_000, {}, 413),
        ("grant_type=client_credentials", {"Authorization": "Basic !!!"}, 400),
        ("grant_type=client_credentials", {"Authorization": b"Basic \xe9\xe9"}, 400),
        ("grant_type=client_credentials", {"Authorization": "Basic bm9jb2xvbg=="}, 400),
        ("grant_type=client_credentials", {"Authorization": "Bearer x"}, 400),
        ("grant_type=client_credentials&client_secret=x&client_id=a", {"Authorization": "Basic YTpi"}, 400),
        ("grant_type=client_credentials&client_id=other", {"Authorization": "Basic YTpi"}, 400),
    ],
)
async def test_a_body_or_header_that_cannot_be_parsed_is_rejected(server, content, headers, status):
    """Repeated parameters, wrong encodings, types and sizes, and two ways to authenticate."""
    given: dict[str, Any] = {"Content-Type": "application/x-www-form-urlencoded"} | headers
    answer = await server.http.post("/oauth2/token", content=content, headers=given)

    assert answer.status_code == status
    assert answer.json()["error"] == "invalid_request"


ALL_EMPTY = "client_id=&client_secret=&client_assertion=&client_assertion_type=&resource=&audience=&scope=&unknown=&bare"


async def post_raw(server, content, path="token", **headers):
    """Post a form exactly as it is written."""
    given = {"Content-Type": "application/x-www-form-urlencoded"} | headers
    return await server.http.post(f"/oauth2/{path}", content=content, headers=given)


def basic(worker_id, key):
    """Return a Basic Authorization header."""
    return "Basic " + base64.b64encode(f"{worker_id}:{key}".encode()).decode()


async def test_an_empty_parameter_counts_as_omitted(server, press):
    """RFC 6749, section 3.2: with each way to authenticate, every other parameter may be sent empty."""
    worker_id, key = await server.enrolled()
    ways = {
        "basic": ("", {"Authorization": basic(*press)}),
        "post": (f"&client_id={press[0]}&client_secret={press[1]}", {}),
        "assertion": (
            f"&client_assertion_type={ASSERTION_TYPE}&client_assertion={server.assertion(key, worker_id)}",
            {},
        ),
    }
    for content, headers in ways.values():
        names = {part.partition("=")[0] for part in content.split("&")}
        empty = "&".join(part for part in ALL_EMPTY.split("&") if part.partition("=")[0] not in names)
        answer = await post_raw(server, f"grant_type=client_credentials{content}&{empty}", **headers)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("content", "answered"),
    [
        ("grant_type=&client_id=x&client_secret=y", (400, "invalid_request")),
        ("grant_type", (400, "invalid_request")),
        ("grant_type=client_credentials&client_id=press-01&client_secret=", (401, "invalid_client")),
        ("grant_type=client_credentials&client_id=&client_secret=x", (401, "invalid_client")),
        ("grant_type=client_credentials&client_assertion=&client_assertion_type=x", (401, "invalid_client")),
    ],
)
async def test_a_required_parameter_that_is_empty_is_missing(server, press, content, answered):
    """The answer is the same as without the parameter."""
    answer = await post_raw(server, content)

    assert (answer.status_code, answer.json()["error"]) == answered


async def test_operators_see_which_worker_sent_an_empty_secret(server, admin, press):
    """The refusal has `missing_credentials` and names the Worker."""
    answer = await post_raw(server, "grant_type=client_credentials&client_id=press-01&client_secret=")
    found = (await server.http.get(f"/api/refusals/{answer.json()['reference']}", headers=admin)).json()

    assert (found["code"], found["claimed_worker"]) == ("missing_credentials", "press-01")


@pytest.mark.parametrize(
    ("repeated", "error"),
    [
        ("client_id=&client_id=", "invalid_request"),
        ("scope=&scope=read", "invalid_request"),
        ("unknown=1&unknown=2", "invalid_request"),
        ("grant_type=", "invalid_request"),
        ("resource=urn:a&resource=urn:b", "invalid_target"),
        ("resource=urn:a&resource=urn:a", "invalid_target"),
        ("resource=&resource=urn:a", "invalid_target"),
        ("audience=urn:a&audience=urn:b", "invalid_target"),
        ("resource=urn:a&resource=urn:b&scope=a&scope=b", "invalid_request"),
    ],
)
async def test_a_repeated_parameter_is_rejected(server, press, repeated, error):
    """Also if one of the two is empty. For several resources RFC 8707 defines a code of its own."""
    content = f"grant_type=client_credentials&{repeated}"
    answer = await post_raw(server, content, Authorization=basic(*press))

    assert (answer.status_code, answer.json()["error"]) == (400, error)


@pytest.mark.parametrize("path", ["token", "introspect", "revoke"])
@pytest.mark.parametrize("query", ["resource=urn:a", "client_secret=x", "token=x", "x=1&scope=read"])
async def test_parameters_in_the_url_are_rejected(server, press, path, query):
    """They would have no effect, and secrets in them end up in logs. Parameters without a meaning here are ignored."""
    content = "grant_type=client_credentials&token=x"
    answer = await post_raw(server, content, f"{path}?{query}", Authorization=basic(*press))

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert "URL" in answer.json()["error_description"]
    assert (
        await post_raw(server, content, f"{path}?x=1&scope=", Authorization=basic(*press))
    ).status_code == 200


@pytest.mark.parametrize("length", [1, 2, 3])
async def test_basic_credentials_may_lack_base64_padding(server, admin, length):
    """For each of the three lengths of padding, all or part of it may be missing."""
    worker_id = "w" * length
    body = {"name": worker_id, "id": worker_id, "issue_key": True}
    key = (await server.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"]
    padded = basic(worker_id, key)
    for shown in {padded, padded.rstrip("="), padded.removesuffix("=")}:
        answer = await post_raw(server, "grant_type=client_credentials", Authorization=shown)
        assert answer.status_code == 200, shown


@pytest.mark.parametrize("odd", [[], {}, 5, None, True, [["x"]]])
@pytest.mark.parametrize("member", ["typ", "alg", "kid"])
async def test_an_assertion_with_an_odd_header_does_not_reveal_known_workers(server, press, member, odd):
    """A header member of the wrong type is refused in the same way for known and unknown Workers."""
    worker_id, _ = await server.enrolled()
    answers = []
    for name in (worker_id, "w-nobody", press[0]):
        header = {"alg": "ES256", "typ": "JWT"} | {member: odd}
        answers.append(await server.token_by_assertion(join(header, {"sub": name, "iss": name}, bytes(64))))

    assert {a.status_code for a in answers} == {401}
    assert (await server.verify(join({"alg": "ES256", member: odd}, {}, bytes(64)))).status_code == 401


async def test_a_key_sent_as_an_id_from_a_limited_address_is_not_logged(server, admin, press):
    """The shared refusal of an address names the Worker that was claimed; if that is an API key, its secret part is masked."""
    answer = [await server.token_by_key(press[1], "press-01") for _ in range(25)][-1]
    refusals = (await server.http.get("/api/refusals", headers=admin)).text
    one = (await server.http.get(f"/api/refusals/{answer.json()['reference']}", headers=admin)).text

    assert answer.status_code == 429
    assert f"{press[1][:20]}***" in one
    assert press[1][20:] not in refusals + one


async def test_a_key_sent_as_an_id_is_not_logged(server, press):
    """If ID and key are swapped, operators see the key's public part and never its secret part."""
    answer = await server.token_by_key(press[1], "press-01")
    admin = await server.sign_in()
    refusal = (await server.http.get(f"/api/refusals/{answer.json()['reference']}", headers=admin)).text

    assert press[1][20:] not in refusal
    assert f"{press[1][:20]}***" in refusal


async def test_get_is_not_a_token_request(server):
    """Credentials do not belong in a URL."""
    assert (await server.http.get("/oauth2/token?grant_type=client_credentials")).status_code == 405


async def test_odd_credentials_are_refused_and_shown_cleaned(server):
    """Empty, huge, binary and hostile text is refused like any other, and is cleaned before operators see it."""
    for worker_id, key in (("", ""), ("x" * 5000, "y" * 5000), ("a\x1b[31m\nb", "\x00"), ("é" * 50, "日本")):
        answer = await server.token_by_key(worker_id, key)
        assert answer.status_code == 401
        await server.services.refusals.flush()
    admin = await server.sign_in()
    groups = (await server.http.get("/api/refusals", headers=admin)).json()["items"]
    assert all(
        group["claimed_worker"].isprintable() or "\ufffd" in group["claimed_worker"] for group in groups
    )
    assert all(
        "\x1b" not in group["claimed_worker"] and len(group["claimed_worker"]) <= 128 for group in groups
    )


async def test_tokens_are_issued_and_verified_without_the_database(server, press, monkeypatch):
    """The store is neither read nor written before the answer."""

    async def forbidden(*_args):
        pytest.fail("the store was asked")

    monkeypatch.setattr(server.services.store, "read", forbidden)
    monkeypatch.setattr(server.services.store, "write", forbidden)
    answer = await server.token_by_key(*press)
    assert answer.status_code == 200
    assert (await server.verify(answer.json()["access_token"])).status_code == 204
    assert (await server.token_by_key("nobody", unknown_api_key())).status_code == 401
    monkeypatch.undo()


async def test_no_secret_sent_as_an_id_is_logged(server, admin, press):
    """Not the enrollment key, a session, part of a key, a token, or another system's secret."""
    key = press[1]
    token = (await server.token_by_key(*press)).json()["access_token"]
    others = "Qm4rTz8Wb2Xk6Vn1Ys5Lp9Hc3Jd7Gf0A"
    in_hex, in_base32 = "9f86d081884c7d659a2feaa0c55ad015", "MFRGGZDFMZTWQ2LKNNWG23TPOBYXE4A7"
    session = admin["Authorization"].removeprefix("Bearer ")
    for secret in (
        ENROLLMENT_KEY,
        session,
        key[1:],
        key[9:],
        token,
        others,
        in_hex,
        in_base32,
        f"x {ENROLLMENT_KEY} y",
    ):
        await server.token_by_key(secret, key)
        await server.http.get("/auth/verify", headers={"Authorization": f"Bearer {secret}"})

    kept = (await server.http.get("/api/refusals", headers=admin)).text
    for secret in (
        ENROLLMENT_KEY,
        session[-20:],
        key[20:],
        token[-40:],
        others[4:],
        in_hex[4:],
        in_base32[4:],
    ):
        assert secret not in kept


@pytest.mark.parametrize(
    "worker_id",
    ["press-01", "PressHallNorth.Worker-0001.eu", "6f1c2a7e-0b6e-4c1e-9b1a-3f5d8e7a2c10", "a" * 64],
)
async def test_an_ordinary_id_is_logged_unchanged(server, admin, press, worker_id):
    """Masking secrets does not hide the IDs that operators look for."""
    answer = await server.token_by_key(worker_id, press[1] + "x")
    found = (await server.http.get(f"/api/refusals/{answer.json()['reference']}", headers=admin)).json()
    assert found["claimed_worker"] == worker_id


async def test_the_id_of_an_existing_worker_is_never_masked(server, admin):
    """An operator may choose an ID that looks like a secret: a known Worker's ID is not one."""
    odd = "Qm4rTz8Wb2Xk6Vn1Ys5Lp9Hc3Jd7Gf0B"
    await server.http.post("/api/workers", json={"name": "odd", "id": odd}, headers=admin)
    answer = await server.token_by_key(odd, "nonsense")
    found = (await server.http.get(f"/api/refusals/{answer.json()['reference']}", headers=admin)).json()
    assert found["claimed_worker"] == odd


async def test_an_assertion_is_parsed_equally_often_for_any_worker(server, press, monkeypatch):
    """If it were parsed once more for an unknown Worker, the time for a large assertion would show who is enrolled."""
    enrolled, _ = await server.enrolled()
    reads = {}
    real = _jose.UnverifiedJws
    for worker_id in (enrolled, "press-01", "nobody"):
        count: list[str] = []

        def counted(unverified, count=count):
            count.append(unverified)
            return real(unverified)

        monkeypatch.setattr(assertions, "UnverifiedJws", counted)
        assertion = server.assertion(generate_identity_key(), worker_id)
        assert (await server.token_by_assertion(assertion)).status_code == 401
        reads[worker_id] = len(count)

    assert len(set(reads.values())) == 1


async def test_a_pending_refusal_does_not_keep_the_request_in_memory(server, press):
    """Until it is written, it holds neither the request nor the exception, whose frames would hold the request."""
    collects = gc.isenabled()
    gc.disable()
    try:
        await server.token_by_key("x" * 15_000, "nonsense")
        # Garbage collection is off, so this also finds objects that only a reference cycle keeps.
        held = [one for one in gc.get_objects() if issubclass(type(one), RefusedError)]
    finally:
        if collects:
            gc.enable()
    (pending,) = server.services.refusals._pending
    assert len(pending.claimed_worker) <= 1_024
    assert [one for one in held if one.claimed_worker.startswith("xxx")] == []
