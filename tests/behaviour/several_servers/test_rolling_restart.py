"""
Three real Servers behind a real balancer are restarted one after the other under a fleet that counts every error.

`LYFTDATA_ROLLING_WORKERS=2000` makes it a large fleet; what is asserted is the same.
"""

import asyncio
import contextlib
import csv
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx2
import psycopg
import pytest
from tests import lean_workers
from tests.behaviour.chaos.crowd import Credentials, light_workers, running
from tests.behaviour.several_servers.balanced import Balanced
from tests.builders import SECRET_KEY
from tests.fleets import add_enrolled, add_with_keys
from tests.lean_workers import Tally, allow_many_connections
from tests.lean_workers import until as is_true
from tests.postgres import Cluster
from tests.processes import PASSWORD, WITHIN_S, end_started, until

from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services

FLEET = int(os.environ.get("LYFTDATA_ROLLING_WORKERS", "60"))
_SERVERS = 3
_LOOK_EVERY_S = 0.1

OpenSite = Callable[[str, str], Balanced]


@pytest.fixture
def open_site(tmp_path: Path) -> Iterator[OpenSite]:
    """Return a function that starts three Servers on a database, behind a balancer."""
    with contextlib.ExitStack() as stack:
        stack.callback(end_started)

        def start(url: str, balancer: str) -> Balanced:
            site = Balanced(
                tmp_path / "site",
                [url] * _SERVERS,
                balancer,
                module="tests.behaviour.several_servers.unhurried_server",
                # Ended by a second signal, as soon as the balancer has noticed.
                LYFTDATA_SHUTDOWN_DELAY="10m",
            )
            stack.callback(site.close)
            return site

        yield start


