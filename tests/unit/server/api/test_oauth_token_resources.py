"""`POST /oauth2/token` for another service (RFC 8707): which resource a Worker gets a token for, and with which scopes."""

import pytest
from tests.builders import ISSUER
from tests.oauth_requests import AUDIENCE, OTHER, claims_of, define

from lyftdata.core.identity_keys import generate_identity_key


async def test_a_resource_is_granted_to_no_worker_by_default(server, admin, press):
    """A Worker that is chosen by ID gets all of its scopes, in a token that is not valid for this Server."""
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


async def test_a_new_worker_with_a_deleted_ones_id_inherits_no_resource(server, admin, press):
    """Deleting a Worker removes it from every resource."""
    await define(server, admin, worker_ids=["press-01"])
    assert (await server.token_by_key(*press, resource=AUDIENCE)).status_code == 200
    await server.http.delete("/api/workers/press-01", headers=admin)
    body = {"name": "another", "id": "press-01", "issue_key": True}
    made = (await server.http.post("/api/workers", json=body, headers=admin)).json()

    refused = await server.token_by_key("press-01", made["api_key"]["key"], resource=AUDIENCE)

    assert (refused.status_code, refused.json()["code"]) == (400, "resource_not_granted")


async def test_an_unknown_resource_looks_like_one_that_is_not_granted(server, admin, press):
    """A Worker cannot find out which services exist."""
    await define(server, admin)
    answers = [await server.token_by_key(*press, resource=audience) for audience in (AUDIENCE, OTHER)]
    answered = [a.json() | {"reference": ""} for a in answers]
    assert answered[0] == answered[1]


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
async def test_a_worker_gets_only_scopes_of_the_resource(server, admin, press, scope, given):
    """A subset if it names some, all if it names none, and a refusal for a scope that the resource lacks."""
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


async def two_resources(server, admin, **other):
    """Define `broker` for the Worker, and `other` with its own scopes and one that both have."""
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
async def test_a_scope_selects_the_only_resource_that_has_it(server, admin, press, scope, audience, granted):
    """For clients that can send only `scope`: the resource must have every scope that is named."""
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
async def test_a_scope_that_selects_no_single_resource_is_refused(server, admin, press, scope, error, code):
    """If no resource or more than one has all of the scopes, the Server does not guess."""
    await two_resources(server, admin, worker_ids=["press-01"])

    answer = await server.token_by_key(*press, scope=scope)

    answered = answer.json()
    assert (answer.status_code, answered["error"], answered["code"], answered["final"]) == (
        400,
        error,
        code,
        False,
    )
    assert "named no service" in answered["error_description"]


async def test_only_granted_resources_count(server, admin, press):
    """A resource that is not granted to this Worker neither makes a scope ambiguous nor shows in the answer."""
    await two_resources(server, admin)
    assert (
        claims_of((await server.token_by_key(*press, scope="both")).json()["access_token"])["aud"] == AUDIENCE
    )

    ungranted = (await server.token_by_key(*press, scope="list")).json()
    unknown = (await server.token_by_key(*press, scope="nothing")).json()

    assert ungranted | {"reference": ""} == unknown | {"reference": ""}
    answered = (await server.http.get(f"/api/refusals/{ungranted['reference']}", headers=admin)).json()
    assert "'other'" in answered["detail"]


async def test_the_server_itself_has_no_scopes(server, press):
    """Whether it is named as the resource or not, no scope is granted for it."""
    assert (await server.token_by_key(*press, scope="read")).json()["code"] == "scope_unknown"
    named = await server.token_by_key(*press, scope="read", resource=ISSUER)
    assert (named.json()["error"], named.json()["code"]) == ("invalid_scope", "scope_not_granted")


async def test_a_scope_of_spaces_is_rejected(server, admin, press):
    """If it counted as omitted, it would grant every scope."""
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
async def test_audience_is_an_alias_of_resource(server, admin, press, form, aud):
    """Clients of Auth0 and Okta send it, alone or with a `resource` that says the same."""
    await define(server, admin, worker_ids=["press-01"])
    answer = await server.token_by_key(*press, **form)
    assert claims_of(answer.json()["access_token"])["aud"] == aud


async def test_a_url_without_a_path_may_have_a_trailing_slash(server, admin, press):
    """Both spellings name one resource, unless an operator has defined one for each."""
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
    """Unknown, spelled differently, or in conflict with `resource`: no token, rather than one for this Server."""
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
async def test_a_parameter_that_would_change_the_token_is_never_ignored(server, press, name, error):
    """The client would get a token for something else than it asked for. Sent empty, it asks for nothing."""
    answer = await server.token_by_key(*press, **{name: "x"})

    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert f" {name} " in answer.json()["error_description"]
    assert (await server.token_by_key(*press, **{name: ""})).status_code == 200


@pytest.mark.parametrize("name", ["state", "nonce", "redirect_uri", "code_verifier", "x_tenant", "display"])
async def test_other_unknown_parameters_are_ignored(server, press, name):
    """As RFC 6749, section 3.2, requires; the token is the same without them."""
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
async def test_self_reported_labels_and_names_grant_nothing_by_default(
    server, admin, fields, by_key, enrolled
):
    """Those of enrolled Workers count only if `include_enrolled` is set; those that an operator set always count."""
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
    """The Server assigns IDs, so no Worker can claim another's."""
    worker_id, _ = await server.enrolled()
    assert (await define(server, admin, worker_ids=[worker_id]))["workers"] == 1
