"""Requests that another site's page makes an operator's browser send change nothing."""

import json

import pytest
from starlette.routing import Route
from tests.builders import ISSUER
from tests.deployment import PASSWORD

from lyftdata.app import create_app
from lyftdata.server.api.admin.app import admin_app
from lyftdata.store import audit_log

SAFE = {"GET", "HEAD", "OPTIONS"}
ELSEWHERE = "https://evil.example"
FROM_ELSEWHERE = {"Origin": ELSEWHERE, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
LOGIN = {"username": "admin", "password": PASSWORD}


def api_routes():
    """Return every route of the admin API that can change something, as method and path."""
    paths = admin_app().openapi()["paths"]
    return sorted(
        (method.upper(), f"/api{path}")
        for path, methods in paths.items()
        for method in methods
        if method.upper() not in SAFE
    )


def other_routes(server):
    """Return the same for the routes that Workers and services use."""
    return [
        (method, route.path)
        for route in getattr(create_app(server.services), "routes", ())
        if isinstance(route, Route) and route.path.startswith(("/oauth2", "/auth", "/api"))
        for method in (route.methods or set()) - SAFE
    ]


API = api_routes()
# What a page can send without a preflight (Fetch standard, "CORS-safelisted request-header"), and a body without a type.
SIMPLE = {
    "form": ("application/x-www-form-urlencoded", f"username=admin&password={PASSWORD}"),
    "multipart": (
        "multipart/form-data; boundary=x",
        f'--x\r\nContent-Disposition: form-data; name="username"\r\n\r\nadmin\r\n--x--\r\n{PASSWORD}',
    ),
    "text": ("text/plain", json.dumps(LOGIN)),
    "text that says json": ("text/plain; application/json", json.dumps(LOGIN)),
    "no type": ("", json.dumps(LOGIN)),
}


async def state_of(server):
    """Return the number of the last audit event: every change writes one."""
    events = await server.services.store.read(lambda conn: audit_log.list_events(conn, limit=1))
    return events[0].number


@pytest.fixture
async def cookies(server, admin):
    """Return the cookies that a signed-in operator's browser sends by itself."""
    form = {"username": "admin", "password": PASSWORD}
    ours = {"Sec-Fetch-Site": "same-origin", "Origin": ISSUER}
    answer = await server.from_address("192.0.2.50").post("/login", data=form, headers=ours)
    assert answer.status_code == 303
    return {"Cookie": "; ".join(value.partition(";")[0] for value in answer.headers.get_list("set-cookie"))}


def test_the_list_of_routes_is_complete():
    """It is taken from the program: sign-in, and many more."""
    assert ("POST", "/api/login") in API
    assert len(API) >= 15


@pytest.mark.parametrize("kind", SIMPLE)
async def test_a_body_that_a_form_can_send_is_rejected_by_the_api(server, cookies, kind):
    """With the operator's cookies, from a browser that sends no fetch metadata: 415 at every route."""
    media_type, body = SIMPLE[kind]
    headers = cookies | ({"Content-Type": media_type} if media_type else {})
    before = await state_of(server)
    for method, path in API:
        answer = await server.http.request(method, path, content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type"), path
    assert await state_of(server) == before


@pytest.mark.parametrize(
    "origin_headers",
    [
        FROM_ELSEWHERE,
        {"Origin": ELSEWHERE},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": ISSUER},
        {"Origin": ISSUER.replace("https", "http")},
        {"Origin": f"{ISSUER}.evil.example"},
    ],
    ids=str,
)
async def test_a_request_from_another_site_is_refused_whatever_its_body(
    server, admin, cookies, origin_headers
):
    """Even JSON with a session token: 403 at every route if the browser says that the request is from another site."""
    before = await state_of(server)
    for method, path in API:
        answer = await server.http.request(method, path, json=LOGIN, headers=cookies | admin | origin_headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site"), path
    assert await state_of(server) == before


async def test_another_site_cannot_lock_an_operator_out(server, admin):
    """Guesses that a page makes the operator's own browser send are neither checked nor counted."""
    wrong = json.dumps({"username": "admin", "password": "wrong"})
    operator = server.from_address("192.0.2.77")
    for headers in ({"Content-Type": "text/plain"}, FROM_ELSEWHERE | {"Content-Type": "application/json"}):
        for _ in range(60):
            answer = await operator.post("/api/login", content=wrong, headers=headers)
            assert answer.status_code in {403, 415}

    assert (await operator.post("/api/login", json=LOGIN)).status_code == 200


@pytest.mark.parametrize(
    "origin_headers",
    [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": ISSUER}],
    ids=str,
)
@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8"])
async def test_a_same_origin_request_is_answered(server, admin, origin_headers, media_type):
    """As is one of a program, which sends no origin; the media type JSON in any spelling."""
    headers = origin_headers | {"Content-Type": media_type}
    answer = await server.http.post("/api/login", content=json.dumps(LOGIN), headers=headers)
    assert answer.status_code == 200


async def test_a_request_without_a_body_needs_no_content_type(server, admin):
    """Signing out is one."""
    assert (await server.http.post("/api/logout", headers=admin)).status_code == 204


@pytest.mark.parametrize("kind", SIMPLE)
async def test_the_routes_of_workers_and_services_ignore_cookies(server, cookies, kind):
    """With an operator's cookies, another site's form gets and changes nothing at tokens, registration or revocation."""
    media_type, body = SIMPLE[kind]
    headers = cookies | FROM_ELSEWHERE | ({"Content-Type": media_type} if media_type else {})
    routes = other_routes(server)
    assert {"/oauth2/token", "/oauth2/register", "/oauth2/revoke", "/api/worker/session"} <= {
        path for _, path in routes
    }
    before = await state_of(server)
    for method, path in routes:
        answer = await server.http.request(
            method, path.replace("{worker_id}", "press-01"), content=body, headers=headers
        )
        # Anyone may get a nonce, and it gives no access.
        assert answer.status_code >= 400 or path == "/oauth2/nonce", (method, path, answer.text)
    assert await state_of(server) == before
