"""What operators and API tokens with a scope see, and attempts to get around the scope."""

import json

import pytest
from tests.builders import SECRET_KEY
from tests.deployment import PASSWORD

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.server.runtime.background import end_listeners

OWN_PASSWORD = "xxx " + PASSWORD
ETL = {"team": "etl"}
ABSENT = "absent-01"


async def make(server, headers, path, body):
    """Create something, and return the answer's body."""
    answer = await server.http.post(f"/api{path}", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def operator(server, admin, name="anna", role="admin", scope=None):
    """Add an operator with a scope and return the headers of their session."""
    body = {"name": name, "role": role, "password": PASSWORD, "scope": ETL if scope is None else scope}
    await make(server, admin, "/operators", body)
    return await server.sign_in(name, PASSWORD)


async def own_password(server, name="admin"):
    """Change an operator's first password; return the headers of a new session."""
    body = {"current_password": PASSWORD, "new_password": OWN_PASSWORD}
    answer = await server.http.post(
        "/api/me/password", json=body, headers=await server.sign_in(name, PASSWORD)
    )
    assert answer.status_code == 204, answer.text
    return await server.sign_in(name, OWN_PASSWORD)


async def token(server, headers, name="ci-deploy", role="admin", scope=None):
    """Issue an API token and return the headers of requests with it."""
    made = await make(server, headers, "/api-tokens", {"name": name, "role": role, "scope": scope})
    return {"Authorization": f"Bearer {made['token']}"}


@pytest.fixture
async def fleet(server, admin):
    """Return an admin's headers, in a deployment with resources of two teams and some that both share."""
    for worker_id, labels in (
        ("etl-1", ETL | {"zone": "eu"}),
        ("etl-2", ETL),
        ("ops-1", {"team": "ops"}),
        ("bare-1", {}),
    ):
        body = {"name": f"n-{worker_id}", "id": worker_id, "labels": labels}
        await make(server, admin, "/workers", body)
    for name, ids in (
        ("etl-only", ["etl-1", "etl-2"]),
        ("ops-only", ["ops-1"]),
        ("shared", ["etl-1", "ops-1"]),
        ("for-all", None),
    ):
        await make(server, admin, "/api-keys", {"name": name, "worker_ids": ids})
    for name, labels in (("etl-hosts", ETL), ("ops-hosts", {"team": "ops"}), ("any-host", {})):
        await make(server, admin, "/enrollment/keys", {"name": name, "labels": labels})
    for name, more in (
        ("etl-lake", {"labels": ["team=etl"]}),
        ("ops-lake", {"labels": ["team=ops"]}),
        ("sea", {"for_all_workers": True}),
        ("by-name", {"worker_names": ["n-etl-1"]}),
    ):
        await make(server, admin, "/resources", {"name": name, "audience": f"https://{name}.example"} | more)
    return admin


async def names(server, headers, path, key="name", **params):
    """Return the names of the items in a list."""
    answer = await server.http.get(f"/api{path}", params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    return [item[key] for item in answer.json()["items"]]


LISTS = {
    "/workers": ("id", ["etl-1", "etl-2"]),
    "/api-keys": ("name", ["etl-only"]),
    "/enrollment/keys": ("name", ["etl-hosts"]),
    "/resources": ("name", ["etl-lake"]),
    "/enrollment/pending": ("id", []),
}


@pytest.mark.parametrize("role", ["admin", "viewer"])
async def test_each_list_has_only_what_is_in_scope(server, fleet, role):
    """Neither what belongs to another team, nor what teams share, nor what has no team."""
    anna = await operator(server, fleet, role=role)

    for path, (key, expected) in LISTS.items():
        assert await names(server, anna, path, key) == expected, path
        assert len(await names(server, fleet, path, key)) >= len(expected)


async def test_counts_and_pages_reveal_nothing_outside_the_scope(server, fleet):
    """The total, the next page and the result of any search cover only the scope."""
    anna = await operator(server, fleet)

    first = (await server.http.get("/api/workers", params={"limit": 1}, headers=anna)).json()
    second = (
        await server.http.get("/api/workers", params={"limit": 1, "after": "etl-1"}, headers=anna)
    ).json()

    assert (first["total"], first["next"], second["next"]) == (2, "etl-1", None)
    for search in ("ops", "id:ops-1", "name:n-ops-1", "team=ops", "-team=etl", "-zone=eu -team=etl"):
        found = (await server.http.get("/api/workers", params={"q": search}, headers=anna)).json()
        assert (found["items"], found["total"]) == ([], 0), search
    assert await names(server, anna, "/workers", "id", after="ops-1") == []


OUTSIDE = [
    ("/workers/{}", ["ops-1", "bare-1"], "worker"),
    ("/workers/{}/sessions", ["ops-1"], "worker"),
    ("/workers/{}/token-origins", ["ops-1"], "worker"),
    ("/workers/{}/token-counts", ["ops-1"], "worker"),
    ("/workers/{}/copies", ["ops-1"], "worker"),
    # By its name: a caller with access would get an error that names the ID.
    ("/workers/{}", ["n-ops-1"], "worker"),
    ("/api-keys/{}", ["ops-only", "shared", "for-all"], "api_key"),
    ("/enrollment/keys/{}", ["ops-hosts", "any-host", "startup"], "enrollment_key"),
    ("/resources/{}", ["ops-lake", "sea", "by-name"], "resource"),
    ("/api-tokens/{}", ["admins-own"], "api_token"),
]


async def test_what_is_outside_the_scope_looks_nonexistent(server, fleet, subtests):
    """Status, code and text are the same but for the name in the request, so a guess confirms nothing."""
    root = await own_password(server)
    await token(server, root, "admins-own")
    anna = await operator(server, root)
    ann = await token(server, root, "etl-token", scope=ETL)

    for path, outside, _noun in OUTSIDE:
        for caller in (anna, ann):
            absent = await server.http.get(f"/api{path.format(ABSENT)}", headers=caller)
            for name in outside:
                answer = await server.http.get(f"/api{path.format(name)}", headers=caller)
                with subtests.test(path.format(name)):
                    assert answer.status_code == absent.status_code == 404
                    assert answer.text.replace(name, ABSENT) == absent.text
                    assert answer.headers.keys() == absent.headers.keys()


async def test_a_key_is_in_scope_only_while_every_worker_that_may_use_it_is(server, fleet):
    """When an admin gives one of its Workers to another team, the key leaves the scope immediately."""
    anna = await operator(server, fleet)
    assert await names(server, anna, "/api-keys") == ["etl-only"]

    await server.http.patch("/api/workers/etl-2", json={"labels": {"team": "ops"}}, headers=fleet)

    assert await names(server, anna, "/api-keys") == []
    assert await names(server, anna, "/workers", "id") == ["etl-1"]


async def test_a_key_does_not_reveal_earlier_users_outside_the_scope(server, fleet):
    """After the other team's Worker is deleted the key is in scope, but that Worker's name is not shown."""
    anna = await operator(server, fleet)
    made = await make(server, fleet, "/api-keys", {"name": "passed-on", "worker_ids": ["etl-1", "ops-1"]})
    assert (await server.token_by_key("ops-1", made["key"])).status_code == 200
    await server.services.traces.flush()
    await server.http.delete("/api/workers/ops-1", headers=fleet)

    shown = (await server.http.get("/api/api-keys/passed-on", headers=anna)).json()

    assert (shown["worker_ids"], shown["last_used_by"], shown["used_by"]) == (["etl-1"], None, [])


async def test_an_enrollment_key_counts_only_workers_in_scope(server, fleet):
    """A Worker that has left the team is no longer counted."""
    anna = await operator(server, fleet)
    made = await make(server, fleet, "/enrollment/keys", {"name": "counted", "labels": ETL})
    enrolled = []
    for name in ("one", "two"):
        answer = await server.register(generate_identity_key(), name, credential=made["key"])
        enrolled.append(answer.json()["client_id"])
    assert (await server.http.get("/api/enrollment/keys/counted", headers=anna)).json()["workers"] == 2

    await server.http.patch(f"/api/workers/{enrolled[0]}", json={"labels": {}}, headers=fleet)

    assert (await server.http.get("/api/enrollment/keys/counted", headers=anna)).json()["workers"] == 1
    assert (await server.http.get("/api/enrollment/keys/counted", headers=fleet)).json()["workers"] == 2


async def test_a_search_does_not_reveal_enrollment_keys_outside_the_scope(server, fleet):
    """Its name could otherwise be guessed letter by letter from Workers that enrolled with it. The fingerprint is not secret."""
    made = {}
    for name, labels in (("etl-more", ETL), ("no-team-key", {})):
        key = await make(server, fleet, "/enrollment/keys", {"name": name, "labels": labels})
        identity = generate_identity_key()
        proof = server.proof(identity, name, secret=key["key"])
        answer = await server.register(identity, name, credential=proof, labels=ETL)
        made[name] = answer.json()["client_id"]
    anna = await operator(server, fleet)
    fingerprint = (await server.http.get(f"/api/workers/{made['no-team-key']}", headers=anna)).json()[
        "enrolled_with"
    ]

    assert await names(server, fleet, "/workers", "id", q="enrolled:no-*") == [made["no-team-key"]]
    for search in ("enrolled:no-*", "enrolled:=no-team-key", "-enrolled:etl-*,zz enrolled:n*"):
        assert await names(server, anna, "/workers", "id", q=search) == [], search
    assert await names(server, anna, "/workers", "id", q="enrolled:etl-more") == [made["etl-more"]]
    assert await names(server, anna, "/workers", "id", q=f"enrolled:={fingerprint}") == [made["no-team-key"]]
    assert (await server.register(generate_identity_key(), "by-startup", labels=ETL)).status_code == 201
    assert await names(server, anna, "/workers", "id", q="enrolled:startup") == []


async def test_a_search_does_not_reveal_api_keys_outside_the_scope(server, fleet):
    """Even if a Worker in scope has used such a key."""
    for name, ids in (("ops-too-key", ["etl-1", "ops-1"]), ("etl-own-key", ["etl-1"])):
        made = await make(server, fleet, "/api-keys", {"name": name, "worker_ids": ids})
        assert (await server.token_by_key("etl-1", made["key"])).status_code == 200
    anna = await operator(server, fleet)

    assert await names(server, fleet, "/workers", "id", q="key:ops-t*@current") == ["etl-1"]
    assert await names(server, anna, "/workers", "id", q="key:ops-t*@current") == []
    assert await names(server, anna, "/workers", "id", q="key:etl-o*@current") == ["etl-1"]


async def test_whoami_shows_the_callers_scope(server, fleet):
    """For a token, its own scope and its operator's together."""
    anna = await operator(server, fleet)
    assert (await server.http.get("/api/whoami", headers=anna)).json()["scope"] == ["team=etl"]

    own = await own_password(server, "anna")
    narrow = await token(server, own, "etl-eu-token", scope={"zone": "eu"})

    assert (await server.http.get("/api/whoami", headers=narrow)).json()["scope"] == ["team=etl", "zone=eu"]
    assert (await server.http.get("/api/whoami", headers=fleet)).json()["scope"] is None


# --- API tokens ---------------------------------------------------------------------------------------------


async def test_a_token_is_limited_by_its_own_and_its_operators_scope(server, fleet):
    """The labels of both apply; if the operator has no scope, only the token's."""
    root = await own_password(server)
    eu = await token(server, root, "eu-token", scope={"zone": "eu"})
    assert await names(server, eu, "/workers", "id") == ["etl-1"]

    await operator(server, root)
    narrow = await token(server, await own_password(server, "anna"), "etl-eu-token", scope={"zone": "eu"})

    assert await names(server, narrow, "/workers", "id") == ["etl-1"]


async def test_a_token_is_never_wider_than_its_issuer(server, fleet):
    """Without a scope of its own it gets its operator's, and keeps it when the operator's scope is removed."""
    root = await own_password(server)
    await operator(server, root)
    anna = await own_password(server, "anna")
    ci = await token(server, anna)

    other = await server.http.post(
        "/api/api-tokens", json={"name": "ops-token", "role": "admin", "scope": {"team": "ops"}}, headers=anna
    )
    await server.http.patch("/api/operators/anna", json={"no_scope": True}, headers=root)

    assert (other.status_code, other.json()["field"]) == (422, "scope")
    assert await names(server, ci, "/workers", "id") == ["etl-1", "etl-2"]
    freed = await server.sign_in("anna", OWN_PASSWORD)
    assert len(await names(server, freed, "/workers", "id")) == 4


async def test_a_new_scope_of_an_operator_limits_their_tokens_at_once(server, fleet):
    """Also tokens from before. Two scopes together may cover no Worker at all."""
    root = await own_password(server)
    await make(server, root, "/operators", {"name": "anna", "role": "admin", "password": PASSWORD})
    anna = await own_password(server, "anna")
    wide, ops = (
        await token(server, anna, "wide-token"),
        await token(server, anna, "ops-token", scope={"team": "ops"}),
    )
    assert len(await names(server, wide, "/workers", "id")) == 4

    await server.http.patch("/api/operators/anna", json={"scope": ETL}, headers=root)

    assert await names(server, wide, "/workers", "id") == ["etl-1", "etl-2"]
    assert await names(server, ops, "/workers", "id") == []
    # Both tokens are Anna's and narrower than her own scope, so she sees them and can revoke them.
    again = await server.sign_in("anna", OWN_PASSWORD)
    assert sorted(await names(server, again, "/api-tokens")) == ["ops-token", "wide-token"]


async def test_a_caller_with_a_scope_does_not_see_others_tokens(server, fleet):
    """Neither in the list, nor by revoking them."""
    root = await own_password(server)
    wide, narrow = await token(server, root, "wide-token"), await token(server, root, "etl-token", scope=ETL)
    anna = await operator(server, root)

    assert await names(server, anna, "/api-tokens") == []
    assert await names(server, narrow, "/api-tokens") == ["etl-token"]
    answer = await server.http.post("/api/api-tokens/wide-token/revoke", headers=anna)
    assert (answer.status_code, answer.json()["code"]) == (404, "api_token_not_found")
    assert (await server.http.get("/api/workers", headers=wide)).status_code == 200


# --- operators ----------------------------------------------------------------------------------------------


async def test_an_admin_with_a_scope_manages_no_operators(server, fleet):
    """They can neither remove their own scope nor add another operator."""
    anna = await operator(server, fleet)

    for method, path, body in (
        ("GET", "/operators", None),
        ("PATCH", "/operators/anna", {"no_scope": True}),
        ("PATCH", "/operators/admin", {"role": "viewer"}),
        ("POST", "/operators", {"name": "bob", "role": "admin"}),
        ("DELETE", "/operators/admin/sessions", None),
    ):
        answer = await server.http.request(method, f"/api{path}", json=body, headers=anna)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
        assert "team=etl" in answer.json()["detail"]


async def test_an_admin_with_a_scope_sees_only_their_own_sessions(server, fleet):
    """Without a scope an admin sees and ends every session."""
    anna = await operator(server, fleet)
    other = (await server.http.get("/api/admin-sessions", headers=fleet)).json()["items"]
    theirs = next(session["id"] for session in other if session["operator"] == "admin")

    assert await names(server, anna, "/admin-sessions", "operator") == ["anna"]
    answer = await server.http.delete(f"/api/admin-sessions/{theirs}", headers=anna)
    assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")


async def test_the_last_admin_without_a_scope_cannot_be_removed(server, fleet):
    """Nor limited or demoted: otherwise no one could manage operators."""
    await operator(server, fleet)

    for method, body in (
        ("PATCH", {"scope": ETL}),
        ("PATCH", {"role": "viewer"}),
        ("DELETE", None),
    ):
        answer = await server.http.request(method, "/api/operators/admin", json=body, headers=fleet)
        assert (answer.status_code, answer.json()["code"]) == (409, "last_admin")


@pytest.mark.parametrize("scope", [{}, {"": ""}, {"team": "a,b"}, {"team": " etl"}])
async def test_a_scope_needs_valid_labels(server, admin, scope):
    """An empty scope is not taken to mean "no limit"."""
    body = {"name": "anna", "role": "admin", "scope": scope}

    answer = await server.http.post("/api/operators", json=body, headers=admin)

    assert (answer.status_code, answer.json()["field"]) == (422, "scope")


async def test_a_change_of_scope_is_audited_and_ends_the_sessions(server, fleet):
    """The event has the actor and the labels; sessions from before the change are signed out."""
    anna = await operator(server, fleet)

    changed = await server.http.patch("/api/operators/anna", json={"scope": {"team": "ops"}}, headers=fleet)

    assert changed.json()["operator"]["scope"] == {"team": "ops"}
    assert (await server.http.get("/api/workers", headers=anna)).status_code == 401
    audit = await server.http.get("/api/audit", params={"subject": "operator:anna"}, headers=fleet)
    latest = audit.json()["items"][0]
    assert (latest["actor"], latest["action"], latest["details"]) == (
        "operator:admin",
        "operator.scope_set",
        {"scope": "team=ops"},
    )
    again = await server.sign_in("anna", PASSWORD)
    assert await names(server, again, "/workers", "id") == ["ops-1"]


async def test_an_event_stream_ends_when_a_scope_is_set(server, admin):
    """Opened by a session or a token without a scope, it would go on showing every Worker."""
    root = await own_password(server)
    await make(server, root, "/operators", {"name": "anna", "role": "admin", "password": PASSWORD})
    anna = await own_password(server, "anna")
    ci = await token(server, anna)
    callers = server.services.callers
    listeners = [
        server.services.events.admit(
            await callers.identify(headers["Authorization"].split()[1], address="192.0.2.1")
        )
        for headers in (anna, ci, root)
    ]

    await server.http.patch("/api/operators/anna", json={"scope": ETL}, headers=root)
    await end_listeners(server.services)

    assert [listener.is_ended for listener in listeners] == [True, True, False]


async def test_a_scope_set_at_one_server_applies_at_its_peers(opened, cluster):
    """From the next request on, for sessions and tokens, without waiting for the change feed."""
    environ = {"LYFTDATA_DATABASE_URL": cluster.new_database(), "LYFTDATA_SECRET_KEY": SECRET_KEY}
    async with opened(**environ) as one, opened(**environ) as other:
        root = await own_password(one)
        await make(one, root, "/workers", {"name": "ops", "id": "ops-1", "labels": {"team": "ops"}})
        await make(one, root, "/operators", {"name": "anna", "role": "admin", "password": PASSWORD})
        anna = await own_password(one, "anna")
        ci = await token(one, anna)
        assert (await other.http.get("/api/workers/ops-1", headers=ci)).status_code == 200

        await one.http.patch("/api/operators/anna", json={"scope": ETL}, headers=root)

        assert (await other.http.get("/api/workers/ops-1", headers=ci)).status_code == 404
        assert (await other.http.get("/api/workers/ops-1", headers=anna)).status_code == 401
        again = await other.sign_in("anna", OWN_PASSWORD)
        assert (await other.http.get("/api/workers/ops-1", headers=again)).status_code == 404


# --- changes ------------------------------------------------------------------------------------------------


async def refusal(server, headers, method, path, body=None):
    """Return status and code of a refused request, which must not be audited."""
    before = server.services.store.audit_length
    answer = await server.http.request(method, f"/api{path}", json=body, headers=headers)
    assert server.services.store.audit_length == before
    return answer.status_code, answer.json()["code"]


def labels_of(server, worker_id):
    """Return the present labels of a Worker."""
    return server.services.directory.find_worker(worker_id).labels


NOT_FOUND = [
    ("PATCH", "/workers/{}", {"enabled": False}, ["ops-1", "bare-1"]),
    ("PATCH", "/workers/{}", {"labels": ETL}, ["ops-1", "bare-1"]),
    ("PATCH", "/workers/{}", {"name": "mine"}, ["ops-1"]),
    ("DELETE", "/workers/{}", None, ["ops-1", "bare-1"]),
    ("POST", "/workers/{}/copies/AAAAAAAA", {"decision": "continue"}, ["ops-1"]),
    ("POST", "/api-keys/{}/revoke", {}, ["ops-only", "shared", "for-all"]),
    ("POST", "/api-keys/{}/rotate", {}, ["ops-only", "shared", "for-all"]),
    ("POST", "/api-keys/{}/end-previous", {}, ["shared"]),
    ("POST", "/api-keys/{}/allow", {"worker_ids": ["etl-2"]}, ["ops-only", "shared", "for-all"]),
    ("POST", "/enrollment/keys/{}/revoke", {}, ["ops-hosts", "any-host", "startup"]),
    ("POST", "/enrollment/keys/{}/rotate", {}, ["ops-hosts", "any-host", "startup"]),
    ("POST", "/enrollment/keys/{}/end-previous", {}, ["any-host", "startup"]),
]


@pytest.mark.parametrize("by_token", [False, True])
async def test_what_is_outside_the_scope_cannot_be_changed(server, fleet, by_token, subtests):
    """The answer is that for a made-up ID, also for an attempt to bring a Worker into the scope by a label."""
    root = await own_password(server)
    anna = await token(server, root, scope=ETL) if by_token else await operator(server, root)

    for method, path, body, outside in NOT_FOUND:
        absent = await server.http.request(method, f"/api{path.format(ABSENT)}", json=body, headers=anna)
        before = server.services.store.audit_length
        for name in outside:
            answer = await server.http.request(method, f"/api{path.format(name)}", json=body, headers=anna)
            with subtests.test(f"{method} {path.format(name)}"):
                assert answer.status_code == absent.status_code == 404
                assert answer.text.replace(name, ABSENT) == absent.text
        assert server.services.store.audit_length == before


async def test_a_team_manages_what_is_in_its_scope(server, fleet):
    """Workers, API keys and enrollment keys, from adding to deleting."""
    anna = await operator(server, fleet)

    made = await make(server, anna, "/workers", {"name": "new", "id": "etl-3", "issue_key": True})
    assert made["worker"]["labels"] == ETL
    assert (await server.token_by_key("etl-3", made["api_key"]["key"])).status_code == 200
    for method, path, body, status in (
        ("PATCH", "/workers/etl-3", {"labels": ETL | {"gpu": ""}, "name": "newer"}, 200),
        ("PATCH", "/workers/etl-3", {"enabled": False}, 200),
        ("POST", "/api-keys/etl-only/allow", {"worker_ids": ["etl-3"]}, 200),
        ("POST", "/api-keys/etl-only/rotate", {"grace_s": 60}, 201),
        ("POST", "/api-keys/etl-only/end-previous", {}, 200),
        ("POST", "/api-keys/etl-only/revoke", {}, 200),
        ("POST", "/enrollment/keys/etl-hosts/rotate", {}, 201),
        ("POST", "/enrollment/keys/etl-hosts/revoke", {}, 200),
        ("POST", "/workers/rotate-keys", {"all": True}, 200),
        ("DELETE", "/workers/etl-3", None, 204),
    ):
        answer = await server.http.request(method, f"/api{path}", json=body, headers=anna)
        assert answer.status_code == status, (path, answer.text)


async def test_a_viewer_with_a_scope_changes_nothing(server, fleet):
    """Both the role and the scope apply."""
    anna = await operator(server, fleet, role="viewer")

    assert await refusal(server, anna, "DELETE", "/workers/etl-1") == (403, "forbidden")


@pytest.mark.parametrize("labels", [{}, {"zone": "eu"}, {"team": "ops"}, {"team": ""}])
async def test_a_scoped_admin_cannot_move_a_worker_out_of_the_scope(server, fleet, labels):
    """A label of the scope can be neither removed nor changed: the Worker would pass to another team, or to none."""
    anna = await operator(server, fleet)

    assert await refusal(server, anna, "PATCH", "/workers/etl-1", {"labels": labels}) == (
        422,
        "invalid_input",
    )

    assert labels_of(server, "etl-1") == ETL | {"zone": "eu"}


async def test_new_workers_and_keys_get_the_labels_of_the_scope(server, fleet):
    """They are added to those in the request; a label that contradicts them is rejected."""
    anna = await operator(server, fleet)

    made = await make(server, anna, "/workers", {"name": "new", "labels": {"gpu": ""}})
    key = await make(server, anna, "/enrollment/keys", {"name": "gpu-hosts", "labels": {"gpu": ""}})

    assert made["worker"]["labels"] == key["enrollment_key"]["labels"] == ETL | {"gpu": ""}
    for path in ("/workers", "/enrollment/keys"):
        body = {"name": "other-one", "labels": {"team": "ops"}}
        assert await refusal(server, anna, "POST", path, body) == (422, "invalid_input")


async def test_contradicting_scopes_can_create_nothing(server, fleet):
    """A token has one team's scope and its operator was given another's."""
    root = await own_password(server)
    await operator(server, root)
    ci = await token(server, await own_password(server, "anna"))
    await server.http.patch("/api/operators/anna", json={"scope": {"team": "ops"}}, headers=root)

    assert await refusal(server, ci, "POST", "/workers", {"name": "new"}) == (422, "invalid_input")
    assert await refusal(server, ci, "PATCH", "/workers/ops-1", {"enabled": False}) == (
        404,
        "worker_not_found",
    )


@pytest.mark.parametrize(
    "body",
    [
        {"name": "a-new-key"},
        {"name": "a-new-key", "worker_ids": None},
        {"name": "a-new-key", "worker_ids": ["ops-1"]},
        {"name": "a-new-key", "worker_ids": ["etl-1", "ops-1"]},
        {"name": "a-new-key", "worker_ids": ["n-ops-1"]},
    ],
)
async def test_no_key_is_issued_for_workers_outside_the_scope(server, fleet, body):
    """Neither for all Workers, nor for one of another team together with a Worker in scope."""
    anna = await operator(server, fleet)

    status, code = await refusal(server, anna, "POST", "/api-keys", body)

    assert (status, code) in {(422, "invalid_input"), (404, "worker_not_found")}


async def test_a_key_outside_the_scope_cannot_be_given_to_a_worker(server, fleet):
    """Nor can a Worker outside the scope be allowed to use a key in it."""
    anna = await operator(server, fleet)

    for name in ("ops-only", "shared", "for-all"):
        body = {"name": "new", "api_key": name}
        assert await refusal(server, anna, "POST", "/workers", body) == (404, "api_key_not_found")
    wanted = {"worker_ids": ["etl-1", "ops-1"]}
    assert await refusal(server, anna, "POST", "/api-keys/etl-only/allow", wanted) == (
        404,
        "worker_not_found",
    )


async def test_a_taken_name_does_not_reveal_its_holder(server, fleet):
    """Names are unique on the whole Server, so the answer says that it is taken, but not by which Worker."""
    anna = await operator(server, fleet)

    for method, path in (("POST", "/workers"), ("PATCH", "/workers/etl-1")):
        answer = await server.http.request(method, f"/api{path}", json={"name": "n-ops-1"}, headers=anna)
        assert (answer.status_code, answer.json()["code"]) == (409, "worker_name_taken")
        assert "'ops-1'" not in answer.text


async def test_identity_keys_are_rotated_only_in_scope(server, fleet):
    """`all` means all in scope; a Worker outside that is named does not exist."""
    anna = await operator(server, fleet)
    theirs, _ = await server.enrolled("theirs")
    mine, _ = await server.enrolled("mine")
    await server.http.patch(f"/api/workers/{mine}", json={"labels": ETL}, headers=fleet)

    asked = await server.http.post("/api/workers/rotate-keys", json={"all": True}, headers=anna)

    assert asked.json()["ids"] == [mine]
    body = {"ids": [mine, theirs]}
    assert await refusal(server, anna, "POST", "/workers/rotate-keys", body) == (404, "worker_not_found")


# --- tokens for other services ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/workers/etl-1", {"labels": ETL | {"role": "billing"}}),
        ("PATCH", "/workers/etl-1", {"name": "biller"}),
        ("POST", "/workers", {"name": "new", "labels": {"role": "billing"}}),
        ("POST", "/workers", {"name": "biller"}),
        ("POST", "/enrollment/keys", {"name": "billing-hosts", "labels": {"role": "billing"}}),
    ],
)
async def test_a_team_cannot_grant_an_outside_resource_by_name_or_label(server, fleet, method, path, body):
    """Resources select by names and labels, which a team sets on its own Workers."""
    chosen = {"labels": ["role=billing"], "worker_names": ["biller"], "include_enrolled": True}
    resource: dict[str, object] = {"name": "billing", "audience": "https://billing.example"}
    resource |= chosen
    await make(server, fleet, "/resources", resource)
    anna = await operator(server, fleet)

    answer = await server.http.request(method, f"/api{path}", json=body, headers=anna)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "billing.example" not in answer.text
    assert (await server.http.request(method, f"/api{path}", json=body, headers=fleet)).status_code < 300


