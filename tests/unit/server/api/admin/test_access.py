"""Who may do what in the admin API."""

import pytest
from tests.deployment import PASSWORD

from lyftdata.server.api.admin.app import admin_app

OPERATIONS = [
    (method.upper(), f"/api{path}")
    for path, methods in admin_app().openapi()["paths"].items()
    for method in methods
]


# Who may call a route: `all` or `admins`; `all in person` or `admins in person` exclude API tokens. Callers with a scope may call
# only the routes in `SCOPED`. Add new routes here.
ROUTES = {
    ("POST", "/api/logout"): "all in person",
    ("POST", "/api/logout-everywhere"): "all in person",
    ("GET", "/api/whoami"): "all",
    ("POST", "/api/me/password"): "all in person",
    ("POST", "/api/me/password/check"): "all in person",
    ("POST", "/api/me/reauthenticate"): "all in person",
    ("GET", "/api/me/second-factor"): "all in person",
    ("POST", "/api/me/second-factor/totp"): "all in person",
    ("POST", "/api/me/second-factor/totp/confirm"): "all in person",
    ("POST", "/api/me/second-factor/recovery-codes"): "all in person",
    ("DELETE", "/api/me/second-factor"): "all in person",
    ("DELETE", "/api/me/second-factor/totp"): "all in person",
    ("DELETE", "/api/me/passkeys/{passkey_id}"): "all in person",
    ("DELETE", "/api/operators/{name}/second-factor"): "admins in person",
    ("GET", "/api/operators/{name}/passkeys"): "admins in person",
    ("DELETE", "/api/operators/{name}/passkeys/{passkey_id}"): "admins in person",
    ("GET", "/api/admin-sessions"): "all in person",
    ("DELETE", "/api/admin-sessions/{session_id}"): "all in person",
    ("GET", "/api/workers"): "all",
    ("POST", "/api/workers"): "admins",
    ("POST", "/api/workers/batch"): "admins",
    ("POST", "/api/workers/rotate-keys"): "admins",
    ("POST", "/api/workers/match"): "admins",
    ("POST", "/api/workers/changes"): "admins",
    ("POST", "/api/workers/changes/{number}/undo"): "admins",
    ("GET", "/api/workers/{worker_id}"): "all",
    ("PATCH", "/api/workers/{worker_id}"): "admins",
    ("DELETE", "/api/workers/{worker_id}"): "admins",
    ("GET", "/api/workers/{worker_id}/sessions"): "all",
    ("GET", "/api/workers/{worker_id}/token-origins"): "all",
    ("GET", "/api/workers/{worker_id}/token-counts"): "all",
    ("GET", "/api/workers/{worker_id}/copies"): "all",
    ("POST", "/api/workers/{worker_id}/copies/{reference}"): "admins",
    ("GET", "/api/registrations/repeated"): "all",
    ("GET", "/api/api-keys"): "all",
    ("POST", "/api/api-keys"): "admins",
    ("GET", "/api/api-keys/{name}"): "all",
    ("POST", "/api/api-keys/{name}/revoke"): "admins",
    ("POST", "/api/api-keys/{name}/allow"): "admins",
    ("POST", "/api/api-keys/{name}/rotate"): "admins",
    ("POST", "/api/api-keys/{name}/end-previous"): "admins",
    ("GET", "/api/resources"): "all",
    ("POST", "/api/resources"): "admins",
    ("GET", "/api/resources/{name}"): "all",
    ("PATCH", "/api/resources/{name}"): "admins",
    ("DELETE", "/api/resources/{name}"): "admins",
    ("POST", "/api/resources/{name}/key"): "admins",
    ("GET", "/api/enrollment"): "all",
    ("GET", "/api/enrollment/keys"): "all",
    ("POST", "/api/enrollment/keys"): "admins",
    ("GET", "/api/enrollment/keys/{name}"): "all",
    ("POST", "/api/enrollment/keys/{name}/revoke"): "admins",
    ("POST", "/api/enrollment/keys/{name}/rotate"): "admins",
    ("POST", "/api/enrollment/keys/{name}/end-previous"): "admins",
    ("POST", "/api/enrollment/keys/{name}/rehearse"): "all",
    ("GET", "/api/enrollment/pending"): "all",
    ("POST", "/api/enrollment/approve"): "admins",
    ("POST", "/api/enrollment/deny"): "admins",
    ("GET", "/api/refusals"): "all",
    ("GET", "/api/refusals/{reference}"): "all",
    ("POST", "/api/refusals/ignore"): "admins in person",
    ("POST", "/api/refusals/reopen"): "admins in person",
    ("GET", "/api/audit"): "all",
    ("GET", "/api/audit/verify"): "all",
    ("GET", "/api/audit/verify/progress"): "all",
    ("GET", "/api/audit/key"): "all",
    ("GET", "/api/audit/access"): "all",
    ("GET", "/api/audit/checkpoint"): "all",
    ("GET", "/api/audit/{number}/proof"): "all",
    ("GET", "/api/audit/export"): "all",
    ("GET", "/api/signing-keys"): "all",
    ("POST", "/api/signing-keys/rotate"): "admins",
    ("GET", "/api/server"): "all",
    ("GET", "/api/servers"): "all",
    ("GET", "/api/history"): "all",
    ("GET", "/api/fleet"): "all",
    ("GET", "/api/fleet/versions"): "all",
    ("GET", "/api/fleet/versions/history"): "all",
    ("GET", "/api/fleet/policy"): "all",
    ("PUT", "/api/fleet/policy"): "admins",
    ("DELETE", "/api/fleet/policy"): "admins",
    ("POST", "/api/fleet/policy/preview"): "all",
    ("GET", "/api/attention"): "all",
    ("POST", "/api/attention/{alert_id}/snooze"): "admins in person",
    ("POST", "/api/attention/{alert_id}/unsnooze"): "admins in person",
    ("GET", "/api/incident"): "all",
    ("POST", "/api/incident/cut-offs"): "admins",
    ("GET", "/api/incident/cut-offs/{number}"): "all",
    ("GET", "/api/events"): "all",
    ("GET", "/api/event-destinations"): "admins",
    ("POST", "/api/event-destinations"): "admins in person",
    ("GET", "/api/event-destinations/{name}"): "admins",
    ("PATCH", "/api/event-destinations/{name}"): "admins in person",
    ("DELETE", "/api/event-destinations/{name}"): "admins in person",
    ("POST", "/api/event-destinations/{name}/test"): "admins in person",
    ("POST", "/api/event-destinations/{name}/secret"): "admins in person",
    ("POST", "/api/event-destinations/{name}/skip"): "admins in person",
    ("GET", "/api/change-requests"): "all",
    ("GET", "/api/change-requests/{request_id}"): "all",
    ("POST", "/api/change-requests/{request_id}/confirm"): "admins in person",
    ("POST", "/api/change-requests/{request_id}/decline"): "admins in person",
    ("POST", "/api/change-requests/{request_id}/withdraw"): "admins",
    ("POST", "/api/change-requests/{request_id}/reason"): "admins",
    ("GET", "/api/second-operator"): "all",
    ("PUT", "/api/second-operator"): "admins in person",
    ("GET", "/api/operators"): "all",
    ("POST", "/api/operators"): "admins in person",
    ("PATCH", "/api/operators/{name}"): "admins in person",
    ("DELETE", "/api/operators/{name}"): "admins in person",
    ("DELETE", "/api/operators/{name}/sessions"): "admins in person",
    ("GET", "/api/api-tokens"): "all",
    ("POST", "/api/api-tokens"): "admins in person",
    ("GET", "/api/api-tokens/{name}"): "all",
    ("POST", "/api/api-tokens/{name}/revoke"): "admins in person",
}
MAY_CALL = {
    "all": {"admin", "viewer", "admin token", "viewer token"},
    "admins": {"admin", "admin token"},
    "all in person": {"admin", "viewer"},
    "admins in person": {"admin"},
}
# Routes that stay within the caller's scope; a caller with a scope is refused all others.
SCOPED = {
    ("POST", "/api/logout"),
    ("POST", "/api/logout-everywhere"),
    ("GET", "/api/whoami"),
    ("POST", "/api/me/password"),
    ("POST", "/api/me/password/check"),
    ("POST", "/api/me/reauthenticate"),
    ("GET", "/api/me/second-factor"),
    ("POST", "/api/me/second-factor/totp"),
    ("POST", "/api/me/second-factor/totp/confirm"),
    ("POST", "/api/me/second-factor/recovery-codes"),
    ("DELETE", "/api/me/second-factor"),
    ("DELETE", "/api/me/second-factor/totp"),
    ("DELETE", "/api/me/passkeys/{passkey_id}"),
    ("GET", "/api/admin-sessions"),
    ("DELETE", "/api/admin-sessions/{session_id}"),
    ("GET", "/api/workers"),
    ("GET", "/api/workers/{worker_id}"),
    ("GET", "/api/workers/{worker_id}/sessions"),
    ("GET", "/api/workers/{worker_id}/token-origins"),
    ("GET", "/api/workers/{worker_id}/token-counts"),
    ("GET", "/api/workers/{worker_id}/copies"),
    ("GET", "/api/api-keys"),
    ("GET", "/api/api-keys/{name}"),
    ("POST", "/api/workers"),
    ("POST", "/api/workers/batch"),
    ("POST", "/api/workers/rotate-keys"),
    ("POST", "/api/workers/match"),
    ("POST", "/api/workers/changes"),
    ("POST", "/api/workers/changes/{number}/undo"),
    ("PATCH", "/api/workers/{worker_id}"),
    ("DELETE", "/api/workers/{worker_id}"),
    ("POST", "/api/workers/{worker_id}/copies/{reference}"),
    ("POST", "/api/api-keys"),
    ("POST", "/api/api-keys/{name}/revoke"),
    ("POST", "/api/api-keys/{name}/allow"),
    ("POST", "/api/api-keys/{name}/rotate"),
    ("POST", "/api/api-keys/{name}/end-previous"),
    ("POST", "/api/enrollment/keys"),
    ("POST", "/api/enrollment/keys/{name}/revoke"),
    ("POST", "/api/enrollment/keys/{name}/rotate"),
    ("POST", "/api/enrollment/keys/{name}/end-previous"),
    ("POST", "/api/enrollment/approve"),
    ("POST", "/api/enrollment/deny"),
    ("GET", "/api/resources"),
    ("GET", "/api/resources/{name}"),
    ("GET", "/api/enrollment/keys"),
    ("GET", "/api/enrollment/keys/{name}"),
    ("GET", "/api/enrollment/pending"),
    ("GET", "/api/events"),
    ("GET", "/api/change-requests"),
    ("GET", "/api/change-requests/{request_id}"),
    ("POST", "/api/change-requests/{request_id}/confirm"),
    ("POST", "/api/change-requests/{request_id}/decline"),
    ("POST", "/api/change-requests/{request_id}/withdraw"),
    ("POST", "/api/change-requests/{request_id}/reason"),
    ("GET", "/api/api-tokens"),
    ("POST", "/api/api-tokens"),
    ("GET", "/api/api-tokens/{name}"),
    ("POST", "/api/api-tokens/{name}/revoke"),
}
CALLERS = [f"{scoped}{caller}" for scoped in ("", "scoped ") for caller in sorted(MAY_CALL["all"])]
SIGNING_IN = {"/api/login", "/api/login/device", "/api/login/device/token"}
OWN_PASSWORD = "xxx " + PASSWORD


