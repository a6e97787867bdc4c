"""docs/how-to/set-up-for-production.md, followed on one machine: its commands are run, and what it promises happens."""

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.behaviour.several_servers.production import PAGE, Production
from tests.peers.proxies import EXAMPLES
from tests.postgres import Cluster
from tests.processes import Host, end_started, until
from tests.units import DIRECTORY
from tools.build_deb import packaged_unit

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine")


@pytest.fixture
def production(tmp_path: Path) -> Iterator[Production]:
    """Return the page's setup; the Servers are not started yet."""
    cluster = Cluster()
    yield Production(tmp_path, cluster)
    end_started()
    cluster.close()


def all_online(operator: Host) -> bool:
    """Return whether both Servers show both Workers online; round robin asks each."""

    def asked() -> dict[str, str]:
        done = operator.run("workers", "list", "--json")
        return {} if done.returncode else {w["id"]: w["status"] for w in json.loads(done.stdout)}

    return all(asked() == {"press-01": "online", "press-02": "online"} for _ in range(2))


def status_of(path: str, port: int, *, name: str, ca: Path) -> str:
    """Return the status of an answer over TLS; the certificate must be for the name."""
    context = ssl.create_default_context(cafile=str(ca))
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname=name) as line,
    ):
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n".encode())
        return line.makefile("rb").readline().decode().split(" ", 1)[1].strip()


def test_the_page_works_as_described(production):
    """Two Servers with TLS and two Workers go through the kill of a Server, a restored backup, and disabling and revoking."""
    for host in production.server_hosts:
        assert host.run("config", "check", "server", "--connect").returncode == 0
    production.start_servers()
    balancer = production.start_balancer()
    try:
        follow(production)
    finally:
        balancer.close()


def follow(production: Production) -> None:
    """Follow the page from step 6 on."""
    operator = production.sign_in()
    # On a busy machine a heartbeat may be so late that a Server is not listed for a moment.
    until(lambda: len(operator.json("servers", "list")) == 2, "each Server knows of the other")
    for command in PAGE.commands("lyftdata workers add"):
        operator.done(*command[1:])
    systemd = production.systemd_worker(operator.home / "press-01.key")
    container, key_file = production.container_worker(operator.home / "press-02.key")
    agents = [systemd, container]
    until(lambda: all_online(operator), "both Workers are online")

    production.servers[0].kill()
    until(lambda: all_online(operator), "the other Server has both")
    production.restart_server(0)
    assert all(agent.alive() for agent in agents)

    for port, name in zip(production.server_ports, ("lyftdata-1", "lyftdata-2"), strict=True):
        assert status_of("/metrics", port, name=f"{name}.example.com", ca=production.ca) == "200 OK"
    through = status_of("/metrics", production.port, name="lyftdata.example.com", ca=production.ca)
    assert through == "404 Not Found"

    restore(production)
    until(lambda: all_online(operator), "both Workers are let in by the restored database")
    assert operator.json("audit", "verify")["ok"]
    assert all(agent.alive() for agent in agents)

    operator.done("workers", "disable", "press-01", "--yes")
    until(lambda: "worker_disabled" in [e["code"] for e in systemd.events("refused")], "it is out")
    (key,) = (k["name"] for k in operator.json("api-key", "list") if k["name"].startswith("press-02"))
    operator.done("api-key", "rotate", key, "--grace", "24h", "--output", "new.key", "--yes")
    key_file.write_bytes((operator.home / "new.key").read_bytes())
    container.wait_for("api_key_changed")
    operator.done("api-key", "revoke", key, "--yes")
    assert container.exit_code() == 3
    (issue,) = PAGE.commands("lyftdata api-key issue")
    operator.done(*issue[1:])


def restore(production: Production) -> None:
    """Dump the database, make a change, and restore the dump into an empty database, as on the page."""
    (production.root / "backup").mkdir()
    production.as_postgres(PAGE.commands("runuser -u postgres -- pg_dump")[0])
    operator = Host(
        production.root / "operator", LYFTDATA_URL=production.url, LYFTDATA_TLS_CA=str(production.ca)
    )
    operator.done("workers", "add", "undone", "--id", "undone")
    for server in production.servers:
        server.terminate()
    production.as_postgres(PAGE.commands("runuser -u postgres -- psql -c")[0])
    production.make_database()
    production.as_postgres(PAGE.commands("runuser -u postgres -- pg_restore")[0])
    (accept,) = PAGE.commands("as-server lyftdata admin accept-audit-log")
    for number, host in enumerate(production.server_hosts):
        host.done(*accept[2:])
        production.restart_server(number)
    for server in production.servers:
        assert not server.events("audit_log_cut")
        assert not server.events("audit_checkpoint_not_signed")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on this machine")
def test_prometheus_accepts_the_page(tmp_path):
    """The page's scrape configuration, with the alert rules next to it and a CA file, is valid for promtool."""
    (tmp_path / "ca.pem").write_text((EXAMPLES / "several-servers" / "nginx.conf").read_text())
    config = PAGE.file("/etc/prometheus/prometheus.yml").replace(
        "/etc/lyftdata-tls/ca.pem", str(tmp_path / "ca.pem")
    )
    (tmp_path / "prometheus.yml").write_text(config)
    shutil.copy(EXAMPLES / "prometheus" / "lyftdata-alerts.yml", tmp_path)

    done = subprocess.run(
        ["promtool", "check", "config", tmp_path / "prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "1 rule files found" in done.stdout


def test_as_server_passes_each_secret_under_the_name_its_setting_uses():
    """Each file that systemd passes on has the name in its setting; the page shows the script."""
    script = (DIRECTORY / "as-server").read_text()
    words = script.replace("\\\n", " ").split()
    passed = {
        word.removeprefix("LoadCredential=").split(":")[0]
        for word in words
        if word.startswith("LoadCredential=")
    }
    named = {word.rpartition("$secrets/")[2] for word in words if "=$secrets/" in word}

    assert passed == named == {"database-url", "secret-key"}
    assert "secrets=/run/credentials/as-server.service\n" in script
    assert "--unit=as-server" in words
    # So that a command works before the Server's first start, such as the page's check.
    unit = packaged_unit("lyftdata-server.service").splitlines()
    for setting in ("StateDirectory=lyftdata", "StateDirectoryMode=0700", "User=lyftdata"):
        assert setting in words
        assert setting in unit
    page = (EXAMPLES.parent / "docs" / "how-to" / "run-under-systemd.md").read_text()
    assert f"```sh\n{script}```\n" in page
