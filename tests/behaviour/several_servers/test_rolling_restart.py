"""
Three real Servers behind a real balancer are restarted one after the other under a fleet that counts every error.

`LYFTDATA_ROLLING_WORKERS=2000` makes it a large fleet; the assertions are the same.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests import lean_workers
from tests.behaviour.chaos.crowd import light_workers, running
from tests.behaviour.several_servers.balanced import Balanced
from tests.behaviour.several_servers.rolling import Watch, fleet_in, haproxy_says, sessions_in, values_of
from tests.lean_workers import Tally, allow_many_connections
from tests.lean_workers import until as is_true
from tests.postgres import Cluster
from tests.processes import WITHIN_S, end_started, until

FLEET = int(os.environ.get("LYFTDATA_ROLLING_WORKERS", "60"))
_SERVERS = 3

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


def _is_back(site: Balanced, port: int, balancer: str) -> bool:
    """Return whether a balancer sends a Server requests again; nginx retries a failed one after a second at the earliest."""
    return (
        haproxy_says(site, port) == "UP"
        if balancer == "haproxy"
        else sum(values_of(port, "lyftdata_tokens_total")) > 0
    )


def _restart(site: Balanced, number: int, balancer: str) -> dict[str, int]:
    """Restart a Server as an operator does; return its counts of Workers and unfinished requests."""
    port, server = site.server_ports[number], site.servers[number]
    server.process.terminate()
    begun = server.wait_for("draining")
    if balancer == "haproxy":
        until(lambda: haproxy_says(site, port) == "NOLB", "HAProxy sends it nothing new", within_s=WITHIN_S)
    assert server.terminate() == 0
    ended = server.wait_for("drained")
    site.servers[number] = site.start_server(number)
    # Only then the next one: with all of them down no Server would be left.
    until(lambda: _is_back(site, port, balancer), "the balancer sends it requests again", within_s=WITHIN_S)
    return {"had": begun["workers"], "left": ended["left"], "unfinished": ended["unfinished"]}


@pytest.mark.parametrize("balancer", ["haproxy", pytest.param("nginx", marks=pytest.mark.slow)])
async def test_a_rolling_restart_causes_no_errors(
    open_site, cluster: Cluster, tmp_path, balancer, monkeypatch
):
    """
    No request of a Worker or operator gets an error or a closed connection, and no Worker is shown offline.

    No session ends either: each continues at another Server, with the time at which its Worker first connected.
    """
    allow_many_connections()
    # A late answer does not count as an error: a large fleet and its Servers share the CPUs of one machine.
    monkeypatch.setattr(lean_workers, "_POLL_SLACK_S", WITHIN_S)
    url = cluster.new_database()
    credentials = await fleet_in(url, tmp_path / "staging", FLEET)
    site = await asyncio.to_thread(open_site, url, balancer)
    tally, watch = Tally(), Watch(credentials)
    async with running(light_workers(site, credentials, tally)):
        await is_true(lambda: len(tally.online) == FLEET, within_s=WITHIN_S, what="all are connected")
        async with watch.looking(site):
            restarts = [
                await asyncio.to_thread(_restart, site, number, balancer) for number in range(_SERVERS)
            ]
            looked = len(watch.seen)
            await is_true(lambda: len(watch.seen) > looked, within_s=WITHIN_S, what="a last look")
        sessions = await asyncio.to_thread(sessions_in, url)

    assert set(tally.answers) == {"/oauth2/token 200", "/api/worker/session 200"}
    assert set(watch.seen) == {(200, FLEET)}
    assert set(watch.tokens) == {200}
    assert all(restart["had"] > 0 for restart in restarts)
    assert all(restart["left"] == restart["unfinished"] == 0 for restart in restarts)
    assert sessions == sorted((worker_id, True) for worker_id, _ in credentials)
