"""A secret entered where a name belongs is not stored anywhere."""

import itertools
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from sqlalchemy import select
from tests.builders import ENROLLMENT_KEY, SECRET_KEY, seeded_bytes
from tests.deployment import PASSWORD
from tests.openapi import example

from lyftdata.core.api_keys import generate_api_key
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.server.admin.operator_budget import OperatorBudget
from lyftdata.server.api.admin.app import admin_app
from lyftdata.server.runtime import background
from lyftdata.server.runtime.background import flush
from lyftdata.store.schema import metadata

PREVIOUS = "Qm3pXw7zR9tLk5vNc2Hs8Jd6Yb4Fg1Ae"
API_KEY = generate_api_key(seeded_bytes(7)).text.reveal()
SESSION = "lyftdata_session_" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY1zA3bC5dE7f"
SECRETS = {
    "generated enrollment key": ENROLLMENT_KEY,
    "chosen enrollment key": PREVIOUS,
    "secret key": SECRET_KEY,
    "API key": API_KEY,
    "session": SESSION,
}


@pytest.fixture(params=["sqlite", "postgresql"])
async def server(opened, request):
    """Return a Server on each database that uses these secrets."""
    environ = {"LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS": PREVIOUS, "LYFTDATA_SECRET_KEY": SECRET_KEY}
    if request.param == "postgresql":
        environ["LYFTDATA_DATABASE_URL"] = request.getfixturevalue("cluster").new_database()
    async with opened(**environ) as deployment:
        yield deployment


@pytest.fixture(params=SECRETS)
def secret(request):
    """Return each secret."""
    return SECRETS[request.param]


async def everything_stored(server) -> str:
    """Write everything pending; return the whole content of the database."""
    await flush(server.services)
    rows = await server.services.store.read(
        lambda conn: [row for table in metadata.sorted_tables for row in conn.execute(select(table))]
    )
    return repr(rows)


def misplaced(secret: str):
    """Yield requests of the admin API with a secret in each place that is stored: method, path, body."""
    for text in (secret, f"press {secret}"):
        yield "POST", "/workers", {"name": text}
        yield "PATCH", "/workers/press-01", {"name": text}
        yield "POST", "/resources", {"name": "files", "audience": "https://files", "worker_names": [text]}
    yield "POST", "/workers", {"name": "press", "id": secret}
    for labels in ({"key": secret}, {secret: ""}):
        yield "POST", "/workers", {"name": "press", "labels": labels}
        yield "PATCH", "/workers/press-01", {"labels": labels}
    yield "POST", "/api-keys", {"name": secret}
    yield "POST", "/operators", {"name": secret, "role": "viewer"}
    for field, value in (
        ("name", secret),
        ("audience", f"https://files/{secret}"),
        ("scopes", [secret]),
        ("worker_ids", [secret]),
        ("labels", [f"zone={secret}"]),
        ("labels", [secret]),
    ):
        body = {"name": "files", "audience": "https://files"}
        yield "POST", "/resources", body | {field: value}


async def test_operators_cannot_store_a_secret_as_a_name(server, secret):
    """In each place of the admin API the request is rejected, the secret is not repeated, and no table contains it."""
    admin = await server.sign_in()
    given = {"name": "press-01", "id": "press-01"}
    assert (await server.http.post("/api/workers", json=given, headers=admin)).status_code == 201
    for method, path, body in misplaced(secret):
        answer = await server.http.request(method, f"/api{path}", json=body, headers=admin)
        assert answer.status_code == 422, (method, path, answer.text)
        assert secret not in answer.text

    assert secret not in await everything_stored(server)


