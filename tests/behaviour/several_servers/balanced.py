"""Several Servers as in production: real processes on one PostgreSQL, behind a third-party load balancer."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.builders import ENROLLMENT_KEY, SECRET_KEY
from tests.peers.proxies import Peer, example, program
from tests.postgres import Cluster
from tests.processes import PASSWORD, Host, Program, free_port, until

NAMES = ("key-1", "key-2", "auto-1", "auto-2")
# Writes a line each time it is started.
PROGRAM = ("sh", "-c", "echo started >> runs; exec sleep 1000")


def start_haproxy(root: Path, port: int, servers: list[int], check_timeout: str, *, stats_port: int) -> Peer:
    """
    Start HAProxy with the file from examples/, except for how long a Server may take to answer a health check.

    Args:
        root: An empty directory.
        port: The port it listens on.
        servers: The ports of the Servers.
        check_timeout: In HAProxy's syntax.
        stats_port: The port of its statistics socket.
    """
    haproxy = program("haproxy", "haproxy")
    file = root / "haproxy.cfg"
    changes = _addresses(port, servers) | {
        "timeout check 3s": f"timeout check {check_timeout}",
        "defaults\n": f"global\n    stats socket ipv4@127.0.0.1:{stats_port}\n\ndefaults\n",
        "    server two": "".join(f"    server more-{more} 127.0.0.1:{more}\n" for more in servers[2:])
        + "    server two",
    }
    file.write_text(example("several-servers/haproxy.cfg", changes), encoding="utf-8")
    return Peer([haproxy, "-f", str(file)], root=root, port=port)


def start_nginx(root: Path, port: int, servers: list[int]) -> Peer:
    """Start nginx with the file from examples/."""
    nginx = program("nginx", "nginx")
    paths = f"pid {root}/pid; daemon off; error_log {root}/error.log;\n"
    temporary = "".join(
        f"    {kind}_temp_path {root}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    changes = _addresses(port, servers) | {
        "http {\n": f"http {{\n    access_log off;\n{temporary}",
        "        keepalive 256": "".join(
            f"        server 127.0.0.1:{more} max_fails=1 fail_timeout=1s;\n" for more in servers[2:]
        )
        + "        keepalive 256",
    }
    file = root / "nginx.conf"
    file.write_text(paths + example("several-servers/nginx.conf", changes), encoding="utf-8")
    return Peer([nginx, "-c", str(file), "-p", str(root)], root=root, port=port)


def _addresses(port: int, servers: list[int]) -> dict[str, str]:
    return {
        "127.0.0.1:3001": f"127.0.0.1:{servers[0]}",
        "127.0.0.1:3002": f"127.0.0.1:{servers[1]}",
        "127.0.0.1:3080": f"127.0.0.1:{port}",
    }


class PgBouncer:
    """PgBouncer in transaction mode in front of a cluster."""

    def __init__(self, root: Path, cluster: Cluster) -> None:
        pgbouncer = program("pgbouncer", "pgbouncer")
        self._cluster = cluster
        root.mkdir()
        root.chmod(0o777)
        self.port = free_port()
        (root / "users").write_text(f'"owner" "{cluster.password}"\n', encoding="utf-8")
        (root / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"* = host=127.0.0.1 port={cluster.port}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = plain\nauth_file = {root}/users\n"
            "pool_mode = transaction\nmax_client_conn = 100\ndefault_pool_size = 10\n",
            encoding="utf-8",
        )
        user_options = ["-u", cluster.user] if cluster.user else []
        self._peer = Peer([pgbouncer, *user_options, str(root / "pgbouncer.ini")], root=root, port=self.port)

    def url(self, database_url: str) -> str:
        """Return the URL of a database through this PgBouncer."""
        return database_url.replace(f":{self._cluster.port}/", f":{self.port}/")

    def close(self) -> None:
        """Stop it."""
        self._peer.close()


class Balanced:
    """
    Servers behind a balancer, an operator's host, and Workers' hosts.

    Args:
        root: An empty directory.
        database_urls: The database URL of each Server: one Server is started for each.
        balancer: Which balancer to start.
        module: The module that the Servers run; `lyftdata` unless a test needs a changed one.
        check_timeout: How long a Server may take to answer HAProxy's health check. Long, since tests share the CPUs with others;
            the example's value for tests that freeze a Server.
        environ: Further settings of the Servers.
    """

    def __init__(
        self,
        root: Path,
        database_urls: Sequence[str],
        balancer: str = "haproxy",
        *,
        module: str = "lyftdata",
        check_timeout: str = "60s",
        **environ: str,
    ) -> None:
        self.root = root
        self.secret_key = SECRET_KEY
        self._module = module
        self._environ = environ
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.stats_port = free_port()
        self.database_urls = list(database_urls)
        self.server_ports = [free_port() for _ in self.database_urls]
        self.servers = [self.start_server(number) for number, _ in enumerate(self.database_urls)]
        place = root / balancer
        place.mkdir()
        self.balancer = (
            start_nginx(place, self.port, self.server_ports)
            if balancer == "nginx"
            else start_haproxy(place, self.port, self.server_ports, check_timeout, stats_port=self.stats_port)
        )
        self.operator = Host(root / "operator", LYFTDATA_URL=self.url)
        until(self._signs_in, "the balancer passes on")

    def _signs_in(self) -> bool:
        result = self.operator.run("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        return result.returncode == 0

    def server_host(self, number: int) -> Host:
        """Return the host of a Server, to run commands there."""
        home = self.root / f"server-{number}"
        return Host(
            home,
            module=self._module,
            LYFTDATA_BIND_ADDRESS=f"127.0.0.1:{self.server_ports[number]}",
            LYFTDATA_STAGING_DIR=str(home / "staging"),
            LYFTDATA_PUBLIC_URL=self.url,
            LYFTDATA_TRUSTED_PROXIES="127.0.0.1",
            LYFTDATA_ADMIN_INIT_PASSWORD=PASSWORD,
            LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY,
            LYFTDATA_DATABASE_URL=self.database_urls[number],
            LYFTDATA_SECRET_KEY=self.secret_key,
            **self._environ,
        )

    def start_server(self, number: int) -> Program:
        """Start a Server and wait until it, or each of its processes, is ready."""
        started = self.server_host(number).start("run", "server")
        started.wait_for("processes_ready" if "LYFTDATA_PROCESSES" in self._environ else "ready")
        return started

    def worker_host(self, name: str, *, module: str = "lyftdata", **environ: str) -> Host:
        """Return a host for a Worker."""
        home = self.root / name
        jobs = str(home / "jobs")
        return Host(home, module=module, LYFTDATA_URL=self.url, LYFTDATA_JOBS_DIR=jobs, **environ)

    def statuses(self) -> dict[str, str]:
        """Return the status of each Worker by name, as the Server behind the balancer that answers shows it."""
        result = self.operator.run("workers", "list", "--json")
        if result.returncode != 0:
            return {}
        return {worker["name"]: worker["status"] for worker in json.loads(result.stdout)}

    def ask(self, *arguments: str) -> Any:
        """
        Return the JSON output of an operator's command.

        Repeated until it succeeds: a request that was passed on to a Server before the Server was killed ends with 502.
        """

        def asked() -> str:
            result = self.operator.run(*arguments, "--json")
            return result.stdout if result.returncode == 0 else ""

        return json.loads(until(asked, f"an answer to {arguments}"))

    def close(self) -> None:
        """Stop what no fixture stops."""
        self.balancer.close()


def start_workers(site: Balanced) -> list[Program]:
    """Start two Workers of each strategy, and wait until every Server shows them online."""
    agents = []
    for name in ("key-1", "key-2"):
        site.operator.done("workers", "add", name, "--id", name)
        key = site.operator.done("api-key", "issue", f"{name}-key", "--worker", name).strip()
        host = site.worker_host(name, LYFTDATA_WORKER_ID=name, LYFTDATA_WORKER_API_KEY=key)
        agents.append(host.start("run", "worker", "--", *PROGRAM))
    # Issued at one Server, used at either: the other may not know of it yet.
    issued = site.operator.done("enrollment", "issue", "auto-2-key", "--uses", "1", "--worker-name", "auto-2")
    for name, secret in (("auto-1", ENROLLMENT_KEY), ("auto-2", issued.strip())):
        host = site.worker_host(name, LYFTDATA_WORKER_NAME=name, LYFTDATA_AUTO_ENROLLMENT_KEY=secret)
        agents.append(host.start("run", "worker", "--", *PROGRAM))
    for agent in agents:
        agent.wait_for("online")
    until(lambda: are_all_online(site), "both Servers show all of them online")
    return agents


def run_count(site: Balanced, name: str) -> int:
    """Return how often a Worker's program was started."""
    return (site.root / name / "runs").read_text(encoding="utf-8").count("started")


def are_all_online(site: Balanced) -> bool:
    """Return whether both Servers show the four Workers online; round robin asks each."""
    return all(
        {n: s for n, s in site.statuses().items() if n in NAMES} == dict.fromkeys(NAMES, "online")
        for _ in range(2)
    )
