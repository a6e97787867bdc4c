"""Two real Servers behind a real balancer: any Worker can use any Server, and losing a Server disturbs none of them."""

import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import yaml
from tests.behaviour.several_servers.balanced import (
    NAMES,
    Balanced,
    PgBouncer,
    are_all_online,
    run_count,
    start_haproxy,
    start_nginx,
    start_workers,
)
from tests.builders import SECRET_KEY
from tests.lean_workers import post
from tests.peers.proxies import EXAMPLES, Service
from tests.postgres import Cluster
from tests.processes import PASSWORD, STARTED, free_port, until

OpenBalanced = Callable[..., Balanced]


@pytest.fixture
def open_balanced(tmp_path: Path, cluster: Cluster) -> Iterator[OpenBalanced]:
    """Return a function that starts two Servers behind a balancer; all of them are stopped after the test."""
    opened: list[Balanced] = []

    def start(balancer: str = "haproxy", *, url: str | None = None) -> Balanced:
        opened.append(Balanced(tmp_path / "site", [url or cluster.new_database()] * 2, balancer))
        return opened[-1]

    yield start
    for balanced in opened:
        balanced.close()
    while STARTED:
        program = STARTED.pop()
        if program.alive():
            program.kill()


@pytest.mark.parametrize("balancer", ["haproxy", "nginx"])
def test_workers_survive_the_loss_of_a_server(open_balanced, balancer):
    """One Server is killed, then the other after the first is back: no agent ends, and every program runs on."""
    site = open_balanced(balancer)
    agents = start_workers(site)

    for number in range(2):
        site.servers[number].kill()
        until(lambda: are_all_online(site), "the other Server has them all", within_s=240)
        site.servers[number] = site.start_server(number)

    assert all(agent.alive() for agent in agents)
    assert [run_count(site, name) for name in NAMES] == [1] * 4
    assert site.ask("audit", "verify")["ok"]