PART = re.compile(r"\{\w+\}")
# Values that make the document's example requests valid, so that only the secret is wrong.
GOOD: dict[str, Any] = {
    "id": None,
    "api_key": None,
    "names": "press-0[2-3]",
    "ids": None,
    "disabled_until": "2d",
    "expires_in_s": 86_400,
    "grace_s": 60,
    "ends_at": None,
    "audience": "https://press.example",
    "for_all_workers": False,
    "networks": ["192.0.2.0/24"],
    "approve_name": None,
    "approve_networks": [],
    "url": "https://events.example/x",
    "events": ["*"],
    "ca": "",
    "code": "unknown_worker",
    "subjects": ["worker:press-01"],
    "for_s": 86_400,
    "warn_below": "1.2.3",
    "refuse_below": "1.2.2",
    "refuse_from": None,
    "password": None,
    "reset_password": False,
    "no_scope": False,
    "role": "viewer",
}
GOOD_THERE: dict[str, dict[str, Any]] = {
    "PATCH /workers/{worker_id}": {"enabled": False},
    "PATCH /resources/{name}": {"labels": ["zone=eu"]},
    "POST /resources": {"labels": ["zone=eu"]},
    "PATCH /event-destinations/{name}": {"labels": ["zone=eu"]},
    "POST /event-destinations": {"labels": ["zone=eu"]},
    "POST /workers/changes": {"labels": {}, "match": None, "expect": 1, "q": "id:=press-01"},
    "PATCH /operators/{name}": {"scope": {"zone": "eu"}},
}
# These take credentials, look texts up without storing them, or need something that this test does not create.
NOT_TRIED = re.compile(
    r"POST /(login$|login/device/token|me/|workers/(rotate-keys|match|\{worker_id\}/copies)|enrollment/(approve|deny)|.*/(rehearse|preview)"
    r"|signing-keys|incident/|change-requests|attention/|event-destinations/\{name\}/skip)|PUT /second-operator"
)
THERE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("me/password", {"current_password": PASSWORD, "new_password": "another long one of ada"}),
    ("workers", {"name": "press-01", "id": "press-01"}),
    ("resources", {"name": "press-01", "audience": "https://there.example"}),
    ("operators", {"name": "press-01", "role": "viewer"}),
    ("api-keys", {"name": "press-01", "worker_ids": ["press-01"]}),
    ("enrollment/keys", {"name": "press-01"}),
    ("event-destinations", {"name": "press-01", "transport": "webhook", "url": "https://events.example"}),
)


