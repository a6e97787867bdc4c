"""Shared by the tests of a rolling restart: a fleet that counts every error, an operator who polls continuously, and HAProxy's view."""

import asyncio
import contextlib
import csv
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import psycopg
from tests.behaviour.chaos.crowd import Credentials
from tests.behaviour.several_servers.balanced import Balanced
from tests.builders import SECRET_KEY
from tests.fleets import add_enrolled, add_with_keys
from tests.processes import PASSWORD, WITHIN_S, until

from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services

_LOOK_EVERY_S = 0.1


async def fleet_in(url: str, staging_dir: Path, count: int) -> Credentials:
    """Put a fleet of `count` Workers into an empty database, half of each strategy; return their credentials."""
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
        by_key = await services.store.write(lambda tx: add_with_keys(tx, range(count // 2)))
        enrolled = await services.store.write(lambda tx: add_enrolled(tx, range(count - count // 2)))
    return [*by_key, *enrolled]


class Watch:
    """
    An operator who polls continuously, through the balancer, and a client that asks for a token after each poll.

    Args:
        credentials: Those of the fleet's Workers; tokens are asked for as the first Worker that has an API key.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._fleet = len(credentials)
        worker_id, key = next((who, key) for who, key in credentials if isinstance(key, str))
        self._form = {"grant_type": "client_credentials", "client_id": worker_id, "client_secret": key}
        self.seen: list[tuple[int, int]] = []
        """The status of each answer and how many Workers it shows online; (0, -1) if there was no answer."""
        self.tokens: list[int] = []

    @contextlib.asynccontextmanager
    async def looking(self, site: Balanced, *, processes: int = 1) -> AsyncIterator[None]:
        """Poll until the end of the block; start once every process shows all Workers online, which is soon after they have connected."""
        async with httpx2.AsyncClient(base_url=site.url, timeout=WITHIN_S) as http:
            operator = await asyncio.to_thread(sign_in, site)
            await asyncio.to_thread(until_all_are_online, site, operator, self._fleet, processes=processes)
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


def sign_in(site: Balanced) -> dict[str, str]:
    """Sign the operator in; return the session's headers."""
    credentials = {"username": "admin", "password": PASSWORD}
    answer = httpx2.post(f"{site.url}/api/login", json=credentials, trust_env=False, timeout=WITHIN_S)
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def until_all_are_online(site: Balanced, operator: dict[str, str], fleet: int, *, processes: int) -> None:
    """Wait until each process of every Server shows the whole fleet online."""
    for port in site.server_ports:
        started: set[str] = set()

        def have_all_seen(port: int = port, started: set[str] = started) -> bool:
            # A new connection each time, so that another process may accept it.
            seen = httpx2.get(
                f"http://127.0.0.1:{port}/api/server", headers=operator, trust_env=False, timeout=WITHIN_S
            ).json()
            if seen["online"] == fleet:
                # No two processes start in the same microsecond.
                started.add(seen["started_at"])
            return len(started) == processes

        until(have_all_seen, f"all are online at {port}")


def values_of(port: int, metric: str) -> list[float]:
    """Return the values of a metric at a Server, for each label and process."""
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=WITHIN_S).text
    names = (metric + "{", metric + " ")
    return [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(names)]


def haproxy_says(site: Balanced, port: int) -> str:
    """Return the state of a Server as HAProxy sees it: `UP`, `NOLB` (no new requests), `DOWN`."""
    with socket.create_connection(("127.0.0.1", site.stats_port)) as line:
        line.sendall(b"show stat\n")
        text = b"".join(iter(lambda: line.recv(65_536), b"")).decode()
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    [state] = [row["status"] for row in rows if row["addr"] == f"127.0.0.1:{port}"]
    return state.split()[0]


def sessions_in(url: str) -> list[tuple[str, bool]]:
    """Return the Worker of each session in the history, and whether the session is open."""
    with psycopg.connect(url) as conn:
        return sorted(conn.execute("SELECT worker_id, ended_at IS NULL FROM worker_sessions").fetchall())
