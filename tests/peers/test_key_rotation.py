"""`jose` and PyJWT follow a rotation of the signing key by the Server's JWKS: services that verify tokens need no change."""

import asyncio
import contextlib
import json
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from sqlalchemy import update
from tests.builders import FakeClock
from tests.deployment import CHEAP
from tests.peers.conftest import AUDIENCE, NODE
from tests.peers.guarded import Proof
from tests.processes import STARTED, Site

from lyftdata.server.admin.passwords import Passwords
from lyftdata.server.runtime.background import prune_and_rotate
from lyftdata.server.runtime.services import Services
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services
from lyftdata.store.schema import signing_keys as table
from lyftdata.store.tables import signing_keys


# --- configuration: the pages show this part --- [configuration]
class Checker:
    """A service that verifies tokens with PyJWT."""

    def __init__(self, issuer: str, audience: str) -> None:
        # Once, when the service starts: it fetches the keys when it must, and keeps them.
        self.jwks = jwt.PyJWKClient(f"{issuer}/.well-known/jwks.json")
        self.issuer, self.audience = issuer, audience

    def claims(self, token: str) -> dict[str, Any]:
        key = self.jwks.get_signing_key_from_jwt(token)
        checked = jwt.decode_complete(
            token, key, algorithms=["ES256"], issuer=self.issuer, audience=self.audience
        )
        if checked["header"]["typ"] != "at+jwt":
            raise jwt.InvalidTokenError("not an access token")
        # Bound to a key (DPoP): it must be useless without a proof if stolen, and proofs are not checked here.
        if "cnf" in checked["payload"]:
            raise jwt.InvalidTokenError("a bound token")
        return {**checked["payload"], "kid": key.key_id}


# --- [/configuration]


class Deployed:
    """A Server whose state tests change while it is down."""

    def __init__(self, root: Path) -> None:
        self.site = Site(root)
        self.site.sign_in()
        self.site.operator.done("workers", "add", "press", "--id", "press-01")
        self.key = self.site.operator.done("api-key", "issue", "press-key", "--worker", "press-01").strip()

    def restart_after(self, change: Callable[[Services, FakeClock], Awaitable[None]]) -> None:
        """Stop the Server, change its state with its own code and a clock fixed at the present, and start it."""
        self.site.server.terminate()

        async def live() -> None:
            clock = FakeClock(datetime.now(UTC).replace(microsecond=0))
            settings = read_server_settings(self.site.server_host.environ)
            async with open_services(settings, clock=clock, passwords=Passwords(CHEAP)) as services:
                await change(services, clock)

        asyncio.run(live())
        self.site.start_server()

    def token(self) -> str:
        """Request a token like a Worker."""
        form = {"grant_type": "client_credentials"}
        answer = httpx2.post(
            f"{self.site.url}/oauth2/token", data=form, auth=("press-01", self.key), timeout=180
        )
        return str(answer.json()["access_token"])


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployed]:
    """Return a Server with a Worker."""
    made = Deployed(tmp_path)
    yield made
    made.site.server.kill()
    STARTED.remove(made.site.server)


@contextlib.contextmanager
def jose(issuer: str) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Run a service that verifies tokens with `jose`; yield a function that asks it about a token."""
    given = {"jwks_uri": f"{issuer}/.well-known/jwks.json", "issuer": issuer, "audience": issuer}
    with subprocess.Popen(
        [shutil.which("node") or "node", NODE / "jose.mjs"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def ask(token: str) -> dict[str, Any]:
            stdin.write(f"{token}\n")
            return json.loads(stdout.readline())

        stdin.write(f"{json.dumps(given)}\n")
        yield ask
        stdin.close()


async def publish_the_next_key(services: Services, clock: FakeClock) -> None:
    """Make the first key's signing start 29 days and an hour ago."""
    began = clock() - timedelta(days=29, hours=1)
    await services.store.write(lambda tx: tx.conn.execute(update(table).values(signs_from=began)))
    await prune_and_rotate(services)


