"""A null character, which PostgreSQL cannot store in text, is rejected or not found wherever it is sent, and causes no server error."""

import html
import itertools
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.routing import Mount, Route
from tests.deployment import Deployment, Open
from tests.postgres import Cluster
from tests.unit.web.conftest import FROM_OUR_PAGE, Browser, signed_in

import lyftdata.web
from lyftdata.app import all_routes
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.server.admin.operator_budget import OperatorBudget
from lyftdata.server.api.admin.app import admin_app
from lyftdata.server.runtime.background import flush

SECRET_KEY = "Zt8qYw3nV5rKc1xLm7Pb2Hd9Gf4Js6UaQe0"
FIRST = "a password to be changed"
ADA = "quite another of her own"
TEXTS = ["\0", "press\0", "\0press"]
# Existing values for the parameters of paths.
THERE = {
    "workers": "press",
    "api-keys": "press-key",
    "resources": "broker",
    "operators": "bob",
    "register": "press",
}
# These end the session that the test uses, or never stop answering.
LEFT_OUT = re.compile(r"/(logout|logout-everywhere|sign-out-everywhere|events|live)$")


class Site(NamedTuple):
    """A Server with one of everything, an admin's session and another admin's browser."""

    server: Deployment
    admin: dict[str, str]
    browser: Browser

    async def ask_all(self, method: str, target: str, **how: Any) -> list[int]:
        """Send a request as the command line and as a browser; return the statuses."""
        statuses = []
        for http, headers in (
            (self.server.http, self.admin),
            (self.browser.http, FROM_OUR_PAGE | {"Accept": "text/html"}),
        ):
            answer = await http.request(method, target, headers=headers, **how)
            statuses.append(answer.status_code)
        return statuses

    async def check_still_signed_in(self) -> None:
        """Check that the earlier requests were not just answered with a demand to sign in."""
        assert (await self.server.http.get("/api/workers", headers=self.admin)).status_code == 200
        assert (await self.browser.get("/workers")).status_code == 200