@pytest.mark.parametrize("selector", ["team=etl", "team"])
async def test_a_resource_granted_by_the_scopes_own_label_blocks_no_team(server, fleet, selector):
    """Every Worker of the team gets it in any case; otherwise the team could add no Worker and issue no enrollment key."""
    resource: dict[str, object] = {"name": "wide", "audience": "https://wide.example", "labels": [selector]}
    await make(server, fleet, "/resources", resource | {"include_enrolled": True})
    anna = await operator(server, fleet, scope=ETL | {"zone": "eu"})

    await make(server, anna, "/workers", {"name": "new"})
    await make(server, anna, "/enrollment/keys", {"name": "own-hosts"})

    # The resource itself stays outside the scope.
    assert await names(server, anna, "/resources") == []


async def test_a_worker_keeps_its_granted_resource_when_it_is_changed(server, fleet):
    """An operator without a scope granted it."""
    resource: dict[str, object] = {
        "name": "zones",
        "audience": "https://zones.example",
        "labels": ["zone=eu"],
    }
    await make(server, fleet, "/resources", resource)
    anna = await operator(server, fleet)

    answer = await server.http.patch("/api/workers/etl-1", json={"name": "renamed"}, headers=anna)

    assert answer.status_code == 200


async def test_a_team_defines_no_resource(server, fleet):
    """Services outside the team may trust its audience, and its key can check every Worker's tokens."""
    anna = await operator(server, fleet)

    for method, path in (
        ("POST", "/resources"),
        ("PATCH", "/resources/etl-lake"),
        ("POST", "/resources/etl-lake/key"),
    ):
        assert await refusal(server, anna, method, path, {}) == (403, "forbidden")