async def sign_with_the_next_key(services: Services, clock: FakeClock) -> None:
    """Make the signing start of the next key a second ago."""

    def op(tx: Any) -> None:
        upcoming = signing_keys.all_signing_keys(tx.conn)[-1].kid
        tx.conn.execute(
            update(table).where(table.c.kid == upcoming).values(signs_from=clock() - timedelta(seconds=1))
        )

    await services.store.write(op)


async def retire_the_first_key(services: Services, clock: FakeClock) -> None:
    """Make the time at which the Server set the first key to retire the present."""
    first = signing_keys.all_signing_keys
    oldest = (await services.store.read(first))[0]
    assert oldest.retires_at is not None
    # A day in which services notice the new key, and the lifetime of a token.
    assert oldest.retires_at - clock() > timedelta(hours=24)
    await services.store.write(lambda tx: signing_keys.set_retires_at(tx, oldest.kid, clock()))


def test_a_rotation_does_not_affect_services(deployed, run_script):
    """Old and new tokens pass without refetching the JWKS; a service that starts after the old key was retired does not accept it."""
    issuer = deployed.site.url
    deployed.restart_after(publish_the_next_key)
    pyjwt = Checker(issuer, issuer)
    with jose(issuer) as ask:
        old = deployed.token()
        first = ask(old)
        assert (first["sub"], first["fetched"]) == ("press-01", 1)
        assert pyjwt.claims(old)["kid"] == first["kid"]

        deployed.restart_after(sign_with_the_next_key)
        new = deployed.token()
        second = ask(new)
        assert second["kid"] != first["kid"]
        assert ask(old)["kid"] == first["kid"]
        # Published a day before its first signature, so it was already fetched.
        assert second["fetched"] == 1
        assert [pyjwt.claims(token)["kid"] for token in (old, new)] == [first["kid"], second["kid"]]

    deployed.restart_after(retire_the_first_key)
    with jose(issuer) as ask:
        assert ask(new)["kid"] == second["kid"]
        assert ask(old)["code"] == "ERR_JWKS_NO_MATCHING_KEY"
    late = Checker(issuer, issuer)
    assert late.claims(new)["kid"] == second["kid"]
    with pytest.raises(jwt.PyJWKClientError):
        late.claims(old)


def test_a_token_for_another_audience_is_refused(peers):
    """A service that is not the audience refuses the token."""
    form = {"grant_type": "client_credentials", "resource": AUDIENCE}
    answer = httpx2.post(f"{peers.url}/oauth2/token", data=form, auth=("press-01", peers.key), timeout=180)
    token = answer.json()["access_token"]
    assert Checker(peers.url, AUDIENCE).claims(token)["sub"] == "press-01"
    with pytest.raises(jwt.InvalidAudienceError):
        Checker(peers.url, "https://other.example").claims(token)


def test_a_bound_token_is_refused(peers, run_script):
    """Neither library supports proofs of possession, so both would accept a stolen token: the page's lines refuse it."""
    proof, url = Proof(), f"{peers.url}/oauth2/token"

    def ask_for_token(**headers: str) -> httpx2.Response:
        form = {"grant_type": "client_credentials"}
        return httpx2.post(url, data=form, auth=("press-01", peers.key), headers=headers, timeout=180)

    nonce = ask_for_token(DPoP=proof("POST", url)).headers["DPoP-Nonce"]
    bound = ask_for_token(DPoP=proof("POST", url, nonce=nonce)).json()["access_token"]
    bearer = ask_for_token().json()["access_token"]

    checker = Checker(peers.url, peers.url)
    assert checker.claims(bearer)["sub"] == "press-01"
    with pytest.raises(jwt.InvalidTokenError, match="bound"):
        checker.claims(bound)
    with jose(peers.url) as ask:
        assert ask(bearer)["sub"] == "press-01"
        assert ask(bound)["code"] == "a bound token"