async def viewer_of(server, admin):
    """Add a viewer and return the headers of their session."""
    body = {"name": "vera", "role": "viewer", "password": "another long one"}
    assert (await server.http.post("/api/operators", json=body, headers=admin)).status_code == 201
    return await server.sign_in("vera", "another long one")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nope"}, {"Authorization": "Basic YTpi"}])
async def test_every_route_needs_a_session(server, headers, subtests):
    """All but those for signing in answer 401, before anything else is checked."""
    for method, path in OPERATIONS:
        if path in SIGNING_IN:
            continue

        answer = await server.http.request(method, path, headers=headers)

        with subtests.test(f"{method} {path}"):
            assert answer.status_code == 401
            assert answer.json()["code"] == "not_signed_in"
            assert answer.headers["content-type"] == "application/problem+json"


def test_every_route_has_a_row():
    """A new route must be added to the table above, with who may call it."""
    assert set(ROUTES) == set(OPERATIONS) - {("POST", path) for path in SIGNING_IN}
    assert set(ROUTES) > SCOPED


async def callers_of(server):
    """Return a function that returns the headers of a kind of caller; operators are signed in again each time."""
    own = {"current_password": PASSWORD, "new_password": OWN_PASSWORD}
    answer = await server.http.post("/api/me/password", json=own, headers=await server.sign_in())
    assert answer.status_code == 204, answer.text
    admin = await server.sign_in(password=OWN_PASSWORD)
    await viewer_of(server, admin)

    for role in ("admin", "viewer"):
        body = {"name": f"etl-{role}", "role": role, "password": "another long one", "scope": {"team": "etl"}}
        assert (await server.http.post("/api/operators", json=body, headers=admin)).status_code == 201

    async def token(role, scope):
        body = {"name": f"{role}-token-{len(scope or '')}", "role": role, "scope": scope}
        issued = await server.http.post("/api/api-tokens", json=body, headers=admin)
        return {"Authorization": f"Bearer {issued.json()['token']}"}

    tokens = {f"{role} token": await token(role, None) for role in ("admin", "viewer")}
    tokens |= {f"scoped {role} token": await token(role, {"team": "etl"}) for role in ("admin", "viewer")}
    passwords = {
        "admin": ("admin", OWN_PASSWORD),
        "viewer": ("vera", "another long one"),
        "scoped admin": ("etl-admin", "another long one"),
        "scoped viewer": ("etl-viewer", "another long one"),
    }

    async def headers(caller):
        return tokens.get(caller) or await server.sign_in(*passwords[caller])

    return headers


