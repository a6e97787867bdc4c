"""
What signature numbers cost the Server: CPU time for a token by `private_key_jwt`, with and without a number.

    .venv/bin/python -m benchmarks.counted_tokens        (COUNTED_DATABASE_URL=postgresql://… measures the code path of several Servers)

A whole Server in this process, without sockets; its writer thread is counted too. Both kinds alternate in the rounds of a run,
with different Workers, and each assertion is signed beforehand. Only the ratio is meaningful.
"""

import asyncio
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
from starlette.types import ASGIApp

from lyftdata.app import create_app
from lyftdata.core.assertions import make_assertion
from lyftdata.core.identity_keys import IdentityKey, generate_identity_key
from lyftdata.core.signature_counter import SignatureNumber
from lyftdata.log import configure_logging
from lyftdata.server.clock import utc_now
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services

ISSUER = "http://bench.example"
SECRET = "Zt8qYw3nV5rKc1xLm7Pb2Hd9Gf4Js6Ua"  # noqa: S105 - of this run alone
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
WORKERS = 50
ROUNDS = 9
_A_ROUND = 200
_AT_ONCE = 20

Identity = tuple[str, IdentityKey]


async def enroll(http: httpx2.AsyncClient, name: str) -> Identity:
    """Enroll a Worker; return its ID and key."""
    key = generate_identity_key()
    body = {"client_name": name, "jwks": {"keys": [key.public.as_dict()]}}
    answer = await http.post("/oauth2/register", json=body, headers={"Authorization": f"Bearer {SECRET}"})
    return answer.json()["client_id"], key


def signed(identity: Identity, number: int | None) -> dict[str, str]:
    """Return the form of a token request."""
    worker_id, key = identity
    counter = None if number is None else SignatureNumber(number, number * 1_000, host="host-1")
    assertion = make_assertion(
        key, worker_id=worker_id, audience=ISSUER, now=utc_now(), jti=secrets.token_hex(8), counter=counter
    )
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": _ASSERTION,
        "client_assertion": assertion,
    }


async def ask(app: ASGIApp, body: bytes) -> int:
    """Post a form to the token endpoint without a client library; return the status."""
    statuses: list[int] = []
    headers = [(b"host", b"bench.example"), (b"content-type", b"application/x-www-form-urlencoded")]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/oauth2/token",
        "raw_path": b"/oauth2/token",
        "query_string": b"",
        "headers": [*headers, (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 1),
        "server": ("bench.example", 80),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    return statuses[0]


async def round_of(app: ASGIApp, forms: list[dict[str, str]]) -> float:
    """Return the CPU time per token, in microseconds."""
    bodies = [urlencode(form).encode() for form in forms]
    begin = time.process_time()
    for start in range(0, len(bodies), _AT_ONCE):
        answers = await asyncio.gather(*(ask(app, body) for body in bodies[start : start + _AT_ONCE]))
        assert set(answers) == {200}, answers  # noqa: S101
    return (time.process_time() - begin) / len(forms) * 1e6


async def main() -> None:
    """Measure and print."""
    configure_logging(format="json", level="error")
    with tempfile.TemporaryDirectory() as place:
        environ = {
            "LYFTDATA_STAGING_DIR": str(Path(place) / "staging"),
            "LYFTDATA_PUBLIC_URL": ISSUER,
            "LYFTDATA_ADMIN_INIT_PASSWORD": "correct horse battery",
            "LYFTDATA_AUTO_ENROLLMENT_KEY": SECRET,
        }
        if url := os.environ.get("COUNTED_DATABASE_URL"):
            environ |= {"LYFTDATA_DATABASE_URL": url, "LYFTDATA_SECRET_KEY": secrets.token_urlsafe(32)}
        async with open_services(read_server_settings(environ)) as services:
            app = create_app(services)
            transport = httpx2.ASGITransport(app)
            async with httpx2.AsyncClient(transport=transport, base_url=ISSUER) as http:
                plain = [await enroll(http, f"plain-{number}") for number in range(WORKERS)]
                counted = [await enroll(http, f"counted-{number}") for number in range(WORKERS)]
                times: dict[str, list[float]] = {"without a number": [], "with a number": []}
                for number in range(ROUNDS):
                    forms = [signed(plain[n % WORKERS], None) for n in range(_A_ROUND)]
                    times["without a number"].append(await round_of(app, forms))
                    first = number * _A_ROUND + 1
                    forms = [signed(counted[n % WORKERS], first + n) for n in range(_A_ROUND)]
                    times["with a number"].append(await round_of(app, forms))
    middle = {name: statistics.median(taken) for name, taken in times.items()}
    for name, taken_us in middle.items():
        print(f"{name:20} {taken_us:8.1f} µs of CPU time per token")
    print(f"ratio {middle['with a number'] / middle['without a number']:.3f}")


if __name__ == "__main__":
    asyncio.run(main())