@pytest.fixture
async def site(cluster: Cluster, opened: Open, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """
    Return a Server on PostgreSQL, which rejects null characters; SQLite accepts them.

    The limit of operators' requests is off; other tests are about it.
    """
    monkeypatch.setattr(OperatorBudget, "wait_s", lambda *_: 0.0)
    given = {"LYFTDATA_DATABASE_URL": cluster.new_database(), "LYFTDATA_SECRET_KEY": SECRET_KEY}
    async with opened(**given) as server:
        admin = await server.sign_in()
        for path, body in (
            ("workers", {"name": "press", "id": "press"}),
            ("api-keys", {"name": "press-key", "worker_ids": ["press"]}),
            ("resources", {"name": "broker", "audience": "https://broker.example"}),
            ("operators", {"name": "bob", "role": "viewer", "password": "another long one"}),
            ("operators", {"name": "ada", "role": "admin", "password": FIRST}),
        ):
            answer = await server.http.post(f"/api/{path}", json=body, headers=admin)
            assert answer.status_code == 201, answer.text
        first = await server.sign_in("ada", FIRST)
        body = {"current_password": FIRST, "new_password": ADA}
        assert (await server.http.post("/api/me/password", json=body, headers=first)).status_code == 204
        yield Site(server, admin, await signed_in(server, "ada", ADA))


def routes(server: Deployment) -> Iterator[tuple[str, str]]:
    """Yield method and path of every route: of the protocol endpoints, of the pages, and of the admin API."""
    for route in all_routes(server.services):
        if isinstance(route, Route):
            yield from ((method, route.path) for method in route.methods or ())
        else:
            assert isinstance(route, Mount)
    for method, path, _ in operations():
        yield method, path


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and body properties of every operation of the admin API."""
    document = admin_app().openapi()
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
            properties = schemas.get(reference.rpartition("/")[2], {}).get("properties", {})
            yield method.upper(), f"/api{path}", properties


def filled(path: str, text: str | None = None) -> str:
    """Return a path with its parameters replaced by a text, or by existing values."""
    kind = next((kind for kind in THERE if f"/{kind}/" in path), "")
    return re.sub(r"\{[^}]+\}", text or THERE.get(kind, "press"), path)


async def test_a_null_character_in_a_path_is_not_found(site):
    """At every route with a parameter."""
    with_parameters = [(method, path) for method, path in routes(site.server) if "{" in path]
    for method, path in with_parameters:
        for text in ("%00", "press%00", "%00press"):
            statuses = await site.ask_all(method, filled(path, text))
            # A proxy's check is refused for its missing token before its path is examined.
            expected = 401 if (method, path.startswith("/auth/verify/")) == ("GET", True) else 404
            assert set(statuses) == {expected}, (method, path, text)

    assert len(with_parameters) > 40
    await site.check_still_signed_in()


async def test_a_null_character_in_a_query_is_rejected(site):
    """In any parameter; only the endpoints that Workers use all the time ignore queries."""
    hot = {
        ("POST", "/oauth2/token"),
        ("POST", "/oauth2/register"),
        ("POST", "/api/worker/session"),
        ("GET", "/auth/verify"),
    }
    for method, path in routes(site.server):
        for name, text in itertools.product(("q", "%00", "label"), ("%00", "a%00b")):
            statuses = await site.ask_all(method, f"{filled(path)}?{name}={text}")
            if (method, path) in hot or (method, path.startswith("/auth/verify/")) == ("GET", True):
                assert max(statuses) < 500, (method, path)
            else:
                assert set(statuses) == {422}, (method, path)

    await site.check_still_signed_in()


def form_fields() -> list[str]:
    """Return the name of every form field that a page or a protocol endpoint reads."""
    package = Path(lyftdata.web.__file__).parent
    source = "".join(file.read_text(encoding="utf-8") for file in package.rglob("*.py"))
    pages = set(re.findall(r"form\.\w+\(\s*\"(\w+)\"", source))
    assert len(pages) > 10
    wire = {
        "grant_type",
        "client_id",
        "client_secret",
        "client_assertion",
        "token",
        "resource",
        "audience",
        "scope",
    }
    return sorted(pages | wire | {"username", "password", "vhost", "name", "permission"})


async def test_a_null_character_in_a_form_causes_no_server_error(site):
    """In any field of a page's form or a token request: in all fields at once, and in one at a time."""
    fields = form_fields()
    for method, path in routes(site.server):
        if method != "POST" or path.startswith("/api/") or LEFT_OUT.search(path):
            continue
        if path.startswith(("/oauth2/", "/auth/")):
            answers = [
                await site.server.http.post(path, data={name: text}) for name in fields for text in TEXTS
            ]
        else:
            answers = [
                await site.browser.post(filled(path), **form)
                for form in await forms_with_null_characters(site, path, fields)
            ]
        assert max(answer.status_code for answer in answers) < 500, path

    await site.check_still_signed_in()


async def forms_with_null_characters(site: Site, path: str, fields: list[str]) -> list[dict[str, str]]:
    """Return forms for a page: with a null character in every field, and as shown but with one in a single field."""
    page = await site.browser.get(filled(path))
    shown = {
        name: html.unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', page.text)
    }
    shown.pop("csrf", None)
    named = set(re.findall(r'name="(\w+)"', page.text)) - {"csrf", "viewport"}
    return [
        *(dict.fromkeys(fields, text) for text in TEXTS),
        *(shown | {name: "press\0"} for name in sorted(named)),
    ]


async def test_a_null_character_in_a_json_body_causes_no_server_error(site):
    """In any text, in a list, as a key or as a value."""
    for method, path, properties in operations():
        if method in {"GET", "DELETE"} or LEFT_OUT.search(path):
            continue
        for text in TEXTS:
            bodies: list[dict[str, Any]] = [dict.fromkeys(properties, text)]
            for name in properties:
                bodies += [{**VALID, name: odd} for odd in (text, [text], {text: "a"}, {"a": text})]
            for body in bodies:
                answer = await site.server.http.request(method, filled(path), json=body, headers=site.admin)
                assert answer.status_code < 500, (method, path, body, answer.text)

    await site.check_still_signed_in()


async def test_a_null_character_in_what_a_worker_sends_causes_no_server_error(site):
    """From a proven Worker: in the identifiers of what it signs, and in its name, labels and host facts."""
    server = site.server
    worker_id, key = await server.enrolled("press-02")
    for text in TEXTS:
        by_assertion = await server.token_by_assertion(server.assertion(key, worker_id, jti=text))
        answers = [
            by_assertion,
            await server.register(key, text),
            await server.register(key, "x", software_id=text),
        ]
        other = generate_identity_key()
        proof = server.proof(other, "press-03", jti=text)
        answers.append(await server.register(other, "press-03", credential=proof))
        answers.append(
            await server.register(generate_identity_key(), "press-04", labels={"a": text, text: "b"})
        )
        token = (await server.token_by_assertion(server.assertion(key, worker_id))).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        for odd in (
            {"boot_id": f"boot-0001{text}"},
            {"host": {"hostname": text, text: text}},
            {"labels": f"a={text}"},
        ):
            # The first poll of a start is answered at once.
            poll = {"boot_id": f"boot-{len(answers):04}"}
            answers.append(await server.http.post("/api/worker/session", json=poll | odd, headers=headers))
            await server.http.post("/api/worker/session", json=poll | {"sign_off": True}, headers=headers)
        assert [answer.text for answer in answers if answer.status_code >= 500] == []

    # What was accepted can be written to the database.
    await flush(server.services)
    await site.check_still_signed_in()


# Valid for most operations, so that only the null character is wrong.
VALID: dict[str, Any] = {
    "name": "other",
    "audience": "https://other.example",
    "role": "viewer",
    "password": "another long one still",
    "worker_ids": ["press"],
}
