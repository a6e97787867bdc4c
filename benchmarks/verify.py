"""
How fast a token that was seen before is verified: by the Server for a proxy, and by the library in a service.

    make bench-verify        (BENCH_SECONDS a round, 6; BENCH_ROUNDS, 5)

`GET /auth/verify` with the tokens of 1,000 Workers in turn, 64 kept-alive connections, compared with routes on the same uvicorn
that only answer 204: one of Starlette, one without a framework. The library runs in this process, on the serving core: for a
token that it has seen, for a new one, and compared with the signature check alone.
"""

import json
import os
import statistics
import sys
import tempfile
import timeit
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.fleets import Fleet
from benchmarks.harness import HERE, SERVING_CORE, in_turn, medians, save, serving, wrk
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from tests.fleets import secret_body
from tests.processes import free_port

from lyftdata.verify import WorkerVerifier

SECONDS = int(os.environ.get("BENCH_SECONDS", "6"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
WORKERS = 1_000
OURS, STARLETTE, ASGI = "/auth/verify", "an empty 204 route (Starlette)", "an empty 204 (plain ASGI)"
_CALLS = 5_000


def tokens(fleet: Fleet) -> list[str]:
    """Get a token for each Worker."""
    found = []
    for worker_id, key in fleet.keys:
        body = secret_body(worker_id, key).encode()
        with urllib.request.urlopen(f"{fleet.url}/oauth2/token", body) as answer:
            found.append(json.load(answer)["access_token"])
    return found


def answers_204(url: str) -> bool:
    """Return whether the URL answers 204."""
    try:
        with urllib.request.urlopen(url) as answer:
            return bool(answer.status == 204)  # noqa: PLR2004
    except OSError:
        return False


def library_us(url: str, given: Sequence[str]) -> dict[str, float]:
    """Return the microseconds of a repeated check, a first check, and the signature check alone."""
    os.sched_setaffinity(0, {int(SERVING_CORE)})
    private = ec.generate_private_key(ec.SECP256R1())
    algorithm, message = ec.ECDSA(SHA256()), given[0].encode()
    signature, public = private.sign(message, algorithm), private.public_key()
    with WorkerVerifier(url, audience=url) as verifier:
        first = [_once_us(partial(verifier.verify, token)) for token in given[1:]]
        repeated = _each_us(lambda: verifier.verify(given[0]), _CALLS)
    bare = _each_us(lambda: public.verify(signature, message, algorithm), _CALLS // 10)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    return {"repeated_us": repeated, "first_us": statistics.median(first), "es256_alone_us": bare}


def _each_us(call: Callable[[], object], number: int) -> float:
    # The best of many, since other load on the machine only adds time.
    return min(timeit.repeat(call, number=number, repeat=20)) / number * 1e6


def _once_us(call: Callable[[], object]) -> float:
    return timeit.timeit(call, number=1) * 1e6


def main() -> None:
    """Measure, and write the result."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        place = Path(directory)
        fleet = Fleet(place / "ours", by_key=WORKERS)
        served = stack.enter_context(fleet.served())
        given = tokens(fleet)
        file = place / "tokens"
        file.write_text("".join(f"{token}\n" for token in given), encoding="ascii")
        measures = {
            OURS: partial(
                wrk, "get.lua", f"{fleet.url}/auth/verify", "204", file, seconds=SECONDS, served=served
            )
        }
        for name, kind in ((STARLETTE, "starlette"), (ASGI, "asgi")):
            port = free_port()
            url = f"http://127.0.0.1:{port}/auth/verify"
            command: list[str | Path] = [sys.executable, HERE / "peers" / "empty_204.py", str(port), kind]
            ready = partial(answers_204, url)
            empty = stack.enter_context(serving(command, log=place / f"{kind}.log", is_ready=ready))
            measures[name] = partial(wrk, "get.lua", url, "204", file, seconds=SECONDS, served=empty)
        seen = in_turn(measures, rounds=ROUNDS)
        library = library_us(fleet.url, given)
    middle = medians(seen)
    ratios = {f"to {name}": middle[OURS]["per_s"] / middle[name]["per_s"] for name in (STARLETTE, ASGI)}
    for name, found in middle.items():
        print(f"{name:34} {found['per_s']:8,.0f}/s   p99 {found['p99_ms']:6.1f} ms")
    print({name: round(value, 2) for name, value in (ratios | library).items()})
    save("verify", {"medians": middle, "rounds": seen, "ratios": ratios, "library": library})


if __name__ == "__main__":
    main()