# --- enrollment ---------------------------------------------------------------------------------------------


async def test_a_worker_gets_no_other_labels_than_those_of_its_teams_key(server, fleet):
    """It could otherwise report a label of another team, or one that an outside resource selects by."""
    anna = await operator(server, fleet)
    key = await make(server, anna, "/enrollment/keys", {"name": "own-hosts", "labels": {"gpu": ""}})

    answer = await server.register(
        generate_identity_key(), "new", credential=key["key"], labels={"team": "ops", "role": "billing"}
    )

    assert answer.status_code == 201, answer.text
    assert labels_of(server, answer.json()["client_id"]) == ETL | {"gpu": ""}


@pytest.mark.parametrize("rotated", [False, True])
async def test_a_teams_key_supersedes_no_worker_of_another_team(server, fleet, rotated):
    """That would cut the holder off. It also applies if an operator without a scope has rotated the key since."""
    theirs, _ = await server.enrolled("holder")
    server.clock.forward(minutes=10)
    anna = await operator(server, fleet)
    key = await make(server, anna, "/enrollment/keys", {"name": "own-hosts"})
    if rotated:
        key = await make(server, fleet, "/enrollment/keys/own-hosts/rotate", {})

    answer = await server.register(generate_identity_key(), "holder", credential=key["key"])

    assert await server.cause(answer) == "name_in_use"
    assert server.services.directory.find_worker(theirs).superseded_by is None
    # The key from the settings may.
    assert (await server.register(generate_identity_key(), "holder")).status_code == 201