@pytest.mark.parametrize("caller", CALLERS)
async def test_each_route_admits_only_the_callers_in_its_row(server, caller, unhurried, subtests):
    """Every other kind of caller gets 403, before anything else is checked."""
    headers_of = await callers_of(server)
    headers = await headers_of(caller)
    # Otherwise a request for the event stream would never end.
    server.services.events.close()
    for (method, path), row in ROUTES.items():
        # The body is incomplete, so that an admitted request changes nothing.
        filled = path.replace("{number}", "999").replace("{", "").replace("}", "")
        body: dict[str, str] | None = {} if method in {"POST", "PATCH"} else None

        answer = await server.http.request(method, filled, json=body, headers=headers)
        if path.startswith("/api/logout"):
            headers = await headers_of(caller)

        with subtests.test(f"{method} {path}"):
            is_scoped = caller.startswith("scoped ")
            if caller.removeprefix("scoped ") in MAY_CALL[row] and (
                not is_scoped or (method, path) in SCOPED
            ):
                assert answer.status_code not in {401, 403, 405}
            else:
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_viewer_reads_every_list(server, admin, press):
    """The role limits changes, not reading."""
    viewer = await viewer_of(server, admin)
    for path in (
        "workers",
        "workers/press-01",
        "api-keys",
        "enrollment",
        "refusals",
        "audit",
        "audit/verify",
        "attention",
        "resources",
        "history",
        "operators",
        "server",
        "whoami",
    ):
        assert (await server.http.get(f"/api/{path}", headers=viewer)).status_code == 200, path


async def test_a_worker_token_is_refused_by_the_admin_api(server, press):
    """Only operators and API tokens may use it."""
    token = (await server.token_by_key(*press)).json()["access_token"]

    answer = await server.http.get("/api/workers", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 401


async def test_an_operators_session_is_not_a_worker_token(server, admin):
    """It does not pass verification."""
    assert (await server.http.get("/auth/verify", headers=admin)).status_code == 401
