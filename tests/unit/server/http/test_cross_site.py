"""What a page of another site can make an operator's browser send changes nothing here."""

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
    """Return every path of the admin API under which something can be changed, with its methods."""
    paths = admin_app().openapi()["paths"]
    return sorted(
        (method.upper(), f"/api{path}")
        for path, methods in paths.items()
        for method in methods
        if method.upper() not in SAFE
    )


def other_routes(server):
    """Return the same of what Workers and services call."""
    return [
        (method, route.path)
        for route in getattr(create_app(server.services), "routes", ())
        if isinstance(route, Route) and route.path.startswith(("/oauth2", "/auth", "/api"))
        for method in (route.methods or set()) - SAFE
    ]


API = api_routes()
# What a page can send without asking first (Fetch standard, "CORS-safelisted request-header"), and one without a type.
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
    """Return the number of the last event: whatever changes something writes one."""
    events = await server.services.store.read(lambda conn: audit_log.list_events(conn, limit=1))
    return events[0].number


@pytest.fixture
async def cookies(server, admin):
    """Return what the browser of a signed-in operator sends by itself."""
    form = {"username": "admin", "password": PASSWORD}
    ours = {"Sec-Fetch-Site": "same-origin", "Origin": ISSUER}
    answer = await server.from_address("192.0.2.50").post("/login", data=form, headers=ours)
    assert answer.status_code == 303
    return {"Cookie": "; ".join(value.partition(";")[0] for value in answer.headers.get_list("set-cookie"))}


def test_every_route_is_asked():
    """The list is taken from the program: sign-in, and a good deal more."""
    assert ("POST", "/api/login") in API
    assert len(API) >= 15


@pytest.mark.parametrize("kind", SIMPLE)
async def test_what_a_form_can_send_is_refused_by_the_api(server, cookies, kind):
    """With the operator's cookies, from a browser that says nothing about itself: 415 at every route, by our own rule."""
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
async def test_what_comes_from_another_site_is_refused_whatever_it_holds(
    server, admin, cookies, origin_headers
):
    """Even JSON, with a session's own token: 403 at every route to a browser that says it comes from elsewhere."""
    before = await state_of(server)
    for method, path in API:
        answer = await server.http.request(method, path, json=LOGIN, headers=cookies | admin | origin_headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site"), path
    assert await state_of(server) == before


async def test_another_site_cannot_lock_an_operator_out(server, admin):
    """Guesses that a page has the operator's own browser send are not looked at, and not counted."""
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
async def test_what_is_ours_is_answered(server, admin, origin_headers, media_type):
    """A program, which says nothing, and a page of this Server's; JSON in any spelling."""
    headers = origin_headers | {"Content-Type": media_type}
    answer = await server.http.post("/api/login", content=json.dumps(LOGIN), headers=headers)
    assert answer.status_code == 200


async def test_no_body_needs_no_type(server, admin):
    """Signing out sends none."""
    assert (await server.http.post("/api/logout", headers=admin)).status_code == 204


@pytest.mark.parametrize("kind", SIMPLE)
async def test_what_workers_and_services_call_knows_no_cookie(server, cookies, kind):
    """Token, registration, revocation and the like: with an operator's cookies another site's form gets and changes nothing."""
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
        # A nonce is for anyone who asks, and opens nothing.
        assert answer.status_code >= 400 or path == "/oauth2/nonce", (method, path, answer.text)
    assert await state_of(server) == before