async def test_a_key_that_a_team_rotates_is_limited_from_then_on(server, fleet):
    """Although an operator without a scope issued it: the team knows the new generation."""
    theirs, _ = await server.enrolled("holder")
    server.clock.forward(minutes=10)
    anna = await operator(server, fleet)
    key = await make(server, anna, "/enrollment/keys/etl-hosts/rotate", {})

    answer = await server.register(generate_identity_key(), "holder", credential=key["key"])

    assert await server.cause(answer) == "name_in_use"
    assert server.services.directory.find_worker(theirs).superseded_by is None


async def test_a_team_approves_only_its_own_workers(server, fleet):
    """Other pending Workers do not exist for it, and an approved one supersedes no Worker of another team."""
    anna = await operator(server, fleet)
    holder, _ = await server.enrolled("holder")
    server.clock.forward(minutes=10)
    waiting = {}
    for team in ("etl", "ops"):
        body = {"name": f"{team}-queue", "labels": {"team": team}, "mode": "approve"}
        key = (await make(server, fleet, "/enrollment/keys", body))["key"]
        for name in (f"{team}-new", "holder"):
            answer = await server.register(generate_identity_key(), name, credential=key)
            waiting[team, name] = answer.json()["client_id"]
    pending = (await server.http.get("/api/enrollment/pending", headers=anna)).json()["items"]
    assert {one["id"] for one in pending} == {waiting["etl", "etl-new"], waiting["etl", "holder"]}
    assert [one["name_holder"] for one in pending] == [None, None]

    for decision in ("approve", "deny"):
        body = {"worker_ids": [waiting["ops", "ops-new"]]}
        answer = await server.http.post(f"/api/enrollment/{decision}", json=body, headers=anna)
        assert [one["problem"] for one in answer.json()["items"]] == ["worker_not_found"]
    body = {"worker_ids": [waiting["etl", "etl-new"], waiting["etl", "holder"]]}
    answer = await server.http.post("/api/enrollment/approve", json=body, headers=anna)

    assert [one["problem"] for one in answer.json()["items"]] == [None, "worker_name_taken"]
    assert holder not in answer.text
    assert server.services.directory.find_worker(holder).superseded_by is None


