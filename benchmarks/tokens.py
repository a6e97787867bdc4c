"""
Tokens per second: lyftdata, oidc-provider, Authlib on Flask and Django OAuth Toolkit side by side.

    make bench-tokens        (BENCH_SECONDS a round, 8; BENCH_ROUNDS, 3; BENCH_WORKERS, 10000)

`client_credentials` with the secret in the form, ES256 JWTs, 64 kept-alive connections, each of 10,000 clients in turn.
Each server is one process pinned to one core, and the load is pinned to the other. lyftdata is `lyftdata run server` as users
run it, with durable state, audit and counters; Authlib and Django keep clients and tokens in SQLite; oidc-provider keeps
everything in memory, which is its default.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.fleets import Fleet, answers
from benchmarks.harness import HERE, Served, in_turn, medians, save, serving, wrk
from benchmarks.plots import bars
from tests.fleets import secret_body
from tests.processes import free_port

SECONDS = int(os.environ.get("BENCH_SECONDS", "8"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
WORKERS = int(os.environ.get("BENCH_WORKERS", "10000"))
# Assertions are single use, and signing those of a round takes more than one core.
_MAX_BY_ASSERTION_PER_S = 12_000
_WARM_UP_S = 2

OURS = "lyftdata"
OURS_BY_ASSERTION = "lyftdata, private_key_jwt"
OIDC = "oidc-provider 9"
OIDC_ADAPTER = "oidc-provider 9, clients in an adapter"
AUTHLIB = "Authlib on Flask"
DJANGO = "Django OAuth Toolkit"
DJANGO_HASHED = "Django OAuth Toolkit, hashed secrets"

Measure = Callable[[], dict[str, float]]


def oidc_provider(clients: Path, keeps: str) -> tuple[list[str | Path], str]:
    """Return the command of oidc-provider, and its address."""
    port = free_port()
    return [
        "node",
        HERE / "peers" / "oidc_provider.mjs",
        str(port),
        clients,
        keeps,
    ], f"http://127.0.0.1:{port}"


def gunicorn(app: str) -> tuple[list[str | Path], str]:
    """Return the command of a WSGI application, and its address."""
    port = free_port()
    command: list[str | Path] = [sys.executable, "-m", "gunicorn", "--chdir", HERE / "peers"]
    command += ["--bind", f"127.0.0.1:{port}"]
    # One process on one core; with threads, since gunicorn keeps connections alive only then.
    command += ["--workers", "1", "--worker-class", "gthread", "--threads", "8", "--keep-alive", "75", app]
    return command, f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def run_all(place: Path) -> Iterator[dict[str, Measure]]:
    """Run every server; yield a function that measures each."""
    fleet = Fleet(place / "ours", by_key=WORKERS, enrolled=WORKERS)
    bodies = fleet.post_bodies()
    clients = place / "clients"
    clients.write_text("".join(f"{worker_id} {key}\n" for worker_id, key in fleet.keys), encoding="ascii")
    few = place / "few"
    few.write_text("".join(f"{secret_body(*key)}\n" for key in fleet.keys[:64]), encoding="ascii")

    def by_assertion(served: Served) -> dict[str, float]:
        file = fleet.assertion_bodies(SECONDS * _MAX_BY_ASSERTION_PER_S)
        return wrk("tokens.lua", f"{fleet.url}/oauth2/token", file, seconds=SECONDS, served=served)

    def by_secret(served: Served, url: str, file: Path = bodies, **options: int) -> dict[str, float]:
        return wrk("tokens.lua", url, file, served=served, **({"seconds": SECONDS} | options))

    with contextlib.ExitStack() as stack:
        served = stack.enter_context(fleet.served())
        measures: dict[str, Measure] = {
            OURS: partial(by_secret, served, f"{fleet.url}/oauth2/token"),
            OURS_BY_ASSERTION: partial(by_assertion, served),
        }
        for name, keeps in ((OIDC, "static"), (OIDC_ADAPTER, "adapter")):
            command, url = oidc_provider(clients, keeps)
            log = place / f"oidc-{keeps}.log"
            ready = partial(answers, f"{url}/.well-known/openid-configuration")
            environ = {"NODE_ENV": "production"}
            served = stack.enter_context(serving(command, log=log, is_ready=ready, environ=environ))
            measures[name] = partial(by_secret, served, f"{url}/token")
        for name, app, hashed in (
            (AUTHLIB, "authlib_flask:app", ""),
            (DJANGO, "django_oauth:app", ""),
            (DJANGO_HASHED, "django_oauth:app", "yes"),
        ):
            command, url = gunicorn(app)
            database = place / f"{app.partition(':')[0]}{hashed}.db"
            environ = {"PEER_DATABASE": str(database), "PEER_CLIENTS": str(clients), "PEER_HASHED": hashed}
            log = place / f"{database.stem}.log"
            ready = partial(answers, f"{url}/ready")
            served = stack.enter_context(serving(command, log=log, is_ready=ready, environ=environ))
            measures[name] = partial(by_secret, served, f"{url}/oauth/token")
            if hashed:
                # With few connections, since each request would otherwise wait unrealistically long.
                measures[name] = partial(by_secret, served, f"{url}/oauth/token", few, connections=2)
        yield measures


def main() -> None:
    """Measure; write the result and the plot."""
    chosen = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory, run_all(Path(directory)) as measures:
        wanted = {name: measure for name, measure in measures.items() if not chosen or name in chosen}
        for name, measure in wanted.items():
            if name not in {OURS_BY_ASSERTION, DJANGO_HASHED}:
                _warm(measure)
        seen = in_turn(wanted, rounds=ROUNDS)
    middle = medians(seen)
    for name, found in middle.items():
        print(f"{name:40} {found['per_s']:8,.0f} tokens/s   p99 {found['p99_ms']:8.1f} ms")
    if chosen:
        return
    ratio = middle[OURS]["per_s"] / middle[OIDC]["per_s"]
    share = middle[OURS]["p99_ms"] / middle[OIDC]["p99_ms"]
    print(f"ours / oidc-provider: {ratio:.2f} x the tokens, {share:.2f} of its p99")
    save("tokens", {"workers": WORKERS, "seconds": SECONDS, "medians": middle, "rounds": seen,
                    "ratio_to_oidc_provider": ratio, "p99_share_of_oidc_provider": share})  # fmt: skip
    bars("tokens", {name: found["per_s"] for name, found in middle.items()},
         title="Tokens per second, one core, 10,000 clients, ES256", unit="tokens/s")  # fmt: skip


def _warm(measure: Measure) -> None:
    """Warm up just-in-time compilers and caches before the measurement."""
    partly = measure
    assert isinstance(partly, partial)  # noqa: S101 - as `run_all` makes them
    partial(partly.func, *partly.args, **(partly.keywords | {"seconds": _WARM_UP_S}))()


if __name__ == "__main__":
    main()
