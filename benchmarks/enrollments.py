"""
Enrollments per second: lyftdata's, durable before each answer, and oidc-provider's registration, in memory.

    make bench-enrollments        (BENCH_SECONDS a round, 4; BENCH_ROUNDS, 3)

64 kept-alive connections; each request registers another client with its own ES256 key. lyftdata verifies a proof of the
enrollment key, spends it, and writes entry and audit event in one transaction that is on disk before the answer; it starts
with 10,000 entries. Both servers run on one core, the load on the other.
"""

import json
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks.fleets import ENROLLMENT_KEY, Fleet, answers
from benchmarks.harness import ASKING_CORE, in_turn, medians, save, serving, wrk
from benchmarks.plots import bars
from benchmarks.tokens import oidc_provider
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey

from lyftdata.core.enrollment import make_proof
from lyftdata.core.enrollment_secrets import derive_proof_key
from lyftdata.core.secret import Secret
from lyftdata.server.clock import random_bytes, random_id

SECONDS = int(os.environ.get("BENCH_SECONDS", "4"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
WORKERS = 10_000
_MAX_PER_S = 12_000
OURS, OIDC = "lyftdata, durable", "oidc-provider 9, in memory"
# oidc-provider must know that no browser is involved.
_FOR_OIDC = {"redirect_uris": [], "response_types": [], "token_endpoint_auth_method": "private_key_jwt"}


def registrations(count: int, issuer: str | None) -> list[str]:
    """Return `count` lines for the load: with a proof for this Server (`issuer`), or with the plain secret for the other server."""
    os.sched_setaffinity(0, {int(ASKING_CORE)})
    # Nothing is signed for the other server.
    key = derive_proof_key(Secret(ENROLLMENT_KEY), audience=issuer or "")
    now, born = datetime.now(UTC), random_id(random_bytes)[:8]
    lines = []
    for number in range(count):
        name = f"press {born} {number}"
        public = ECKey.import_key(ec.generate_private_key(ec.SECP256R1()).public_key())
        body = {"client_name": name, "jwks": {"keys": [public.as_dict(private=False)]}}
        token = ENROLLMENT_KEY
        if issuer is None:
            body |= _FOR_OIDC
        else:
            jti = random_id(random_bytes)
            token = make_proof(key, worker_name=name, thumbprint=public.thumbprint(), now=now, jti=jti)
        lines.append(f"{token} {json.dumps(body)}\n")
    return lines


def main() -> None:
    """Measure; write the result and the plot."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        place = Path(directory)
        fleet = Fleet(place / "ours", enrolled=WORKERS)
        no_clients = place / "no_clients"
        no_clients.touch()
        command, url = oidc_provider(no_clients, "adapter")
        ready = partial(answers, f"{url}/.well-known/openid-configuration")
        environ = {"NODE_ENV": "production", "BENCH_INITIAL_ACCESS_TOKEN": ENROLLMENT_KEY}
        served = stack.enter_context(fleet.served())
        other = stack.enter_context(serving(command, log=place / "oidc.log", is_ready=ready, environ=environ))

        def measure(served: object, address: str, issuer: str | None) -> dict[str, float]:
            file = place / "registrations"
            # Just before use, since a proof is valid for a minute; in another process, so that this one stays small.
            with ProcessPoolExecutor(1) as elsewhere:
                lines = elsewhere.submit(registrations, SECONDS * _MAX_PER_S, issuer).result()
            file.write_text("".join(lines), encoding="ascii")
            return wrk("register.lua", address, file, seconds=SECONDS, served=served)  # type: ignore[arg-type]

        measures: dict[str, Callable[[], dict[str, float]]] = {
            OURS: partial(measure, served, f"{fleet.url}/oauth2/register", fleet.url),
            OIDC: partial(measure, other, f"{url}/reg", None),
        }
        seen = in_turn(measures, rounds=ROUNDS)
    middle = medians(seen)
    ratio = middle[OURS]["per_s"] / middle[OIDC]["per_s"]
    for name, found in middle.items():
        print(f"{name:30} {found['per_s']:8,.0f}/s   p99 {found['p99_ms']:8.1f} ms")
    print(f"ours / oidc-provider: {ratio:.2f}")
    save(
        "enrollments",
        {"workers": WORKERS, "medians": middle, "rounds": seen, "ratio_to_oidc_provider": ratio},
    )
    bars("enrollments", {name: found["per_s"] for name, found in middle.items()},
         title="Enrollments per second, one core", unit="enrollments/s")  # fmt: skip


if __name__ == "__main__":
    main()