@pytest.mark.parametrize("chosen", [{"labels": ["role=billing"]}, {"worker_names": ["biller"]}])
async def test_a_team_cannot_approve_a_worker_that_gets_an_outside_resource(server, fleet, chosen):
    """With a key without a scope a Worker chooses its own labels: both its team's and one that an outside resource selects by."""
    resource: dict[str, object] = {
        "name": "billing",
        "audience": "https://billing.example",
        "include_enrolled": True,
    }
    await make(server, fleet, "/resources", resource | chosen)
    key = await make(server, fleet, "/enrollment/keys", {"name": "any-queue", "mode": "approve"})
    labels = ETL | {"role": "billing"}
    new = await server.register(generate_identity_key(), "biller", credential=key["key"], labels=labels)
    body = {"worker_ids": [new.json()["client_id"]]}
    anna = await operator(server, fleet)

    decided = []
    for headers in (anna, fleet):
        answer = await server.http.post("/api/enrollment/approve", json=body, headers=headers)
        assert "billing.example" not in answer.text
        decided.append(answer.json()["items"][0]["problem"])

    assert decided == ["outside_scope", None]


# --- the event stream ---------------------------------------------------------------------------------------


async def sent_to(listener, feed_events):
    """Return the kinds and Workers of what a listener is sent, until so many events were rendered."""
    text = b""
    while text.count(b"event: ") < feed_events:
        text += await listener.next_data(every_s=5) or b""
    lines = text.decode().splitlines()
    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    ids = [json.loads(line.removeprefix("data: "))["id"] for line in lines if line.startswith("data: ")]
    return list(zip(kinds, ids, strict=True))