def good_requests() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and a valid body of each operation that stores texts."""
    document = admin_app().openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name = f"{method.upper()} {path}"
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is not None and not NOT_TRIED.match(name):
                shape = example(content["schema"], document)
                good = {
                    key: value for key, value in (GOOD | GOOD_THERE.get(name, {})).items() if key in shape
                }
                yield method.upper(), path, shape | good


def with_secret(value: Any, secret: str) -> Iterator[Any]:
    """Yield a JSON value with the secret in each of its texts, one at a time, and as a key of its maps."""
    if isinstance(value, dict):
        for key, inner in value.items():
            for other in with_secret(inner, secret):
                yield value | {key: other}
            if key == "press-01":
                yield {secret: inner}
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            for other in with_secret(inner, secret):
                yield [*value[:index], other, *value[index + 1 :]]
    elif isinstance(value, str):
        yield from (secret, f"worker:{secret}", f"zone={secret}", f"see {secret}")


@pytest.mark.parametrize("secret", ["chosen enrollment key", "API key"], indirect=True)
async def test_no_operation_of_the_admin_api_stores_a_secret(opened, secret, monkeypatch):
    """In each text of every operation, future ones included: no table contains it afterwards, and no error repeats it."""
    monkeypatch.setattr(OperatorBudget, "wait_s", lambda *_: 0.0)
    monkeypatch.setattr(background, "_DELIVER_EVERY_S", 86_400.0)
    numbers = itertools.count(10)
    kept = []
    async with opened(LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS=PREVIOUS) as server:
        headers = await server.sign_in()

        async def ask(method: str, path: str, body: dict[str, Any]) -> httpx2.Response:
            # Unique values differ each time.
            number = next(numbers)
            usual = {"name": "press-01"} | GOOD
            new = {
                "name": f"press-{number}",
                "audience": f"https://{number}.example",
                "names": f"w-[{number}-{number}]",
            }
            unique = {
                key: value for key, value in new.items() if method == "POST" and body.get(key) == usual[key]
            }
            filled = PART.sub("press-01", path)
            return await server.http.request(method, f"/api{filled}", json=body | unique, headers=headers)

        for path, body in THERE:
            answer = await server.http.post(f"/api/{path}", json=body, headers=headers)
            assert answer.is_success, answer.text
        requests = list(good_requests())
        for method, path, body in requests:
            answer = await ask(method, path, body)
            assert answer.is_success, f"{method} {path} {body}: {answer.text}"
            for changed in with_secret(body, secret):
                answer = await ask(method, path, changed)
                assert answer.status_code != 422 or secret not in answer.text, f"{method} {path} {changed}"
            if secret in await everything_stored(server):
                kept.append(f"{method} {path}")
                break

    assert kept == []
    assert len(requests) > 15


async def test_a_worker_cannot_enroll_with_a_secret_as_its_name_or_label(server, secret):
    """The error names the member, and nothing stores the secret, not even the record of the refusal."""
    key = generate_identity_key()
    refused = [
        (await server.register(key, secret), "client_name"),
        (await server.register(key, "press", labels={"key": secret}), "labels"),
        (await server.register(key, "press", labels={secret: ""}), "labels"),
    ]

    for answer, member in refused:
        assert answer.status_code == 400, answer.text
        assert member in answer.text
        assert secret not in answer.text
    assert secret not in await everything_stored(server)


async def test_what_a_worker_reports_is_stored_without_secrets(server, secret):
    """In host facts and reported labels, and in the User-Agent of a browser or program."""
    worker_id, key = await server.enrolled()
    token = (await server.token_by_assertion(server.assertion(key, worker_id))).json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    polls = [
        {"boot_id": "boot-0001", "host": {"hostname": secret, "os": f"x {secret}"}},
        {"boot_id": "boot-0001", "labels": f"zone={secret}"},
        {"boot_id": "boot-0001", "labels": secret},
    ]
    for poll in polls:
        await server.http.post("/api/worker/session", json=poll, headers=bearer)
        shown = (await server.http.get("/api/workers", headers=await server.sign_in())).text
        assert secret not in shown
        stop = {"boot_id": "boot-0001", "sign_off": True}
        await server.http.post("/api/worker/session", json=stop, headers=bearer)
    await server.http.post(
        "/api/login", json={"username": secret, "password": "x"}, headers={"User-Agent": secret}
    )
    assert (await server.http.get("/", headers={"User-Agent": secret})).status_code == 303
    signed_in = await server.http.post(
        "/api/login",
        json={"username": "admin", "password": "correct horse battery"},
        headers={"User-Agent": f"curl {secret}"},
    )

    assert signed_in.status_code == 200
    assert secret not in await everything_stored(server)


async def test_a_worker_cannot_test_guesses_of_the_enrollment_key(server):
    """A connected Worker that reports guesses as labels gets the same answer for a right and a wrong one."""
    worker_id, key = await server.enrolled()
    token = (await server.token_by_assertion(server.assertion(key, worker_id))).json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    answers = []
    for guess in (PREVIOUS, PREVIOUS[::-1]):
        poll = {"boot_id": "boot-0001", "host": {"hostname": guess}, "labels": f"zone={guess}"}
        answers.append(await server.http.post("/api/worker/session", json=poll, headers=bearer))
        stop = {"boot_id": "boot-0001", "sign_off": True}
        await server.http.post("/api/worker/session", json=stop, headers=bearer)

    assert answers[0].status_code == answers[1].status_code == 200
    assert answers[0].content == answers[1].content


@pytest.mark.parametrize("change", [(10, "0"), (-1, "x"), (30, "-")])
async def test_a_text_that_only_looks_like_a_key_can_be_a_name(server, change):
    """With one character changed its checksum is wrong, so it is not a key."""
    index, character = change
    text = list(API_KEY)
    text[index] = character if text[index] != character else "1"
    admin = await server.sign_in()
    answer = await server.http.post("/api/workers", json={"name": "".join(text)}, headers=admin)

    assert answer.status_code == 201