def poll_until_held_and_vanish(site: Balanced, token: str) -> None:
    """Poll as an agent does until a poll is held (the first one at each Server is not), then vanish as after SIGKILL."""
    poll = post(
        b"/api/worker/session", b'{"boot_id": "boot-0001", "host": {"hostname": "host-1"}}', bearer=token
    )
    with socket.create_connection(("127.0.0.1", site.port)) as line:
        is_answered = True
        while is_answered:
            line.sendall(poll)
            is_answered = bool(select.select([line], [], [], 2)[0])
            assert not is_answered or line.recv(65_536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("balancer", ["haproxy", "nginx"])
def test_an_agent_restarted_after_a_kill_is_not_taken_for_a_copy_behind_a_balancer(open_balanced, balancer):
    """The balancer closes the killed agent's poll, so the next start is not refused even though polls are held for longer."""
    site = open_balanced(balancer)
    site.operator.done("workers", "add", "key-1", "--id", "key-1")
    key = site.operator.done("api-key", "issue", "key-1-key", "--worker", "key-1").strip()
    host = site.worker_host("key-1", LYFTDATA_WORKER_ID="key-1", LYFTDATA_WORKER_API_KEY=key)
    poll_until_held_and_vanish(site, host.done("token").strip())
    # The other Server learns of it within a second, but shows nothing that could be waited for.
    time.sleep(3)

    second = host.start("run", "worker")

    second.wait_for("online")
    assert second.events("refused") == []


def test_disabling_a_worker_ends_its_program_whichever_server_it_is_connected_to(open_balanced):
    """The operator's request may reach the other Server; the program runs again when the Worker is enabled."""
    site = open_balanced()
    agents = start_workers(site)

    for name, agent in zip(("key-1", "key-2"), agents, strict=False):
        site.operator.done("workers", "disable", name, "--yes")
        assert agent.wait_for("refused")["code"] == "worker_disabled"
        site.operator.done("workers", "enable", name)
    for agent in agents[:2]:
        agent.wait_for("online", count=2)


def test_a_rolling_restart_refuses_no_worker(open_balanced):
    """Each Server is stopped cleanly and started again, one after the other; all Workers are online again afterwards."""
    site = open_balanced()
    agents = start_workers(site)

    for number in range(2):
        assert site.servers[number].terminate() == 0
        site.servers[number] = site.start_server(number)
    until(lambda: are_all_online(site), "all are online", within_s=240)

    listed = site.ask("servers", "list")
    assert [server["address"] for server in listed] == [f"127.0.0.1:{port}" for port in site.server_ports]
    assert all(agent.alive() for agent in agents)
    assert not any(agent.events("refused") for agent in agents)
    assert site.ask("refusals", "list") == []


def test_servers_work_through_pgbouncer_in_transaction_mode(open_balanced, cluster, tmp_path):
    """It passes no notifications on: Servers find changes by polling, and they take effect all the same."""
    bouncer = PgBouncer(tmp_path / "pgbouncer", cluster)
    try:
        site = open_balanced(url=bouncer.url(cluster.new_database()))
        agents = start_workers(site)
        site.operator.done("workers", "disable", "key-1", "--yes")
        assert agents[0].wait_for("refused")["code"] == "worker_disabled"
        site.servers[0].kill()
        until(
            lambda: sorted(site.statuses().values()) == ["offline", "online", "online", "online"],
            "the other Server has them all",
            within_s=240,
        )
        assert site.ask("audit", "verify")["ok"]
    finally:
        bouncer.close()


def test_the_compose_file_gives_each_server_the_settings_it_needs():
    """Both Servers share one database, one secret key and one name; secrets are read from files and are not in it."""
    compose = yaml.safe_load((EXAMPLES / "several-servers" / "compose.yaml").read_text(encoding="utf-8"))
    one, two = (compose["services"][name] for name in ("one", "two"))

    assert one == two
    from lyftdata.server.runtime.settings import read_server_settings

    files = {
        "/run/secrets/database-url": "postgresql://lyftdata:x@database/lyftdata?sslmode=verify-full",
        "/run/secrets/secret-key": SECRET_KEY,
        "/run/secrets/admin-password": PASSWORD,
    }
    settings = read_server_settings(one["environment"], read_file=files.__getitem__)
    assert settings.warnings == ()
    assert settings.database_url is not None
    assert settings.database_url.reveal() == files["/run/secrets/database-url"]


@pytest.mark.parametrize("file", ["haproxy.cfg", "nginx.conf"])
def test_the_page_shows_the_configuration_that_is_tested(file):
    """The page contains the file that these tests start."""
    page = (EXAMPLES.parent / "docs" / "how-to" / "run-several-servers.md").read_text(encoding="utf-8")

    assert (EXAMPLES / "several-servers" / file).read_text(encoding="utf-8") in page


def test_the_database_certificate_of_the_compose_file_is_verified(tmp_path):
    """With the certificate of make-secrets.sh, `verify-full` connects to PostgreSQL; with another one it fails."""
    for place in ("right", "other"):
        subprocess.run(
            ["sh", EXAMPLES / "several-servers" / "make-secrets.sh"],
            env={"PATH": os.environ["PATH"], "LYFTDATA_SECRETS": str(tmp_path / place)},
            check=True,
            capture_output=True,
        )
    made, others = tmp_path / "right", tmp_path / "other" / "database-cert"
    query = "?" + (made / "database-url").read_text().partition("database/lyftdata?")[2]
    database = Cluster()
    try:
        database.serve_tls(made / "database-cert", made / "database-key")
        url = database.url("postgres").replace("127.0.0.1", "database")

        def connected(certificate):
            asked = query.replace("/run/secrets/database-cert", str(certificate))
            with psycopg.connect(f"{url}{asked}&hostaddr=127.0.0.1") as conn:
                return conn.pgconn.ssl_in_use

        assert "sslmode=verify-full" in query
        assert connected(made / "database-cert")
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            connected(others)
    finally:
        database.close()


@pytest.mark.parametrize("balancer", ["haproxy", "nginx"])
def test_metrics_cannot_be_read_through_a_balancer(balancer, tmp_path):
    """They need no credential, so both examples answer 404, however the path is spelled; other paths are passed on."""
    service = Service()
    servers = [service.port] * 2
    peer = (
        start_nginx(tmp_path, free_port(), servers)
        if balancer == "nginx"
        else start_haproxy(tmp_path, free_port(), servers, "60s", stats_port=free_port())
    )
    try:
        until(lambda: answered(peer.port, "/readyz") == 200, "the balancer passes on")
        for path in (
            "/metrics",
            "/%6Detrics",
            "/metrics?x=1",
            "/metric%73/",
            f"http://127.0.0.1:{peer.port}/metrics",
        ):
            assert answered(peer.port, path) == 404, path
        assert answered(peer.port, "/api/metrics") == 200
    finally:
        peer.close()
        service.close()
    assert {seen.path for seen in service.seen} == {"/readyz", "/api/metrics"}


def answered(port: int, target: str) -> int:
    """Return the status of the answer to a request whose target is sent verbatim."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        return int(line.makefile("rb").readline().split()[1])
