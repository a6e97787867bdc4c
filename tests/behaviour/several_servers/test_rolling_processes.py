"""
Two hosts with two processes each, behind HAProxy, on one PostgreSQL: hosts are restarted and processes killed under a fleet that counts every error.

`LYFTDATA_ROLLING_WORKERS=2000` makes it a large fleet; the assertions are the same.
"""

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests import lean_workers
from tests.behaviour.chaos.crowd import Credentials, light_workers, running
from tests.behaviour.several_servers.balanced import Balanced
from tests.behaviour.several_servers.rolling import (
    Watch,
    fleet_in,
    haproxy_says,
    sessions_in,
    values_of,
)
from tests.lean_workers import Tally, allow_many_connections
from tests.lean_workers import until as is_true
from tests.postgres import Cluster
from tests.processes import WITHIN_S, Program, end_started, until

FLEET = int(os.environ.get("LYFTDATA_ROLLING_WORKERS", "300"))
_HOSTS = 2
_PROCESSES = 2
# What a client sees of a broken connection behind HAProxy: a closed connection, or HAProxy's own answer.
_CUT_OFF = {"no connection", "/api/worker/session 502", "/api/worker/session 503"}


@pytest.fixture
async def fleet(cluster: Cluster, tmp_path: Path, monkeypatch) -> AsyncIterator["Fleet"]:
    """Return Workers that are all connected to two hosts with two processes each."""
    allow_many_connections()
    # A late answer does not count as an error: the fleet and its Servers share the CPUs of one machine.
    monkeypatch.setattr(lean_workers, "_POLL_SLACK_S", WITHIN_S)
    url = cluster.new_database()
    credentials = await fleet_in(url, tmp_path / "staging", FLEET)
    with contextlib.ExitStack() as stack:
        stack.callback(end_started)
        site = await asyncio.to_thread(
            Balanced,
            tmp_path / "site",
            [url] * _HOSTS,
            module="tests.behaviour.several_servers.unhurried_server",
            LYFTDATA_PROCESSES=str(_PROCESSES),
            # Ended by a second signal, as soon as the balancer has noticed.
            LYFTDATA_SHUTDOWN_DELAY="10m",
        )
        stack.callback(site.close)
        tally = Tally()
        async with running(light_workers(site, credentials, tally)):
            await is_true(lambda: len(tally.online) == FLEET, within_s=WITHIN_S, what="all are connected")
            yield Fleet(site, credentials, tally, url)


class Fleet:
    """Connected Workers, and the answers they get."""

    def __init__(self, site: Balanced, credentials: Credentials, tally: Tally, url: str) -> None:
        self.site, self.credentials, self.tally, self.url = site, credentials, tally, url

    def until_online(self) -> None:
        """Wait until every Worker is connected to some process."""
        until(lambda: sum(map(_connected_to, self.site.server_ports)) == FLEET, "all are connected")

    async def sessions(self) -> list[tuple[str, bool]]:
        """Return the Worker of each session in the history, and whether the session is open."""
        return await asyncio.to_thread(sessions_in, self.url)

    def one_open_session_each(self) -> list[tuple[str, bool]]:
        """Return one open session for each Worker, the expected state."""
        return sorted((worker_id, True) for worker_id, _ in self.credentials)


def _connected_to(port: int) -> float:
    """Return how many Workers are connected to the processes of a host."""
    return sum(values_of(port, "lyftdata_workers_online"))


def _restart(site: Balanced, number: int, *, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Restart a host as an operator does, without losing a Worker or a request; call `meanwhile` while HAProxy sends it nothing new."""
    port, server = site.server_ports[number], site.servers[number]
    server.process.terminate()
    server.wait_for("draining", count=_PROCESSES)
    until(lambda: haproxy_says(site, port) == "NOLB", "HAProxy sends it nothing new", within_s=WITHIN_S)
    meanwhile()
    assert server.terminate() == 0
    assert all(begun["workers"] > 0 for begun in server.events("draining"))
    assert [(ended["left"], ended["unfinished"]) for ended in server.events("drained")] == [
        (0, 0)
    ] * _PROCESSES
    site.servers[number] = site.start_server(number)
    # Only then the next one: with both of them down no Server would be left.
    until(lambda: haproxy_says(site, port) == "UP", "HAProxy sends it requests again", within_s=WITHIN_S)


async def test_two_hosts_of_two_processes_are_restarted_without_an_error(fleet):
    """No request of a Worker or operator gets an error or a closed connection, and no session ends: each continues at another process."""
    watch = Watch(fleet.credentials)
    async with watch.looking(fleet.site, processes=_PROCESSES):
        for number in range(_HOSTS):
            await asyncio.to_thread(_restart, fleet.site, number)
        looked = len(watch.seen)
        await is_true(lambda: len(watch.seen) > looked, within_s=WITHIN_S, what="a last look")
    await asyncio.to_thread(fleet.until_online)

    assert set(fleet.tally.answers) == {"/oauth2/token 200", "/api/worker/session 200"}
    assert set(watch.seen) == {(200, FLEET)}
    assert set(watch.tokens) == {200}
    assert await fleet.sessions() == fleet.one_open_session_each()


def _kill_a_process(server: Program) -> None:
    """Kill the last of a Server's processes, and wait until it has been replaced."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    ready = len(server.events("ready"))
    os.kill(max(int(pid) for pid in children.read_text(encoding="utf-8").split()), signal.SIGKILL)
    server.wait_for("ready", count=ready + 1)


async def test_workers_of_a_killed_process_reconnect_while_the_other_host_restarts(fleet):
    """Only the polls that it held fail; each Worker reconnects to another process, and none is taken for a second start or for lost."""
    site = fleet.site
    watch = Watch(fleet.credentials)
    async with watch.looking(site, processes=_PROCESSES):
        kill = functools.partial(_kill_a_process, site.servers[1])
        await asyncio.to_thread(_restart, site, 0, meanwhile=kill)
        await asyncio.to_thread(fleet.until_online)
        await asyncio.to_thread(_restart, site, 1)
        await asyncio.to_thread(fleet.until_online)

    assert set(fleet.tally.answers) - _CUT_OFF == {"/oauth2/token 200", "/api/worker/session 200"}
    assert {online for status, online in watch.seen if status == 200} == {FLEET}
    assert await fleet.sessions() == fleet.one_open_session_each()
