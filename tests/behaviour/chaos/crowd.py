"""Crowds: a fleet in a Server's database, its lightweight Workers, and a flood of callers with wrong credentials."""

import asyncio
import collections
import contextlib
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from tests.behaviour.several_servers.balanced import Balanced
from tests.builders import ENROLLMENT_KEY
from tests.fleets import add_enrolled, add_with_keys, assertion_body, secret_body
from tests.lean_workers import LeanWorker, Line, Tally, post, spread
from tests.processes import PASSWORD, Site

from lyftdata.core.api_keys import generate_api_key
from lyftdata.core.enrollment import make_proof
from lyftdata.core.enrollment_secrets import ProofKey, derive_proof_key, generate_enrollment_key
from lyftdata.core.identity_keys import IdentityKey, generate_identity_key
from lyftdata.server.clock import random_bytes, random_id
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services

Credentials = list[tuple[str, str | ec.EllipticCurvePrivateKey]]
_AT_ONCE = 64
# Signed in advance, so that the flood does not spend its time on making requests.
_OF_A_KIND = 300


async def site_with_a_fleet(root: Path, count: int) -> tuple[Site, Credentials]:
    """Start a Server with `count` Workers, half of each strategy; return it and their credentials."""
    environ = {
        "LYFTDATA_STAGING_DIR": str(root / "server" / "staging"),
        "LYFTDATA_ADMIN_INIT_PASSWORD": PASSWORD,
    }
    async with open_services(read_server_settings(environ)) as services:
        by_key = await services.store.write(lambda tx: add_with_keys(tx, range(count // 2)))
        enrolled = await services.store.write(lambda tx: add_enrolled(tx, range(count - count // 2)))
    started = await asyncio.to_thread(_started, root)
    return started, [*by_key, *enrolled]


def _started(root: Path) -> Site:
    # The shortest token lifetime that is allowed, so that many are renewed.
    site = Site(root, LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY, LYFTDATA_WORKER_TOKEN_TTL="1m")
    site.sign_in()
    return site


def light_workers(
    site: Site | Balanced, credentials: Credentials, tally: Tally, addresses: Sequence[str] = ("127.0.0.1",)
) -> list[LeanWorker]:
    """Return a lightweight Worker for each credential; they connect from these addresses in turn."""
    return [
        LeanWorker(*each, host="127.0.0.1", port=site.port, tally=tally, address=address)
        for each, address in zip(credentials, itertools.cycle(addresses), strict=False)
    ]


@contextlib.asynccontextmanager
async def running(lean_workers: Sequence[LeanWorker]) -> AsyncIterator[None]:
    """Run Workers until the end of the block."""
    await spread([worker.log_in for worker in lean_workers], at_once=_AT_ONCE)
    tasks = [asyncio.create_task(worker.run()) for worker in lean_workers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Flood:
    """
    Unproven callers from several addresses, each of which sends its next request as soon as it got an answer.

    Args:
        site: The Server that they call.
        known: Existing Workers, half of each strategy.
        addresses: The addresses that they call from.
        most: The number of requests after which they stop.
    """

    def __init__(self, site: Site, known: Credentials, *, addresses: Sequence[str], most: int) -> None:
        self._port = site.port
        self._addresses = addresses
        self._most = most
        self._requests = itertools.cycle(_requests(site, known))
        self.answers: collections.Counter[int] = collections.Counter()
        self.is_over = False

    async def run(self, *, callers: int) -> None:
        """Send requests until the flood is over."""
        lines = itertools.islice(itertools.cycle(self._addresses), callers)
        await asyncio.gather(*(self._call(address) for address in lines))

    async def _call(self, address: str) -> None:
        line: Line | None = None
        loop = asyncio.get_running_loop()
        while not self.is_over and self.answers.total() < self._most:
            if line is None or not line.is_open:
                _, line = await loop.create_connection(Line, "127.0.0.1", self._port, local_addr=(address, 0))
            status, _, _ = await line.ask(next(self._requests), within_s=240)
            self.answers[status] += 1
        if line is not None:
            line.close()


def _requests(site: Site, known: Credentials) -> Iterator[bytes]:
    """Yield requests with wrong keys, unknown Workers, wrong signatures, wrong proofs and forged tokens, in turn."""
    by_key = [worker_id for worker_id, credential in known if isinstance(credential, str)]
    others_keys = [credential for _, credential in known if isinstance(credential, str)]
    enrolled = [worker_id for worker_id, credential in known if not isinstance(credential, str)]
    wrong_key = ec.generate_private_key(ec.SECP256R1())
    proof_key = derive_proof_key(generate_enrollment_key(random_bytes), audience=site.url)
    for number in range(_OF_A_KIND):
        made_up = generate_api_key(random_bytes).text.reveal()
        yield _form(secret_body(random.choice(by_key), made_up))
        yield _form(secret_body(by_key[number % len(by_key)], others_keys[(number - 1) % len(others_keys)]))
        yield _form(secret_body(f"nobody-{number}", made_up))
        now = int(time.time())
        yield _form(assertion_body(wrong_key, random.choice(enrolled), site.url, now=now))
        yield _registration(proof_key)
        yield post(b"/api/worker/session", b'{"boot_id": "boot-0001"}', bearer=f"e30.e30.{made_up[9:40]}")


def _form(body: str) -> bytes:
    return post(b"/oauth2/token", body.encode())


def _registration(proof_key: ProofKey) -> bytes:
    identity: IdentityKey = generate_identity_key()
    name = f"unknown {random_id(random_bytes)}"
    proof = make_proof(
        proof_key,
        worker_name=name,
        thumbprint=identity.public.thumbprint,
        now=datetime.now(UTC),
        jti=random_id(random_bytes),
    )
    body = {"client_name": name, "jwks": {"keys": [identity.public.as_dict()]}}
    return post(b"/oauth2/register", json.dumps(body).encode(), bearer=proof)
