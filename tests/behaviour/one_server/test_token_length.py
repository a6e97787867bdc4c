"""Whatever names, labels and scopes are allowed, a Worker's tokens are short enough for every check."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx2
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.builders import ENROLLMENT_KEY, FakeClock
from tests.deployment import ASSERTION_TYPE, CHEAP, PASSWORD, Deployment
from tests.oauth_requests import dpop
from tests.unit.core.forge import b64, parts

from lyftdata.app import create_app
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.names import format_labels
from lyftdata.server.admin.passwords import Passwords
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services
from lyftdata.store.tables import workers
from lyftdata.verify import AsyncWorkerVerifier

# The longest public URL that is allowed.
ISSUER = "https://" + ".".join(["h" * 61] * 4)
NAMES = st.text(st.sampled_from("\U0001f600\U00020000é\"\\aZ'"), min_size=1, max_size=64)


def _label(number: int, drawn: tuple[int, int, str]) -> tuple[str, str]:
    key_length, value_length, character = drawn
    return f"{number:02}{'k' * key_length}", character * value_length


# Few short ones or many long ones, more than the rules allow, so that what is stored in the end is at their limit.
SIZES = st.tuples(st.integers(0, 61), st.integers(0, 63), st.sampled_from('v"\\'))
LONG = st.tuples(st.integers(40, 61), st.integers(40, 63), st.sampled_from('v"\\'))
LABELS = (st.lists(SIZES, max_size=32) | st.lists(LONG, min_size=10, max_size=32)).map(
    lambda drawn: dict(_label(number, each) for number, each in enumerate(drawn))
)
LENGTHS = st.lists(st.integers(2, 64), max_size=32) | st.lists(st.integers(30, 64), min_size=15, max_size=32)
SCOPES = LENGTHS.map(lambda lengths: [f"{n:02}".ljust(length, "/") for n, length in enumerate(lengths)])


class World:
    """A Server with an issuer of maximal length, an enrolled Worker, and a resource with a key."""

    def __init__(self, directory: Path) -> None:
        self.runner = asyncio.Runner()
        given = {
            "LYFTDATA_STAGING_DIR": str(directory / "staging"),
            "LYFTDATA_PUBLIC_URL": ISSUER,
            "LYFTDATA_ADMIN_INIT_PASSWORD": PASSWORD,
            "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY,
        }
        self.clock = FakeClock()
        self.context = open_services(
            read_server_settings(given), clock=self.clock, passwords=Passwords(CHEAP)
        )
        services = self.runner.run(self.context.__aenter__())
        self.transport = httpx2.ASGITransport(create_app(services))
        http = httpx2.AsyncClient(transport=self.transport, base_url=ISSUER)
        self.server = Deployment(services, self.clock, http)
        self.runner.run(self.prepare())

    async def prepare(self) -> None:
        """Sign in, enroll a Worker and add the resource."""
        self.admin = await self.server.sign_in()
        self.key = generate_identity_key()
        proof = self.server.proof(self.key, "press", audience=ISSUER)
        self.worker_id = (await self.server.register(self.key, "press", credential=proof)).json()["client_id"]
        body = {"name": "files", "audience": "files", "worker_ids": [self.worker_id]}
        await self.ask("POST", "/resources", body)
        self.resource_key = (await self.ask("POST", "/resources/files/key")).json()["key"]

    async def ask(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        """Send a request to the admin API."""
        return await self.server.http.request(method, f"/api{path}", json=body, headers=self.admin)

    async def store(self, path: str, member: str, wanted: Any) -> None:
        """Store as much of a value as the rules allow: a bit less each time it is rejected."""
        while (await self.ask("PATCH", path, {member: wanted})).status_code == 422 and wanted:
            wanted = dict(list(wanted.items())[:-1]) if isinstance(wanted, dict) else wanted[:-1]

    async def token(self, *, resource: str = "", scopes: Sequence[str] = (), bound: bool = False) -> str:
        """Return a token that the Worker gets with its identity key."""
        form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE}
        form |= {"resource": resource} if resource else {}
        form |= {"scope": " ".join(scopes)} if scopes else {}
        headers: dict[str, str] = {}
        if bound:
            nonce = self.server.services.dpop.nonce()
            proof = dpop(self.key, self.server, url=f"{ISSUER}/oauth2/token", nonce=nonce)
            headers["DPoP"] = proof
        form["client_assertion"] = self.server.assertion(self.key, self.worker_id, audience=ISSUER)
        answer = await self.server.http.post("/oauth2/token", data=form, headers=headers)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def check_everywhere(self) -> None:
        """Use the Worker's tokens everywhere that tokens are checked."""
        labels = (await self.ask("GET", f"/workers/{self.worker_id}")).json()["labels"]
        resource = (await self.ask("GET", "/resources/files")).json()
        plain = await self.token()
        bound = await self.token(bound=True)
        elsewhere = await self.token(resource=resource["audience"], scopes=resource["scopes"])
        await self.token(resource=resource["audience"], bound=True)

        verified = await self.server.verify(plain)
        assert verified.status_code == 204, verified.text
        assert verified.headers["x-lyftdata-worker-labels"] == format_labels(labels)
        assert unquote(verified.headers["x-lyftdata-worker-name"]) == parts(plain)[1]["worker_name"]
        # nginx has a buffer of 4 KiB for a response head by default.
        assert sum(len(name) + len(value) + 4 for name, value in verified.headers.raw) < 3_000
        await self.check_session(plain)
        await self.check_bound(bound)
        await self.check_introspection(elsewhere, resource)
        for audience, token in ((ISSUER, plain), (resource["audience"], elsewhere)):
            verifier = AsyncWorkerVerifier(
                ISSUER, audience=audience, transport=self.transport, clock=lambda: self.clock().timestamp()
            )
            assert dict((await verifier.verify(token)).labels) == labels
            await verifier.aclose()

    async def check_session(self, token: str) -> None:
        """Use a token for the session."""
        body = {"boot_id": "boot-0001", "sign_off": True}
        headers = {"Authorization": f"Bearer {token}"}
        answer = await self.server.http.post("/api/worker/session", json=body, headers=headers)
        assert answer.status_code == 200, answer.text

    async def check_bound(self, token: str) -> None:
        """Use a token with a proof of its key."""
        proof = dpop(self.key, self.server, method="GET", url=f"{ISSUER}/auth/verify", token=token)
        headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
        answer = await self.server.http.get("/auth/verify", headers=headers)
        assert answer.status_code == 204, answer.text

    async def check_introspection(self, token: str, resource: dict[str, Any]) -> None:
        """Introspect a token as the resource."""
        answer = await self.server.http.post(
            "/oauth2/introspect", data={"token": token}, auth=("files", self.resource_key)
        )
        assert answer.json()["active"] is True
        assert answer.json().get("scope", "").split() == resource["scopes"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return a world that all examples share."""
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.runner.run(made.context.__aexit__(None, None, None))
    made.runner.close()


@given(
    name=NAMES,
    labels=LABELS,
    audience=st.integers(1, 248),
    scopes=SCOPES,
)
# Shrinking would take minutes, and the example found says as much.
@settings(
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_tokens_with_the_longest_allowed_content_are_accepted(world, name, labels, audience, scopes):
    """However long names, labels, audiences and scopes are within the rules, every check accepts the token."""

    async def store_and_check():
        await world.store(f"/workers/{world.worker_id}", "name", name)
        await world.store(f"/workers/{world.worker_id}", "labels", labels)
        await world.store("/resources/files", "scopes", [])
        await world.store("/resources/files", "audience", "https://" + "a" * audience)
        await world.store("/resources/files", "scopes", scopes)
        await world.check_everywhere()
        world.clock.forward(seconds=200)

    world.runner.run(store_and_check())


def test_labels_that_do_not_fit_into_a_token_are_refused_with_a_cause(world):
    """A Worker with labels from before the limit gets the code `token_too_long`, which the operator sees too."""

    async def overfill_and_ask():
        labels = {f"k{n}".ljust(63, "x"): "v" * 63 for n in range(32)}

        def op(tx):
            record = workers.get_worker(tx.conn, world.worker_id)
            workers.replace_worker(tx, msgspec.structs.replace(record, labels=labels))

        await world.server.services.store.write(op)
        form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE}
        form["client_assertion"] = world.server.assertion(world.key, world.worker_id, audience=ISSUER)
        answer = await world.server.http.post("/oauth2/token", data=form)
        cause = await world.server.cause(answer)
        await world.store(f"/workers/{world.worker_id}", "labels", {"zone": "eu-1"})
        return answer, cause

    answer, cause = world.runner.run(overfill_and_ask())

    assert (answer.status_code, cause) == (400, "token_too_long")
    assert (answer.json()["code"], answer.json()["final"]) == ("token_too_long", False)
    world.runner.run(world.check_everywhere())


def test_a_token_that_is_too_long_is_recorded_with_the_worker_that_it_names(world):
    """The operator sees whose token was refused although it could not be verified."""

    async def show():
        claims = parts(await world.token())[1] | {"padding": "x" * 4_096}
        header, _, signature = (await world.token()).split(".")
        refused = await world.server.verify(f"{header}.{b64(json.dumps(claims).encode())}.{signature}")
        page = await world.ask("GET", "/refusals?code=wrong_token")
        return refused, page.json()["items"]

    refused, groups = world.runner.run(show())

    assert refused.status_code == 401
    assert [group["claimed_worker"] for group in groups] == [world.worker_id]
