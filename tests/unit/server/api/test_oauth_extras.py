"""Tokens for other services (RFC 8707), proofs of possession (RFC 9449), introspection, revocation, self-management."""

import base64
import hashlib
import json
from datetime import timedelta

import pytest
from tests.builders import ENROLLMENT_KEY, ISSUER

from lyftdata.core._jose import sign
from lyftdata.core.identity_keys import generate_identity_key

AUDIENCE = "https://broker.example"
OTHER = "https://other.example"


def claims_of(token):
    """Read a token's claims without checking it."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


async def define(server, admin, name="broker", audience=AUDIENCE, **fields):
    """Define a resource."""
    body = {"name": name, "audience": audience, "scopes": ["read", "write"]} | fields
    answer = await server.http.post("/api/resources", json=body, headers=admin)
    assert answer.status_code == 201, answer.text
    return answer.json()


# --- tokens for another service --------------------------------------------------------------------------


async def test_a_resource_is_for_nobody_until_somebody_is_chosen(server, admin, press):
    """Default deny; chosen by ID the Worker gets all of its scopes, and a token that is not for this Server."""
    await define(server, admin)
    refused = await server.token_by_key(*press, resource=AUDIENCE)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_target")
    assert refused.json()["code"] == "resource_not_granted"

    await server.http.patch("/api/resources/broker", json={"worker_ids": ["press-01"]}, headers=admin)
    given = (await server.token_by_key(*press, resource=AUDIENCE)).json()

    claims = claims_of(given["access_token"])
    assert (claims["aud"], claims["scope"], given["scope"]) == (AUDIENCE, "read write", "read write")
    assert (await server.verify(given["access_token"])).status_code == 401
    poll = await server.http.post(
        "/api/worker/session",
        json={"boot_id": "boot-0001"},
        headers={"Authorization": f"Bearer {given['access_token']}"},
    )
    assert poll.status_code == 401


async def test_a_new_worker_under_an_old_id_inherits_no_resource(server, admin, press):
    """Deleted, a Worker is named by no resource any more: anyone who gets its ID later starts with nothing."""
    await define(server, admin, worker_ids=["press-01"])
    assert (await server.token_by_key(*press, resource=AUDIENCE)).status_code == 200
    await server.http.delete("/api/workers/press-01", headers=admin)
    body = {"name": "another", "id": "press-01", "issue_key": True}
    made = (await server.http.post("/api/workers", json=body, headers=admin)).json()

    refused = await server.token_by_key("press-01", made["api_key"]["key"], resource=AUDIENCE)

    assert (refused.status_code, refused.json()["code"]) == (400, "resource_not_granted")


async def test_an_unknown_resource_reads_like_one_that_is_not_for_it(server, admin, press):
    """Nobody finds out by asking which services there are."""
    await define(server, admin)
    answers = [await server.token_by_key(*press, resource=audience) for audience in (AUDIENCE, OTHER)]
    told = [a.json() | {"reference": ""} for a in answers]
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("scope", "given"),
    [
        ("", "read write"),
        ("read", "read"),
        ("write read write", "read write"),
        ("admin", None),
        ("read admin", None),
    ],
)
async def test_a_worker_gets_what_the_resource_has_and_no_more(server, admin, press, scope, given):
    """A part of the scopes, all if none is named, and a refusal for what is not there."""
    await define(server, admin, worker_ids=["press-01"])

    answer = await server.token_by_key(*press, resource=AUDIENCE, scope=scope)

    if given is None:
        assert (answer.status_code, answer.json()["error"], answer.json()["code"]) == (
            400,
            "invalid_scope",
            "scope_not_granted",
        )
    else:
        assert claims_of(answer.json()["access_token"])["scope"] == given


# --- clients that cannot name a resource, or name it by another parameter --------------------------------


async def two_resources(server, admin, **other):
    """Define `broker` for the Worker, and `other` with scopes of its own and one that both have."""
    await define(server, admin, worker_ids=["press-01"], scopes=["read", "write", "both"])
    await define(server, admin, "other", OTHER, **({"scopes": ["list", "drop", "both"]} | other))


@pytest.mark.parametrize(
    ("scope", "audience", "granted"),
    [
        ("read", AUDIENCE, "read"),
        ("write read read", AUDIENCE, "read write"),
        ("both read", AUDIENCE, "both read"),
        ("list", OTHER, "list"),
        ("drop both", OTHER, "both drop"),
    ],
)
async def test_a_scope_picks_the_one_resource_that_has_it(server, admin, press, scope, audience, granted):
    """A client that can send only `scope` gets a token for the one resource that has every scope it names."""
    await two_resources(server, admin, worker_ids=["press-01"])

    given = (await server.token_by_key(*press, scope=scope)).json()

    claims = claims_of(given["access_token"])
    assert (claims["aud"], claims["scope"], given["scope"]) == (audience, granted, granted)


@pytest.mark.parametrize(
    ("scope", "error", "code"),
    [
        ("both", "invalid_target", "scope_ambiguous"),
        ("read list", "invalid_scope", "scope_unknown"),
        ("read nothing", "invalid_scope", "scope_unknown"),
        ("openid", "invalid_scope", "scope_unknown"),
        ("READ", "invalid_scope", "scope_unknown"),
    ],
)
async def test_a_scope_that_picks_none_or_several_is_refused(server, admin, press, scope, error, code):
    """No token is given for a guess: nothing has all of the scopes, or more than one resource has."""
    await two_resources(server, admin, worker_ids=["press-01"])

    answer = await server.token_by_key(*press, scope=scope)

    told = answer.json()
    assert (answer.status_code, told["error"], told["code"], told["final"]) == (400, error, code, False)
    assert "named no service" in told["error_description"]


async def test_only_granted_resources_count(server, admin, press):
    """A resource that is not for this Worker neither makes a scope ambiguous nor shows in the answer."""
    await two_resources(server, admin)
    assert (
        claims_of((await server.token_by_key(*press, scope="both")).json()["access_token"])["aud"] == AUDIENCE
    )

    ungranted = (await server.token_by_key(*press, scope="list")).json()
    unknown = (await server.token_by_key(*press, scope="nothing")).json()

    assert ungranted | {"reference": ""} == unknown | {"reference": ""}
    told = (await server.http.get(f"/api/refusals/{ungranted['reference']}", headers=admin)).json()
    assert "'other'" in told["detail"]


async def test_a_scope_alone_gives_no_token_for_this_server(server, press):
    """Neither unnamed nor named does this Server have scopes to give."""
    assert (await server.token_by_key(*press, scope="read")).json()["code"] == "scope_unknown"
    named = await server.token_by_key(*press, scope="read", resource=ISSUER)
    assert (named.json()["error"], named.json()["code"]) == ("invalid_scope", "scope_not_granted")


async def test_spaces_are_not_every_scope(server, admin, press):
    """A scope of spaces is malformed; taken for an omitted one it would give all scopes."""
    await define(server, admin, worker_ids=["press-01"])
    for form in ({}, {"resource": AUDIENCE}):
        answer = await server.token_by_key(*press, scope="  ", **form)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")


@pytest.mark.parametrize(
    ("form", "aud"),
    [
        ({"audience": AUDIENCE}, AUDIENCE),
        ({"audience": AUDIENCE, "resource": AUDIENCE, "scope": "read"}, AUDIENCE),
        ({"audience": AUDIENCE, "resource": ""}, AUDIENCE),
        ({"audience": AUDIENCE + "/"}, AUDIENCE),
        ({"audience": ISSUER}, ISSUER),
        ({"audience": ISSUER + "/"}, ISSUER),
    ],
)
async def test_audience_is_another_name_of_resource(server, admin, press, form, aud):
    """Clients of Auth0 and Okta send it; alone, or with a `resource` that says the same."""
    await define(server, admin, worker_ids=["press-01"])
    answer = await server.token_by_key(*press, **form)
    assert claims_of(answer.json()["access_token"])["aud"] == aud


async def test_a_url_without_a_path_has_two_spellings(server, admin, press):
    """With and without the final slash it names one resource, and two where an operator has defined both."""
    await define(server, admin, audience=AUDIENCE + "/", worker_ids=["press-01"])
    asked = [AUDIENCE, AUDIENCE + "/"]
    one = [(await server.token_by_key(*press, resource=name)).json()["access_token"] for name in asked]
    await define(server, admin, "second", AUDIENCE, worker_ids=["press-01"])
    two = [(await server.token_by_key(*press, resource=name)).json()["access_token"] for name in asked]

    assert [claims_of(token)["aud"] for token in one] == [AUDIENCE + "/"] * 2
    assert [claims_of(token)["aud"] for token in two] == asked


@pytest.mark.parametrize(
    "form",
    [
        {"audience": OTHER},
        {"audience": "broker"},
        {"audience": AUDIENCE + "/x"},
        {"audience": AUDIENCE + "//"},
        {"audience": AUDIENCE.upper()},
        {"audience": AUDIENCE, "resource": OTHER},
        {"audience": AUDIENCE, "resource": ISSUER},
    ],
)
async def test_an_audience_that_is_not_granted_is_refused(server, admin, press, form):
    """Unknown, spelled differently, or not the one that `resource` names: no token, rather than one for this Server."""
    await define(server, admin, worker_ids=["press-01"])
    answer = await server.token_by_key(*press, **form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("aud", "invalid_target"),
        ("audiences", "invalid_target"),
        ("resources", "invalid_target"),
        ("scopes", "invalid_scope"),
        ("authorization_details", "invalid_authorization_details"),
        *(
            (name, "invalid_request")
            for name in (
                "claims",
                "request",
                "request_uri",
                "subject_token",
                "subject_token_type",
                "actor_token",
                "actor_token_type",
                "requested_subject",
                "requested_actor",
                "assertion",
                "username",
                "password",
                "login_hint",
                "id_token_hint",
                "requested_token_type",
                "token_format",
                "req_cnf",
                "dpop_jkt",
            )
        ),
    ],
)
async def test_what_would_change_a_token_is_refused_and_never_dropped(server, press, name, error):
    """A token without what the client asked for would be good for something else; sent empty, it asks for nothing."""
    answer = await server.token_by_key(*press, **{name: "x"})

    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert f" {name} " in answer.json()["error_description"]
    assert (await server.token_by_key(*press, **{name: ""})).status_code == 200


@pytest.mark.parametrize("name", ["state", "nonce", "redirect_uri", "code_verifier", "x_tenant", "display"])
async def test_other_unknown_parameters_are_ignored(server, press, name):
    """RFC 6749, section 3.2, says so, and the token is the same without them."""
    assert (await server.token_by_key(*press, **{name: "x"})).status_code == 200


@pytest.mark.parametrize(
    ("fields", "by_key", "enrolled"),
    [
        ({}, False, False),
        ({"for_all_workers": True}, True, False),
        ({"labels": ["zone=eu-1"]}, True, False),
        ({"labels": ["zone"]}, True, False),
        ({"labels": ["zone=eu-2", "gpu"]}, False, False),
        ({"worker_names": ["press"]}, True, False),
        ({"worker_names": ["press"], "include_enrolled": True}, True, True),
        ({"labels": ["zone=eu-1"], "include_enrolled": True}, True, True),
        ({"for_all_workers": True, "include_enrolled": True}, True, True),
    ],
)
async def test_labels_and_names_of_enrolled_workers_are_their_own_word(
    server, admin, fields, by_key, enrolled
):
    """They count only where an operator has said so outright; those that an operator gave always do."""
    body = {"name": "press", "id": "press", "labels": {"zone": "eu-1"}, "issue_key": True}
    key = (await server.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"]
    await server.http.patch("/api/workers/press", json={"name": "other"}, headers=admin)
    identity = generate_identity_key()
    worker_id = (await server.register(identity, "press", labels={"zone": "eu-1"})).json()["client_id"]
    await server.http.patch("/api/workers/press", json={"name": "press 2"}, headers=admin)
    fields = fields | ({"worker_names": ["press", "press 2"]} if "worker_names" in fields else {})
    await define(server, admin, **fields)

    form = {"client_assertion": server.assertion(identity, worker_id), "resource": AUDIENCE}
    by_identity = await server.http.post(
        "/oauth2/token",
        data=form
        | {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        },
    )
    by_secret = await server.token_by_key("press", key, resource=AUDIENCE)

    assert (by_secret.status_code == 200, by_identity.status_code == 200) == (by_key, enrolled)


async def test_an_enrolled_worker_can_be_chosen_by_id(server, admin):
    """IDs are given by the Server: nobody can claim another's."""
    worker_id, _ = await server.enrolled()
    assert (await define(server, admin, worker_ids=[worker_id]))["workers"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "audience": AUDIENCE},
        {"name": "a b", "audience": AUDIENCE},
        {"name": "ok", "audience": ""},
        {"name": "ok", "audience": "https://a b"},
        {"name": "ok", "audience": "https://x.example/#f"},
        {"name": "ok", "audience": ISSUER},
        {"name": "ok", "audience": ISSUER + "/"},
        {"name": "ok", "audience": "https://x.example/" + "a" * 300},
        {"name": "ok", "audience": AUDIENCE, "scopes": ["a b"]},
        {"name": "ok", "audience": AUDIENCE, "scopes": ['"']},
        {"name": "ok", "audience": AUDIENCE, "scopes": [f"s{n}" for n in range(33)]},
        {"name": "ok", "audience": AUDIENCE, "labels": ["a=1,b=2"]},
        {"name": "ok", "audience": AUDIENCE, "labels": [""]},
        {"name": "ok", "audience": AUDIENCE, "worker_ids": ["-x"]},
    ],
)
async def test_resources_that_make_no_sense(server, admin, body):
    """The field is named, and nothing is kept."""
    answer = await server.http.post("/api/resources", json=body, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert (await server.http.get("/api/resources", headers=admin)).json()["items"] == []


async def test_names_and_audiences_are_taken_once(server, admin):
    """Two services cannot be one in a token."""
    await define(server, admin)
    for body, code in (
        ({"name": "broker", "audience": OTHER}, "resource_name_taken"),
        ({"name": "second", "audience": AUDIENCE}, "resource_audience_taken"),
    ):
        answer = await server.http.post("/api/resources", json=body, headers=admin)
        assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert (await server.http.get("/api/resources/none", headers=admin)).json()[
        "code"
    ] == "resource_not_found"


async def test_resources_outlive_a_restart_and_are_audited(opened):
    """Defined, changed, given a key, deleted: each with who did it."""
    async with opened() as server:
        admin = await server.sign_in()
        await define(server, admin)
        clock = server.clock
    async with opened(clock) as server:
        admin = await server.sign_in()
        await server.http.patch("/api/resources/broker", json={"scopes": ["read"]}, headers=admin)
        await server.http.post("/api/resources/broker/key", headers=admin)
        assert (await server.http.get("/api/resources/broker", headers=admin)).json()["scopes"] == ["read"]
        assert (await server.http.delete("/api/resources/broker", headers=admin)).status_code == 204
        events = (
            await server.http.get("/api/audit", params={"subject": "resource:broker"}, headers=admin)
        ).json()
        assert [e["action"] for e in events["items"]] == [
            "resource.deleted",
            "resource.key_issued",
            "resource.changed",
            "resource.created",
        ]


# --- introspection ---------------------------------------------------------------------------------------


async def ask(server, client_id, secret, token, path="introspect"):
    """Ask about a token, by Basic."""
    return await server.http.post(f"/oauth2/{path}", data={"token": token}, auth=(client_id, secret))


async def with_key(server, admin, name="broker"):
    """Return the key of a resource."""
    return (await server.http.post(f"/api/resources/{name}/key", headers=admin)).json()["key"]


async def test_a_resource_reads_what_a_token_for_it_is_worth_now(server, admin, press):
    """Who, for how long, with which scopes; of the present entry, not of what the token once said."""
    await define(server, admin, worker_ids=["press-01"])
    key = await with_key(server, admin)
    token = (await server.token_by_key(*press, resource=AUDIENCE)).json()["access_token"]
    await server.http.patch("/api/workers/press-01", json={"name": "The press"}, headers=admin)

    told = (await ask(server, "broker", key, token)).json()

    assert told["active"] is True
    assert (told["client_id"], told["sub"], told["aud"], told["iss"]) == (
        "press-01",
        "press-01",
        AUDIENCE,
        ISSUER,
    )
    assert (told["scope"], told["worker_name"], told["token_type"]) == ("read write", "The press", "Bearer")
    assert told["exp"] - told["iat"] == 900
    await server.http.patch("/api/resources/broker", json={"scopes": ["read"]}, headers=admin)
    assert (await ask(server, "broker", key, token)).json()["scope"] == "read"


@pytest.mark.parametrize("how", ["disable", "take out", "expire", "delete resource", "revoke key"])
async def test_what_is_taken_back_is_not_active(server, admin, press, how):
    """The very next question is answered with no."""
    await define(server, admin, worker_ids=["press-01"])
    key = await with_key(server, admin)
    token = (await server.token_by_key(*press, resource=AUDIENCE)).json()["access_token"]
    match how:
        case "disable":
            await server.http.patch("/api/workers/press-01", json={"enabled": False}, headers=admin)
        case "take out":
            await server.http.patch("/api/resources/broker", json={"worker_ids": []}, headers=admin)
        case "expire":
            server.clock.forward(seconds=900)
        case "delete resource":
            await server.http.delete("/api/resources/broker", headers=admin)
        case "revoke key":
            (worker_key,) = (await server.http.get("/api/api-keys", headers=admin)).json()["items"]
            await server.http.post(f"/api/api-keys/{worker_key['name']}/revoke", headers=admin)

    answer = await ask(server, "broker", key, token)

    if how == "delete resource":
        assert answer.status_code == 401
    else:
        assert answer.json() == {"active": False}


async def test_nobody_reads_of_others_tokens(server, admin, press):
    """A resource of tokens for another, a Worker of another's: not active, and nothing else."""
    await define(server, admin, for_all_workers=True)
    await define(server, admin, name="other", audience=OTHER, for_all_workers=True)
    body = {"name": "press-02", "id": "press-02", "issue_key": True}
    second = (await server.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"]
    other = await with_key(server, admin, "other")
    token = (await server.token_by_key(*press, resource=AUDIENCE)).json()["access_token"]
    plain = (await server.token_by_key(*press)).json()["access_token"]

    for client_id, secret, asked in (
        ("other", other, token),
        ("other", other, plain),
        ("press-02", second, token),
        ("press-02", second, plain),
        ("press-01", press[1], "nonsense"),
        ("press-01", press[1], token[:-4] + "AAAA"),
    ):
        assert (await ask(server, client_id, secret, asked)).json() == {"active": False}
    assert (await ask(server, "press-01", press[1], plain)).json()["active"] is True
    assert (await ask(server, "press-01", press[1], token)).json()["active"] is True


async def test_the_caller_proves_who_asks(server, admin, press):
    """No credential, a wrong one, another's name, a key that was replaced, a bearer token: the same 401 for all."""
    await define(server, admin, for_all_workers=True)
    old = await with_key(server, admin)
    key = await with_key(server, admin)
    token = (await server.token_by_key(*press, resource=AUDIENCE)).json()["access_token"]
    answers = [
        await server.http.post("/oauth2/introspect", data={"token": token}),
        await server.http.post(
            "/oauth2/introspect", data={"token": token}, headers={"Authorization": "Bearer x"}
        ),
        await ask(server, "broker", old, token),
        await ask(server, "other", key, token),
        await ask(server, "press-01", key, token),
        await ask(server, "broker", press[1], token),
        await ask(server, "broker", "nonsense", token),
    ]
    assert [a.status_code for a in answers] == [401, 400, 401, 401, 401, 401, 401]
    same = {json.dumps(a.json() | {"reference": ""}) for a in answers if a.status_code == 401}
    assert len(same) == 1
    assert (await server.http.post("/oauth2/introspect", data={}, auth=("broker", key))).json()[
        "error"
    ] == "invalid_request"


async def test_a_resources_key_is_no_workers(server, admin, press):
    """It gets no token, whatever Worker it names."""
    await define(server, admin, for_all_workers=True)
    key = await with_key(server, admin)
    for name in ("broker", "press-01"):
        assert (await server.token_by_key(name, key)).status_code == 401


@pytest.mark.parametrize("path", ["introspect", "revoke"])
async def test_empty_parameters_are_omitted_ones(server, press, path):
    """A hint or a second way to authenticate that is sent without a value is not there; an empty token is missing."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    empty = dict.fromkeys(("token_type_hint", "client_id", "client_secret", "client_assertion"), "")

    answer = await server.http.post(f"/oauth2/{path}", data=empty | {"token": token}, auth=press)
    missing = await server.http.post(f"/oauth2/{path}", data=empty | {"token": ""}, auth=press)

    assert answer.status_code == 200
    assert (missing.status_code, missing.json()["error_description"]) == (400, "token is missing.")


# --- revocation ------------------------------------------------------------------------------------------


async def test_a_worker_takes_one_of_its_tokens_back(server, admin, press):
    """That one is dead everywhere, the others live; it stays so through a restart's memory and is audited."""
    first, second = [(await server.token_by_key(*press)).json()["access_token"] for _ in range(2)]

    answer = await ask(server, press[0], press[1], first, "revoke")

    assert (answer.status_code, answer.content) == (200, b"")
    assert await server.cause(await server.verify(first)) == "token_revoked"
    assert (await ask(server, press[0], press[1], first)).json() == {"active": False}
    assert (await server.verify(second)).status_code == 204
    (event,) = (
        await server.http.get("/api/audit", params={"action": "token.revoked"}, headers=admin)
    ).json()["items"]
    assert (event["actor"], event["details"]["jti"]) == ("worker:press-01", claims_of(first)["jti"])


async def test_a_restart_remembers_tokens_that_were_taken_back(opened):
    """Until they would have ended anyhow."""
    async with opened() as server:
        admin = await server.sign_in()
        body = {"name": "press-01", "id": "press-01", "issue_key": True}
        key = (await server.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"]
        token = (await server.token_by_key("press-01", key)).json()["access_token"]
        await ask(server, "press-01", key, token, "revoke")
        clock = server.clock
    async with opened(clock) as server:
        assert await server.cause(await server.verify(token)) == "token_revoked"


async def test_others_tokens_and_nonsense_are_not_revoked_and_not_told(server, admin, press):
    """RFC 7009: the answer is the same, whatever it was."""
    body = {"name": "press-02", "id": "press-02", "issue_key": True}
    second = (await server.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"]
    token = (await server.token_by_key(*press)).json()["access_token"]
    for asked in (token, "nonsense", token[:-4] + "AAAA"):
        assert (await ask(server, "press-02", second, asked, "revoke")).status_code == 200
    assert (await server.verify(token)).status_code == 204
    assert (await ask(server, "press-02", "wrong", token, "revoke")).status_code == 401


async def test_a_worker_that_revokes_without_end_is_told_to_wait(server, press):
    """Each is an event in the log: no Worker fills it."""
    answers = []
    for _ in range(25):
        token = (await server.token_by_key(*press)).json()["access_token"]
        answers.append((await ask(server, press[0], press[1], token, "revoke")).status_code)
    assert answers == [200] * 20 + [503] * 5


# --- proofs of possession --------------------------------------------------------------------------------


def dpop(key, server, *, method="POST", url=f"{ISSUER}/oauth2/token", header=None, **claims):
    """Make a proof."""
    server._jti += 1
    given = {"htm": method, "htu": url, "iat": int(server.clock().timestamp()), "jti": f"d{server._jti}"}
    token = claims.pop("token", None)
    if token is not None:
        given["ath"] = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.public.as_dict()} | (header or {})
    return sign(head, {k: v for k, v in (given | claims).items() if v is not None}, key=key.jose_key)


async def ask_bound(server, press, proof):
    """Ask for a token with a proof."""
    form = {"grant_type": "client_credentials", "client_id": press[0], "client_secret": press[1]}
    return await server.http.post("/oauth2/token", data=form, headers={"DPoP": proof})


async def bound(server, press, key):
    """Return a token bound to a key."""
    first = await ask_bound(server, press, dpop(key, server))
    assert (first.status_code, first.json()["error"]) == (400, "use_dpop_nonce")
    answer = await ask_bound(server, press, dpop(key, server, nonce=first.headers["dpop-nonce"]))
    assert answer.status_code == 200, answer.text
    assert answer.json()["token_type"] == "DPoP"
    assert answer.headers["dpop-nonce"]
    return answer.json()["access_token"]


async def show_bound(server, token, proof, scheme="DPoP"):
    """Show a bound token at `/auth/verify`."""
    return await server.http.get(
        "/auth/verify", headers={"Authorization": f"{scheme} {token}", "DPoP": proof}
    )


VERIFY = {"method": "GET", "url": f"{ISSUER}/auth/verify"}


async def test_a_bound_token_is_worth_nothing_without_its_key(server, press):
    """With a proof it passes; stolen, as a bearer token or with another's proof, it does not."""
    key, thief = generate_identity_key(), generate_identity_key()
    token = await bound(server, press, key)
    assert claims_of(token)["cnf"] == {"jkt": key.public.thumbprint}

    assert (await show_bound(server, token, dpop(key, server, token=token, **VERIFY))).status_code == 204
    assert (await server.verify(token)).status_code == 401
    assert (await show_bound(server, token, dpop(thief, server, token=token, **VERIFY))).status_code == 401
    assert (await show_bound(server, token, "nonsense")).status_code == 401


async def test_a_proof_is_used_once(server, press):
    """Captured together with the token it lets nobody in a second time."""
    key = generate_identity_key()
    token = await bound(server, press, key)
    proof = dpop(key, server, token=token, **VERIFY)
    assert [(await show_bound(server, token, proof)).status_code for _ in range(2)] == [204, 401]


async def test_a_bearer_token_is_not_shown_with_a_proof(server, press):
    """A token without `cnf` sent as DPoP is rejected: it is not bound to a key."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    key = generate_identity_key()
    assert (await show_bound(server, token, dpop(key, server, token=token, **VERIFY))).status_code == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "POST"},
        {"url": f"{ISSUER}/auth/other"},
        {"url": "https://evil.example/auth/verify"},
        {"url": "http://lyft.example/auth/verify"},
        {"ath": "x"},
        {"ath": None},
        {"iat": None},
        {"jti": None},
        {"header": {"typ": "JWT"}},
        {"header": {"alg": "none"}},
        {"header": {"jwk": {}}},
        {"header": {"jwk": "x"}},
        {"header": {"crit": ["x"]}},
        {"nonce": "made-up"},
    ],
)
async def test_proofs_that_are_not_for_this_request(server, press, wrong):
    """Another method, address, token, type, no time, no identifier, a nonce of nobody: refused."""
    key = generate_identity_key()
    token = await bound(server, press, key)
    try:
        proof = dpop(key, server, **({"token": token} | VERIFY | wrong))
    except Exception:  # noqa: BLE001 - the library itself will not sign this
        body = (
            base64.urlsafe_b64encode(json.dumps({"typ": "dpop+jwt"} | wrong["header"]).encode())
            .rstrip(b"=")
            .decode()
        )
        proof = f"{body}.e30.AA"
    assert (await show_bound(server, token, proof)).status_code == 401


@pytest.mark.parametrize(("seconds", "status"), [(-61, 401), (-60, 204), (5, 204), (6, 401)])
async def test_a_proof_is_of_now(server, press, seconds, status):
    """A minute old at most, and hardly of the future: both sides of both bounds."""
    key = generate_identity_key()
    token = await bound(server, press, key)
    iat = int((server.clock() + timedelta(seconds=seconds)).timestamp())
    assert (
        await show_bound(server, token, dpop(key, server, token=token, iat=iat, **VERIFY))
    ).status_code == status


async def test_a_nonce_is_of_now_and_of_this_server(server, press):
    """Two steps later it is old; the answer brings the next one."""
    key = generate_identity_key()
    nonce = (await ask_bound(server, press, dpop(key, server))).headers["dpop-nonce"]
    server.clock.forward(seconds=240)
    for bad in (nonce, "x" * 24, None):
        answer = await ask_bound(server, press, dpop(key, server, nonce=bad))
        assert answer.json()["error"] == "use_dpop_nonce"
        assert answer.headers["dpop-nonce"] != nonce


async def test_a_private_key_in_a_proof_is_refused(server, press):
    """A key that was sent once is compromised."""
    key = generate_identity_key()
    private = key.jose_key.as_dict(private=True)
    answer = await ask_bound(server, press, dpop(key, server, header={"jwk": private}))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")


# --- RFC 7592 --------------------------------------------------------------------------------------------


async def enrolled_by_secret(server, name="press"):
    """Enroll as a third-party client does; return the answer, and its key."""
    key = generate_identity_key()
    answer = await server.register(key, name, credential=ENROLLMENT_KEY)
    assert answer.status_code == 201, answer.text
    return answer.json(), key


def bearer(token):
    """Return the header."""
    return {"Authorization": f"Bearer {token}"}


async def test_a_client_reads_its_own_entry(server):
    """With its registration access token, or with a worker token; our agent is given no such token."""
    told, key = await enrolled_by_secret(server)
    uri = told["registration_client_uri"]
    token = (await server.token_by_assertion(server.assertion(key, told["client_id"]))).json()["access_token"]

    for credential in (told["registration_access_token"], token):
        read = await server.http.get(uri, headers=bearer(credential))
        assert read.status_code == 200
        assert (read.json()["client_id"], read.json()["jwks"]) == (told["client_id"], told["jwks"])
    ours = await server.register(generate_identity_key(), "ours")
    assert "registration_access_token" not in ours.json()


async def test_a_client_gives_its_entry_another_key(server, admin):
    """The old key and its tokens are dead, the ID stays, the registration token is a new one, and the log says so."""
    told, key = await enrolled_by_secret(server)
    worker_id, uri = told["client_id"], told["registration_client_uri"]
    old_token = (await server.token_by_assertion(server.assertion(key, worker_id))).json()["access_token"]
    fresh = generate_identity_key()
    body = {"client_id": worker_id, "client_name": "press", "jwks": {"keys": [fresh.public.as_dict()]}}

    changed = await server.http.put(uri, json=body, headers=bearer(told["registration_access_token"]))

    assert changed.status_code == 200
    assert (await server.token_by_assertion(server.assertion(key, worker_id))).status_code == 401
    assert (await server.token_by_assertion(server.assertion(fresh, worker_id))).status_code == 200
    assert (await server.verify(old_token)).status_code == 401
    assert (await server.http.get(uri, headers=bearer(told["registration_access_token"]))).status_code == 401
    assert (
        await server.http.get(uri, headers=bearer(changed.json()["registration_access_token"]))
    ).status_code == 200
    actions = [e["action"] for e in (await server.http.get("/api/audit", headers=admin)).json()["items"]]
    assert "worker.key_rotated" in actions


async def test_a_client_retires_itself(server, admin):
    """Its entry is gone, its tokens with it."""
    told, key = await enrolled_by_secret(server)
    token = (await server.token_by_assertion(server.assertion(key, told["client_id"]))).json()["access_token"]
    gone = await server.http.delete(
        told["registration_client_uri"], headers=bearer(told["registration_access_token"])
    )
    assert gone.status_code == 204
    assert (await server.verify(token)).status_code == 401
    assert (await server.http.get(f"/api/workers/{told['client_id']}", headers=admin)).status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_nobody_manages_another(server, press, method):
    """Another's token, made-up ones, the enrollment key, an API-key Worker's token, nothing: refused alike."""
    told, _ = await enrolled_by_secret(server)
    other, _ = await enrolled_by_secret(server, "other")
    by_key = (await server.token_by_key(*press)).json()["access_token"]
    for uri, credential in (
        (told["registration_client_uri"], other["registration_access_token"]),
        (told["registration_client_uri"], "lyftdata_registration_made_up"),
        (told["registration_client_uri"], ENROLLMENT_KEY),
        (told["registration_client_uri"], by_key),
        (f"{ISSUER}/oauth2/register/press-01", by_key),
        (f"{ISSUER}/oauth2/register/press-01", "lyftdata_registration_"),
        (f"{ISSUER}/oauth2/register/nobody", told["registration_access_token"]),
    ):
        answer = await server.http.request(method, uri, json={}, headers=bearer(credential))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    assert (await server.http.request(method, told["registration_client_uri"], json={})).status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "other"},
        {"client_id": None},
        {"client_name": "other"},
        {"labels": {"quarantine": ""}},
        {"jwks": {"keys": []}},
        {"token_endpoint_auth_method": "none"},
        {"grant_types": ["authorization_code"]},
    ],
)
async def test_a_client_changes_its_key_and_nothing_else(server, change):
    """Name and labels may be an operator's by now."""
    told, key = await enrolled_by_secret(server)
    fresh = generate_identity_key()
    body = {
        "client_id": told["client_id"],
        "client_name": "press",
        "jwks": {"keys": [fresh.public.as_dict()]},
    } | change

    answer = await server.http.put(
        told["registration_client_uri"], json=body, headers=bearer(told["registration_access_token"])
    )

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")
    assert (await server.token_by_assertion(server.assertion(key, told["client_id"]))).status_code == 200


async def test_a_key_is_one_workers(server):
    """Nobody takes over another's public key."""
    told, _ = await enrolled_by_secret(server)
    _, taken = await enrolled_by_secret(server, "other")
    body = {
        "client_id": told["client_id"],
        "client_name": "press",
        "jwks": {"keys": [taken.public.as_dict()]},
    }
    answer = await server.http.put(
        told["registration_client_uri"], json=body, headers=bearer(told["registration_access_token"])
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")


async def test_a_disabled_worker_manages_nothing(server, admin):
    """Else it could give itself a key that nobody knows of."""
    told, _ = await enrolled_by_secret(server)
    await server.http.patch(f"/api/workers/{told['client_id']}", json={"enabled": False}, headers=admin)
    for method in ("GET", "PUT", "DELETE"):
        answer = await server.http.request(
            method,
            told["registration_client_uri"],
            json={},
            headers=bearer(told["registration_access_token"]),
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "worker_disabled")


async def test_an_old_nonce_at_a_resource_brings_a_new_one(server, press):
    """A client that keeps the nonce of the token endpoint finds its way (RFC 9449, section 9)."""
    key = generate_identity_key()
    token = await bound(server, press, key)
    told = await show_bound(server, token, dpop(key, server, token=token, nonce="x" * 24, **VERIFY))
    assert told.status_code == 401
    assert told.headers["www-authenticate"].startswith('DPoP error="use_dpop_nonce"')
    proof = dpop(key, server, token=token, nonce=told.headers["dpop-nonce"], **VERIFY)
    assert (await show_bound(server, token, proof)).status_code == 204


async def test_reading_ones_entry_says_how_to_manage_it(server):
    """RFC 7592, section 3: with the token that was shown, and nothing new."""
    told, _ = await enrolled_by_secret(server)
    read = await server.http.get(
        told["registration_client_uri"], headers=bearer(told["registration_access_token"])
    )
    for name in ("registration_access_token", "registration_client_uri"):
        assert read.json()[name] == told[name]
