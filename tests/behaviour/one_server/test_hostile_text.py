"""Text that databases or encodings reject and numbers too large for a column cause no server error, wherever they are sent."""

import inspect
import json
import re
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from joserfc import jws
from tests.builders import ENROLLMENT_KEY, ISSUER, SECRET_KEY
from tests.deployment import ASSERTION_TYPE, Deployment
from tests.openapi import example
from tests.unit.core.forge import parts
from tests.unit.web.conftest import FROM_OUR_PAGE

from lyftdata.core.enrollment import PROOF_TYPE
from lyftdata.core.enrollment_secrets import ProofKey, derive_proof_key
from lyftdata.core.identity_keys import IdentityKey
from lyftdata.core.secret import Secret
from lyftdata.server.admin.operator_budget import OperatorBudget
from lyftdata.server.runtime.background import flush
from lyftdata.web.routes import PAGES, Entry

NUL, SURROGATE, HUGE = "a\0b", "a\ud800b", 10**30
TEXTS = (
    NUL,
    SURROGATE,
    "\0",
    "x" * 5_000,
    "\u202e\x1b[2J\r\n",
    str(HUGE),
    "-1",
    "\N{ARABIC-INDIC DIGIT ONE}",
)
# Databases differ in these; the others do not depend on the database.
FOR_DATABASES = (NUL, SURROGATE, "x" * 5_000, str(HUGE))
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
PART = re.compile(r"\{\w+\}")
QUERY = (
    "after",
    "before",
    "q",
    "code",
    "action",
    "subject",
    "period",
    "sort",
    "format",
    "status",
    "strategy",
    "label",
    "next",
)
SKIPPED = {"/events", "/logout", "/account/sign-out-everywhere", "/account/password"}
OAUTH = {
    "/oauth2/token": ("grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "scope", "resource", "audience"),
    "/oauth2/introspect": ("token", "client_id", "client_secret", "token_type_hint"),
    "/oauth2/revoke": ("token", "client_id", "client_secret", "token_type_hint"),
    "/auth/rabbitmq/user": ("username", "password"),
    "/auth/rabbitmq/vhost": ("username", "vhost", "ip"),
    "/auth/rabbitmq/resource": ("username", "vhost", "resource", "name", "permission"),
    "/auth/rabbitmq/topic": ("username", "vhost", "resource", "name", "permission", "routing_key"),
    "/auth/rabbitmq/connections": ("username",),
}  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
async def server(opened, request, monkeypatch):
    """Return a Server on each database, without limits on operators' requests and without reauthentication."""
    monkeypatch.setattr(OperatorBudget, "wait_s", lambda *_: 0.0)
    environ = {"LYFTDATA_REAUTHENTICATE_AFTER": "12h"}
    if request.param == "postgresql":
        cluster = request.getfixturevalue("cluster")
        environ |= {"LYFTDATA_DATABASE_URL": cluster.new_database(), "LYFTDATA_SECRET_KEY": SECRET_KEY}
    async with opened(**environ) as deployment:
        yield deployment


@pytest.fixture
def texts(server, request) -> tuple[str, ...]:
    """Return the texts to try: all of them with one database, and with the other those in which databases differ."""
    return TEXTS if request.node.callspec.params["server"] == "sqlite" else FOR_DATABASES


def encoded(text: str) -> bytes:
    """Return a text as bytes, surrogates included."""
    return text.encode("utf-8", "surrogatepass")


def in_url(text: str) -> str:
    """Return a text as part of a URL, at most 1,000 bytes of it, since httpx2 is slow with long URLs."""
    return quote(encoded(text)[:1_000], safe="")


def changed(value: Any, leaf: Any) -> Iterator[Any]:
    """Yield a JSON value with each leaf replaced, one at a time, and with the text as an additional name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            for other in changed(inner, leaf):
                yield value | {key: other}
        if isinstance(leaf, str):
            yield value | {leaf: "x"}
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            for other in changed(inner, leaf):
                yield [*value[:index], other, *value[index + 1 :]]
    else:
        yield leaf


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield every operation of the admin API."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path not in {"/events", "/logout"}:
                yield method.upper(), path, operation


async def test_the_admin_api_survives_hostile_text(server, texts):
    """In each path, parameter and field of each operation, on each database: no answer is a server error."""
    headers = await server.sign_in()
    document = (await server.http.get("/api/openapi.json", headers=headers)).json()
    failed = []

    async def ask(method: str, path: str, content: bytes = b"") -> None:
        server.clock.forward(seconds=1)
        given = headers | ({"Content-Type": "application/json"} if content else {})
        answer = await server.http.request(method, f"/api{path}", headers=given, content=content)
        # Operations that take a password may answer that it is wrong.
        assert answer.status_code not in {401, 429} or path in {
            "/login",
            "/me/password",
            "/me/password/check",
            "/me/reauthenticate",
        }, path
        if answer.status_code >= 500:
            failed.append((answer.status_code, method, path[:120], content[:120]))

    for method, path, operation in operations(document):
        plain = PART.sub("press-01", path)
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        whole = example(body, document) if body else None
        for text in texts:
            if plain != path:
                await ask(
                    method,
                    PART.sub(in_url(text), path),
                    json.dumps(whole).encode() if body else b"",
                )
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "query":
                    await ask(method, f"{plain}?{parameter['name']}={in_url(text)}")
        for leaf in (*texts, HUGE, -HUGE, 1e308, None):
            for other in changed(whole, leaf) if body else ():
                await ask(method, plain, json.dumps(other).encode())
    assert failed == []


def fields_of(entry: Entry) -> list[str]:
    """Return the fields that the code behind a page reads from a form."""
    source = inspect.getsource(sys.modules[entry.handler.__module__])
    return sorted(set(re.findall(r"""form\.\w+\("(\w+)"\)""", source)) - {"csrf"})


async def test_the_pages_survive_hostile_text(server, browser, texts):
    """In the path, the query and the form of each page."""
    failed = []

    async def ask(method: str, url: str, /, **fields: str) -> None:
        server.clock.forward(seconds=1)
        if method == "GET":
            answer = await browser.get(url)
        else:
            body = urlencode({"csrf": browser.csrf} | {name: encoded(text) for name, text in fields.items()})
            answer = await browser.http.post(url, content=body, headers=FROM_OUR_PAGE | FORM)
        # As above: this page takes a password.
        assert answer.status_code not in {401, 429} or url.startswith("/account/confirm"), url
        if answer.status_code >= 500:
            failed.append((answer.status_code, method, url[:120], fields))

    for entry in PAGES:
        if entry.path in SKIPPED:
            continue
        plain = PART.sub("press-01", entry.path)
        for text in texts:
            if plain != entry.path:
                await ask(entry.method, PART.sub(in_url(text), entry.path))
            await ask(entry.method, f"{plain}?{urlencode(dict.fromkeys(QUERY, encoded(text)))}")
            fields = fields_of(entry) if entry.method == "POST" else []
            for name in fields:
                await ask("POST", plain, **(dict.fromkeys(fields, "press-01") | {name: text}))
    assert failed == []


def signed(key: IdentityKey, claims: dict[str, Any]) -> str:
    """Return an assertion with any claims, even invalid text."""
    header = {"alg": key.algorithm, "typ": "JWT", "kid": key.public.thumbprint}
    return jws.serialize_compact(
        header, json.dumps(claims).encode(), key.jose_key, algorithms=[key.algorithm]
    )


def signed_proof(key: ProofKey, claims: dict[str, Any]) -> str:
    """Return a proof with any claims, even invalid text."""
    header = {"alg": "Ed25519", "typ": PROOF_TYPE, "kid": key.key_id}
    return jws.serialize_compact(header, json.dumps(claims).encode(), key.signing_key, algorithms=["Ed25519"])


class Asker:
    """Sends requests to the OAuth endpoints, and collects server errors."""

    def __init__(self, server: Deployment) -> None:
        self.server = server
        self.failed: list[tuple[int, str, str]] = []

    async def post(self, path: str, content: str, headers: dict[str, str]) -> None:
        """Send a request a minute after the last one, so that no rate limit answers it."""
        self.server.clock.forward(seconds=60)
        answer = await self.server.http.post(path, content=content, headers=headers)
        if answer.status_code >= 500:
            self.failed.append((answer.status_code, path, content[:200]))

    async def post_form(self, path: str, form: dict[str, str]) -> None:
        """Post a form."""
        await self.post(path, urlencode({name: encoded(value) for name, value in form.items()}), FORM)

    async def post_json(self, path: str, value: Any, bearer: str) -> None:
        """Post JSON with a credential."""
        await self.post(path, json.dumps(value), JSON | {"Authorization": f"Bearer {bearer}"})


async def test_oauth_forms_survive_hostile_text(server):
    """In each field of each form that Workers, services and brokers send."""
    asker = Asker(server)
    for path, fields in OAUTH.items():
        for text in TEXTS:
            for field in fields:
                form = dict.fromkeys(fields, "press-01") | {"grant_type": "client_credentials", field: text}
                await asker.post_form(path, form)
    assert asker.failed == []
    # The refusals can be written to the database.
    await flush(server.services)


async def test_what_a_worker_reports_may_be_hostile_text(server):
    """In each member of a registration and a poll, and in each claim of validly signed proofs and assertions."""
    asker = Asker(server)
    worker_id, key = await server.enrolled("press")
    proof_key = derive_proof_key(Secret(ENROLLMENT_KEY), audience=ISSUER)
    metadata = {
        "client_name": "press",
        "jwks": {"keys": [key.public.as_dict()]},
        "labels": "a=b",
        "scope": "x",
    }
    poll = {"boot_id": "boot-0001", "host": {"hostname": "h", "pid": "1"}, "labels": "a=b"}
    for text in (*TEXTS, HUGE):
        for other in changed(metadata, text):
            await asker.post_json("/oauth2/register", other, server.proof(key, "press"))
        for claims in changed(parts(server.proof(key, "press"))[1], text):
            await asker.post_json("/oauth2/register", metadata, signed_proof(proof_key, claims))
        for claims in changed(parts(server.assertion(key, worker_id))[1], text):
            form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE}
            await asker.post_form("/oauth2/token", form | {"client_assertion": signed(key, claims)})
        token = (await server.token_by_assertion(server.assertion(key, worker_id))).json()["access_token"]
        for other in changed(poll, text):
            await asker.post_json("/api/worker/session", other, token)
            # Otherwise the next poll of the same start would be held.
            await asker.post_json("/api/worker/session", poll | {"sign_off": True}, token)
    assert asker.failed == []
    await flush(server.services)


async def test_invalid_text_is_not_found_or_rejected(server):
    """A path with NUL is 404; a query or body with NUL or a surrogate is 422. On both databases."""
    headers = await server.sign_in()
    for path in (
        "/api/workers/a%00b",
        "/api/api-keys/%00",
        "/api/enrollment/keys/a%00b",
        "/api/refusals/a%00",
        "/oauth2/register/a%00b",
        "/workers/a%00b",
    ):
        assert (await server.http.get(path, headers=headers)).status_code == 404
    for answer in (
        await server.http.get("/api/audit?subject=a%00b", headers=headers),
        await server.http.post(
            "/api/workers", headers=headers | JSON, content=b'{"name": "ok", "subject": "a\\u0000b"}'
        ),
        await server.http.post(
            "/api/workers",
            headers=headers | JSON,
            content=b'{"name": "ok", "labels": {"a": ["\\ud800"]}, "subject": ""}',
        ),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