async def test_an_event_stream_shows_only_workers_in_scope(server, fleet):
    """A Worker that leaves the scope is reported as deleted; of others not even the ID is sent, also when they are deleted."""
    anna = await operator(server, fleet)
    listeners = []
    for headers in (anna, fleet):
        actor = await server.services.callers.identify(
            headers["Authorization"].split()[1], address="192.0.2.1"
        )
        listeners.append(server.services.events.admit(actor))
        server.services.event_feed.join(listeners[-1])

    async def change(method, worker_id, body=None):
        """Change a Worker, and return what the listener without a scope is sent."""
        await server.http.request(method, f"/api/workers/{worker_id}", json=body, headers=fleet)
        return await sent_to(listeners[1], 1)

    everything = [
        *await change("PATCH", "ops-1", {"name": "renamed"}),
        *await change("DELETE", "ops-1"),
        *await change("PATCH", "etl-1", {"name": "renamed"}),
        *await change("PATCH", "etl-1", {"labels": {"team": "ops"}}),
        *await change("PATCH", "etl-1", {"name": "again"}),
        *await change("DELETE", "etl-1"),
        *await change("PATCH", "bare-1", {"labels": ETL}),
        *await change("DELETE", "bare-1"),
    ]

    assert len(everything) == 8
    assert await sent_to(listeners[0], 4) == [
        ("worker", "etl-1"),
        ("worker_deleted", "etl-1"),
        ("worker", "bare-1"),
        ("worker_deleted", "bare-1"),
    ]
    for listener in listeners:
        server.services.event_feed.unsubscribe(listener)
        server.services.events.release(listener)
