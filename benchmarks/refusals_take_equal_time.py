"""
Whether refusals can be distinguished by their time.

    .venv/bin/python benchmarks/refusals_take_equal_time.py

Requests tokens from a whole Server (without sockets) with credentials that fail for different causes, interleaved, and
prints for each cause the median and the quartiles of the response time. Only the differences between the lines of one run
on one machine are meaningful.
"""

import asyncio
import contextlib
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2

from lyftdata.app import create_app
from lyftdata.core.api_keys import generate_api_key
from lyftdata.core.assertions import make_assertion
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.rate_limit import FailureLimiter
from lyftdata.log import configure_logging
from lyftdata.server.clock import random_bytes, random_id, utc_now
from lyftdata.server.runtime.services import Services
from lyftdata.server.runtime.settings import ServerSettings, read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services

ISSUER = "http://bench.example"
SECRET = "Zt8qYw3nV5rKc1xLm7Pb2Hd9Gf4Js6Ua"  # noqa: S105 - of this run alone
ROUNDS = 1_500
FIRSTS = 500
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


async def prepare(http: httpx2.AsyncClient) -> dict[str, dict[str, str]]:
    """Make Workers and keys; return for each cause a form that is refused for it."""
    login = await http.post("/api/login", json={"username": "admin", "password": "correct horse battery"})
    admin = {"Authorization": f"Bearer {login.json()['token']}"}
    for name in ("known", "disabled"):
        await http.post("/api/workers", json={"name": name, "id": name}, headers=admin)
    await http.patch("/api/workers/disabled", json={"enabled": False}, headers=admin)
    keys = {}
    for name in ("live-key", "revoked-key"):
        keys[name] = (await http.post("/api/api-keys", json={"name": name}, headers=admin)).json()["key"]
    await http.post("/api/api-keys/revoked-key/revoke", headers=admin)
    identity = generate_identity_key()
    body = {"client_name": "enrolled", "jwks": {"keys": [identity.public.as_dict()]}}
    enrolled = await http.post("/oauth2/register", json=body, headers={"Authorization": f"Bearer {SECRET}"})
    unknown_key = generate_api_key(random_bytes).text.reveal()

    def by_key(worker_id: str, key: str) -> dict[str, str]:
        return {"client_id": worker_id, "client_secret": key}

    return {
        "unknown Worker, unknown key": by_key("nobody", unknown_key),
        "known Worker, unknown key": by_key("known", unknown_key),
        "disabled Worker, unknown key": by_key("disabled", unknown_key),
        "known Worker, revoked key": by_key("known", keys["revoked-key"]),
        "unknown Worker, live key": by_key("nobody", keys["live-key"]),
        "unknown Worker, assertion": {"as": "w-nobody"},
        "known Worker, assertion": {"as": enrolled.json()["client_id"]},
        "API-key Worker, assertion": {"as": "known"},
        # The sender chooses the size, and any extra work for one case takes longer with a larger assertion.
        "unknown Worker, large assertion": {"as": "w-nobody", "pad": "x" * 2_500},
        "known Worker, large assertion": {"as": enrolled.json()["client_id"], "pad": "x" * 2_500},
    }


def form_of(case: dict[str, str]) -> dict[str, str]:
    """Return the form to post; each assertion is signed for its request, with an unknown key."""
    form = {"grant_type": "client_credentials"}
    if "as" not in case:
        return form | case
    jti = random_id(random_bytes) + case.get("pad", "")
    assertion = make_assertion(
        UNKNOWN_IDENTITY_KEY, worker_id=case["as"], audience=ISSUER, now=utc_now(), jti=jti
    )
    return form | {"client_assertion_type": _ASSERTION, "client_assertion": assertion}


UNKNOWN_IDENTITY_KEY = generate_identity_key()


async def measure(http: httpx2.AsyncClient, cases: list[tuple[str, dict[str, str]]]) -> None:
    """Request a token with each case, in random order, and print the times by cause."""
    times: dict[str, list[float]] = {name: [] for name, _ in cases}
    random.shuffle(cases)
    for name, case in cases:
        form = form_of(case)
        begin = time.perf_counter_ns()
        answer = await http.post("/oauth2/token", data=form)
        times[name].append((time.perf_counter_ns() - begin) / 1000)
        assert answer.is_client_error, answer.text  # noqa: S101 - a measurement of something else
    print(f"{'cause':36} {'median µs':>10} {'quartiles µs':>16}")
    for name, taken in times.items():
        low, middle, high = statistics.quantiles(taken, n=4)
        print(f"{name:36} {middle:10.1f} {low:8.1f}-{high:.1f}")


async def enroll_many(services: Services, http: httpx2.AsyncClient) -> list[str]:
    """Enroll Workers whose first request follows after a restart; return their IDs."""
    ids = []
    for number in range(FIRSTS):
        body = {
            "client_name": f"first-{number}",
            "jwks": {"keys": [generate_identity_key().public.as_dict()]},
        }
        answer = await http.post("/oauth2/register", json=body, headers={"Authorization": f"Bearer {SECRET}"})
        ids.append(answer.json()["client_id"])
    await services.refusals.flush()
    return ids


async def main() -> None:
    """Measure and print."""
    configure_logging(format="json", level="error")
    with tempfile.TemporaryDirectory() as place:
        settings = read_server_settings(
            {
                "LYFTDATA_STAGING_DIR": str(Path(place) / "staging"),
                "LYFTDATA_PUBLIC_URL": ISSUER,
                "LYFTDATA_ADMIN_INIT_PASSWORD": "correct horse battery",
                "LYFTDATA_AUTO_ENROLLMENT_KEY": SECRET,
            }
        )
        async with opened(settings) as (services, http):
            cases = await prepare(http)
            await measure(http, list(cases.items()) * ROUNDS)
            ids = await enroll_many(services, http)
        print("\nThe first request for an ID since the start")
        async with opened(settings) as (services, http):
            first = [
                ("unknown Worker, first assertion", {"as": f"w-nobody-{number}"}) for number in range(FIRSTS)
            ]
            await measure(
                http, [*first, *(("known Worker, first assertion", {"as": known}) for known in ids)]
            )


@contextlib.asynccontextmanager
async def opened(settings: ServerSettings) -> AsyncIterator[tuple[Services, httpx2.AsyncClient]]:
    """Open a Server and a client for it, without limits on failures from unproven callers."""
    async with open_services(settings) as services:
        # Every refusal is recorded too, since that is part of what is measured.
        for name in ("_limiter", "_written", "_written_of_a_network"):
            setattr(services.refusals, name, FailureLimiter(burst=10**9))
        transport = httpx2.ASGITransport(create_app(services))
        async with httpx2.AsyncClient(transport=transport, base_url=ISSUER) as http:
            yield services, http


if __name__ == "__main__":
    asyncio.run(main())
