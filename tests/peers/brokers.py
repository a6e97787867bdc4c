"""RabbitMQ from its Debian package with the files of examples/celery-rabbitmq, and a Server with TLS."""

import base64
import contextlib
import json
import os
import ssl
import sys
import time
import urllib.request
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from urllib.parse import quote

import amqp
import httpx2
from tests.certificates import issued
from tests.peers.proxies import EXAMPLES, ROUND_EVERY_S, Peer, example, program
from tests.processes import PASSWORD, STARTED, Host, Program, Site, free_port

EXAMPLE = EXAMPLES / "celery-rabbitmq"
# The example's script for one machine keeps RabbitMQ in a directory, as the tests need it.
_spec: Any = spec_from_file_location("celery_rabbitmq_run", EXAMPLE / "run.py")
RUN = module_from_spec(_spec)
_spec.loader.exec_module(RUN)
ADMINISTRATOR = "_closer"
ADMINISTRATORS_PASSWORD = "administrator-of-the-broker"


class TlsSite:
    """A Server with a certificate, its operator, a resource for RabbitMQ, and Workers."""

    def __init__(self, root: Path, **environ: str) -> None:
        self.root = root
        self.authority, cert, key = issued(root)
        self.site = Site(root, LYFTDATA_TLS_CERT=str(cert), LYFTDATA_TLS_KEY=str(key), **environ)
        self.url = f"https://localhost:{self.site.port}"
        self.operator = Host(
            root / "operator-tls", LYFTDATA_URL=self.url, LYFTDATA_TLS_CA=str(self.authority)
        )
        self.operator.done("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        scopes = [f"--scope={scope}" for scope in RUN.SCOPES]
        self.operator.done("resources", "add", "rabbitmq", "--audience", "rabbitmq", "--all-workers", *scopes)
        self.resource_key = self.operator.done("resources", "issue-key", "rabbitmq").strip()
        self.keys: dict[str, str] = {}
        self._http = httpx2.Client(
            base_url=self.url, verify=ssl.create_default_context(cafile=self.authority), timeout=180
        )

    def add_worker(self, worker_id: str) -> str:
        """Add a Worker with its own API key; return its ID."""
        added = self.operator.done("workers", "add", worker_id, "--id", worker_id, "--issue-key")
        self.keys[worker_id] = added.strip()
        return worker_id

    def token(self, worker_id: str, *, resource: str = "rabbitmq") -> str:
        """Return a token for the broker, or for the Server if `resource` is empty."""
        form = {"grant_type": "client_credentials"} | ({"resource": resource} if resource else {})
        answer = self._http.post("/oauth2/token", auth=(worker_id, self.keys[worker_id]), data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def start_celery(self, worker_id: str, broker: "RabbitMq") -> Program:
        """Start Celery as a Worker, like the example."""
        host = Host(
            self.root / worker_id,
            LYFTDATA_URL=self.url,
            LYFTDATA_TLS_CA=str(self.authority),
            LYFTDATA_JOBS_DIR=str(self.root / worker_id / "jobs"),
            LYFTDATA_WORKER_ID=worker_id,
            LYFTDATA_WORKER_API_KEY=self.keys[worker_id],
            BROKER_URL=broker.url,
            PYTHONPATH=str(EXAMPLE),
            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        )
        flags = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--concurrency=1")
        return host.start(
            "run", "worker", "--", "celery", "--app", "celeryapp", "worker", *flags, "--loglevel=INFO"
        )

    def close(self) -> None:
        """End this Server, and no other program."""
        self._http.close()
        self.site.server.kill()
        STARTED.remove(self.site.server)


class RabbitMq:
    """
    A broker in its own directory, on free ports of loopback.

    Args:
        root: An empty directory.
        tls_site: The Server that it asks, or whose keys it reads.
        oauth2: Whether it verifies tokens with its OAuth 2 plugin instead of asking the Server.
    """

    def __init__(self, root: Path, tls_site: TlsSite, *, oauth2: bool = False) -> None:
        command = program("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")
        self.root = root
        self.port, self.management_port = free_port(), free_port()
        self.url = f"amqp://127.0.0.1:{self.port}/jobs"
        (root / "conf.d").mkdir()
        self._write(tls_site, oauth2=oauth2)
        epmd_port = free_port()
        epmd = Peer(
            [program("epmd", "erlang-base"), "-address", "127.0.0.1", "-port", str(epmd_port)],
            root=root,
            port=epmd_port,
        )
        environ = RUN.broker_environ(root, epmd_port)
        environ["RABBITMQ_ADVANCED_CONFIG_FILE"] = str(root / "advanced.config")
        try:
            self.peer = Peer([command], root=root, port=self.port, cleanups=[epmd.close], environ=environ)
        except BaseException:
            epmd.close()
            raise
        basic = base64.b64encode(f"{ADMINISTRATOR}:{ADMINISTRATORS_PASSWORD}".encode()).decode()
        self._basic = {"Authorization": f"Basic {basic}"}

    def _write(self, tls_site: TlsSite, *, oauth2: bool) -> None:
        server = f"localhost:{tls_site.site.port}"
        ports = {
            "127.0.0.1:5672": f"127.0.0.1:{self.port}",
            "management.tcp.port = 15672": f"management.tcp.port = {self.management_port}",
        }
        secrets = {"http://": "https://", "127.0.0.1:3000": server, ":KEY@": f":{tls_site.resource_key}@"}
        ca = {"/etc/ssl/certs/ca-certificates.crt": str(tls_site.authority)}
        main = example("celery-rabbitmq/rabbitmq.conf", ports)
        password = {"PASSWORD": ADMINISTRATORS_PASSWORD}
        own = example("celery-rabbitmq/lyftdata.conf", secrets | password)
        plugins = example("celery-rabbitmq/enabled_plugins", {})
        # close_revoked.py asks the Server, whichever plugin the broker uses.
        self.secrets_file = self.root / "secrets.conf"
        self.secrets_file.touch(0o600)
        self.secrets_file.write_text(own)
        if oauth2:
            main = _without(main, "auth_")
            own = _without(own, "auth_") + example(
                "celery-rabbitmq/oauth2.conf", ca | {"lyftdata.example.com": server}
            )
            plugins = plugins.replace("rabbitmq_auth_backend_http", "rabbitmq_auth_backend_oauth2")
        else:
            (self.root / "advanced.config").write_text(example("celery-rabbitmq/advanced.config", ca))
        (self.root / "rabbitmq.conf").write_text(main)
        (self.root / "conf.d" / "lyftdata.conf").write_text(own)
        (self.root / "enabled_plugins").write_text(plugins)

    @property
    def log(self) -> str:
        """Return what the broker has logged so far."""
        return self.peer.log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def management_url(self) -> str:
        """Return the URL of the management API."""
        return f"http://127.0.0.1:{self.management_port}"

    def start_closer(
        self, tls_site: TlsSite, *, management: str = "", server: str = "", health_port: int = 0
    ) -> Peer:
        """
        Start close_revoked.py, which trusts the Server's certificate by the environment, like any Python program.

        Args:
            tls_site: The Server.
            management: A URL to use instead of the broker's.
            server: A URL to use instead of the Server's.
            health_port: The port of its health endpoint.
        """
        root = self.root / f"closer-{time.monotonic_ns()}"
        root.mkdir()
        secrets_file = self.secrets_file
        if server:
            secrets_file = root / "secrets.conf"
            secrets_file.touch(0o600)
            itself = f"https://rabbitmq:{tls_site.resource_key}@localhost:{tls_site.site.port}"
            changed = f"http://rabbitmq:{tls_site.resource_key}@{server.removeprefix('http://')}"
            secrets_file.write_text(self.secrets_file.read_text().replace(itself, changed))
        program = [sys.executable, str(EXAMPLE / "close_revoked.py")]
        command = [*program, str(secrets_file), management or self.management_url, ROUND_EVERY_S]
        if health_port:
            command.append(f"127.0.0.1:{health_port}")
        environ = {"SSL_CERT_FILE": str(tls_site.authority)}
        return Peer(command, root=root, port=health_port or self.management_port, environ=environ)

    def connect(self, user: str, password: str, *, vhost: str = "jobs") -> amqp.Connection:
        """Log in."""
        connection = amqp.Connection(
            f"127.0.0.1:{self.port}",
            user,
            password,
            virtual_host=vhost,
            login_method="PLAIN",
            connect_timeout=180,
        )
        try:
            connection.connect()
        except BaseException:
            connection.collect()
            raise
        return connection

    def api(self, path: str, *, method: str = "GET", body: Mapping[str, object] | None = None) -> Any:
        """Call the management API as the broker's administrator."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.management_port}/api/{path}",
            None if body is None else json.dumps(body).encode(),
            {**self._basic, "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=180) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def connections_of(self, user: str) -> int:
        """Return how many connections of a user the broker lists."""
        return len(self.api(f"connections/username/{quote(user, safe='')}"))

    def close(self) -> None:
        """End it."""
        self.peer.close()


class Consumer:
    """A third-party consumer that obeys only its host: it keeps its connection, and ignores every instruction."""

    def __init__(self, broker: RabbitMq, user: str, token: str) -> None:
        self.connection = broker.connect(user, token)
        self.channel = self.connection.channel()
        self.channel.basic_qos(0, 1, a_global=False)
        self.held: list[amqp.Message] = []
        self.channel.basic_consume("celery", callback=self.held.append)

    def receives(self, count: int, *, within_s: float = 180) -> bool:
        """Return whether `count` messages in total have been received within the time."""
        deadline = time.monotonic() + within_s
        while len(self.held) < count and time.monotonic() < deadline:
            self._drain()
        return len(self.held) >= count

    def acknowledge(self) -> None:
        """Acknowledge the last message, so that the next one is delivered."""
        self.channel.basic_ack(self.held[-1].delivery_tag)

    def is_cut_off(self, *, within_s: float = 180) -> bool:
        """Return whether the broker closes the connection within the time."""
        deadline = time.monotonic() + within_s
        try:
            while time.monotonic() < deadline:
                self._drain()
        except (amqp.ConnectionError, ConnectionError):
            self.close()
            return True
        return False

    def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            self.connection.drain_events(timeout=0.1)

    def close(self) -> None:
        """Close the connection if it is open."""
        self.connection.collect()


def _without(configuration: str, prefix: str) -> str:
    lines = configuration.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(prefix))