async def _fleet_in(url: str, staging_dir: Path) -> Credentials:
    """Put a fleet into an empty database, half of each strategy; return what its Workers log in with."""
    settings = read_server_settings(
        {
            "LYFTDATA_STAGING_DIR": str(staging_dir),
            "LYFTDATA_PUBLIC_URL": "http://127.0.0.1:1",
            "LYFTDATA_ADMIN_INIT_PASSWORD": PASSWORD,
            "LYFTDATA_DATABASE_URL": url,
            "LYFTDATA_SECRET_KEY": SECRET_KEY,
        }
    )
    async with open_services(settings) as services:
        by_key = await services.store.write(lambda tx: add_with_keys(tx, range(FLEET // 2)))
        enrolled = await services.store.write(lambda tx: add_enrolled(tx, range(FLEET - FLEET // 2)))
    return [*by_key, *enrolled]


class Watch:
    """
    An operator who looks all the time, by whichever Server answers, and a client that asks for a token after each look.

    Args:
        worker_id: As whom it asks.
        key: The API key of that Worker.
    """

    def __init__(self, worker_id: str, key: str) -> None:
        self._form = {"grant_type": "client_credentials", "client_id": worker_id, "client_secret": key}
        self.seen: list[tuple[int, int]] = []
        """Each answer, with how many Workers are online; with 0 and -1 where there was none."""
        self.tokens: list[int] = []

    @contextlib.asynccontextmanager
    async def looking(self, site: Balanced) -> AsyncIterator[None]:
        """Look until the end of the block; begin once every Server shows everybody, as each does soon after they have connected."""
        async with httpx2.AsyncClient(base_url=site.url, timeout=WITHIN_S) as http:
            signed_in = await http.post("/api/login", json={"username": "admin", "password": PASSWORD})
            operator = {"Authorization": f"Bearer {signed_in.json()['token']}"}
            async with asyncio.timeout(WITHIN_S):
                for port in site.server_ports:
                    there = f"http://127.0.0.1:{port}/api/server"
                    while (await http.get(there, headers=operator)).json()["online"] != FLEET:
                        await asyncio.sleep(_LOOK_EVERY_S)
            task = asyncio.create_task(self._look(http, operator))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _look(self, http: httpx2.AsyncClient, operator: dict[str, str]) -> None:
        while True:
            try:
                answer = await http.get("/api/server", headers=operator)
                online = answer.json()["online"] if answer.status_code == 200 else -1
                self.seen.append((answer.status_code, online))
                self.tokens.append((await http.post("/oauth2/token", data=self._form)).status_code)
            except httpx2.TransportError:
                self.seen.append((0, -1))
            await asyncio.sleep(_LOOK_EVERY_S)


def _haproxy_says(site: Balanced, port: int) -> str:
    """Return the state of a Server as HAProxy sees it: `UP`, `NOLB` (no new requests), `DOWN`."""
    with socket.create_connection(("127.0.0.1", site.stats_port)) as line:
        line.sendall(b"show stat\n")
        text = b"".join(iter(lambda: line.recv(65_536), b"")).decode()
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    [state] = [row["status"] for row in rows if row["addr"] == f"127.0.0.1:{port}"]
    return state.split()[0]


def _tokens_of(port: int) -> float:
    """Return how many tokens a Server has issued since its start."""
    lines = httpx2.get(
        f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=WITHIN_S
    ).text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("lyftdata_tokens_total{"))


def _is_back(site: Balanced, port: int, balancer: str) -> bool:
    """Return whether a balancer sends a Server requests again. nginx asks one that has failed no earlier than a second later."""
    return _haproxy_says(site, port) == "UP" if balancer == "haproxy" else _tokens_of(port) > 0


def _restart(site: Balanced, number: int, balancer: str) -> dict[str, int]:
    """Restart a Server as an operator does; return what it says of its Workers."""
    port, server = site.server_ports[number], site.servers[number]
    server.process.terminate()
    begun = server.wait_for("draining")
    if balancer == "haproxy":
        until(lambda: _haproxy_says(site, port) == "NOLB", "HAProxy sends it nothing new", within_s=WITHIN_S)
    assert server.terminate() == 0
    ended = server.wait_for("drained")
    site.servers[number] = site.start_server(number)
    # The next one only then: with all of them out there would be nobody left to ask.
    until(lambda: _is_back(site, port, balancer), "the balancer sends it requests again", within_s=WITHIN_S)
    return {"had": begun["workers"], "left": ended["left"], "unfinished": ended["unfinished"]}


def _sessions_in(url: str) -> list[tuple[str, bool]]:
    """Return the Worker of each session in the history, and whether it goes on."""
    with psycopg.connect(url) as conn:
        return sorted(conn.execute("SELECT worker_id, ended_at IS NULL FROM worker_sessions").fetchall())


@pytest.mark.parametrize("balancer", ["haproxy", pytest.param("nginx", marks=pytest.mark.slow)])
async def test_a_rolling_restart_is_seen_by_nobody(
    open_site, cluster: Cluster, tmp_path, balancer, monkeypatch
):
    """
    No request of a Worker or an operator meets an error or a closed connection, and nobody is shown offline.

    Nor is a session ended: each goes on at another Server, since when its Worker has connected first.
    """
    allow_many_connections()
    # A late answer is not the kind of error that is meant: a large fleet and its Servers share the processors of one machine.
    monkeypatch.setattr(lean_workers, "_POLL_SLACK_S", WITHIN_S)
    url = cluster.new_database()
    credentials = await _fleet_in(url, tmp_path / "staging")
    site = await asyncio.to_thread(open_site, url, balancer)
    tally, watch = Tally(), Watch(*next((who, key) for who, key in credentials if isinstance(key, str)))
    async with running(light_workers(site, credentials, tally)):
        await is_true(lambda: len(tally.online) == FLEET, within_s=WITHIN_S, what="all are connected")
        async with watch.looking(site):
            restarts = [
                await asyncio.to_thread(_restart, site, number, balancer) for number in range(_SERVERS)
            ]
            looked = len(watch.seen)
            await is_true(lambda: len(watch.seen) > looked, within_s=WITHIN_S, what="a last look")
        sessions = await asyncio.to_thread(_sessions_in, url)

    assert set(tally.answers) == {"/oauth2/token 200", "/api/worker/session 200"}
    assert set(watch.seen) == {(200, FLEET)}
    assert set(watch.tokens) == {200}
    assert all(restart["had"] > 0 for restart in restarts)
    assert all(restart["left"] == restart["unfinished"] == 0 for restart in restarts)
    assert sessions == sorted((worker_id, True) for worker_id, _ in credentials)
