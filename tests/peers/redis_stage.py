"""Redis from its Debian package with the files of examples/redis, a Server, the guard, and Workers that are not started."""

import contextlib
import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.peers.proxies import EXAMPLES, ROUND_EVERY_S, Peer, example, program
from tests.processes import STARTED, Program, Site, free_port

EXAMPLE = EXAMPLES / "redis"
SCOPES = ("~jobs", "+xgroup|create", "+xadd", "+xreadgroup", "+xautoclaim", "+xack")
WORKERS = ("press-01", "press-02")
DESK = "desk-01"
ADMINS_PASSWORD = uuid.uuid4().hex
GUARDS_PASSWORD = uuid.uuid4().hex


class Stage:
    """A Server, a Redis, its guard, and Workers that are not started."""

    def __init__(self, root: Path) -> None:
        command = program("redis-server", "redis-server")
        self.root = root
        self.site = Site(root)
        self.operator = self.site.sign_in()
        scopes = [f"--scope={scope}" for scope in SCOPES]
        self.operator.done("resources", "add", "redis", "--audience", "redis", "--all-workers", *scopes)
        self.keys: dict[str, str] = {}
        for worker_id in (*WORKERS, DESK):
            self.add_worker(worker_id)
        self.port, self.guard_port = free_port(), free_port()
        configuration = {"port 6379": f"port {self.port}", "PASSWORD": GUARDS_PASSWORD}
        (root / "redis.conf").write_text(example("redis/redis.conf", configuration))
        self.redis = Peer([command, str(root / "redis.conf"), "--dir", str(root)], root=root, port=self.port)
        given = {
            "127.0.0.1:3000": f"127.0.0.1:{self.site.port}",
            '"KEY"': json.dumps(self.operator.done("resources", "issue-key", "redis").strip()),
            "PASSWORD": GUARDS_PASSWORD,
            "127.0.0.1:6379": f"127.0.0.1:{self.port}",
            "127.0.0.1:6380": f"127.0.0.1:{self.guard_port}",
        }
        (root / "guard.json").touch(0o600)
        (root / "guard.json").write_text(example("redis/guard.json", given))
        self.guard = self.start_guard()

    def start_guard(self, *, server: str = "") -> Peer:
        """Start the guard; `server` is a URL to use instead of the Server's."""
        home = self.root / f"guard-{uuid.uuid4().hex[:8]}"
        home.mkdir()
        file = self.root / "guard.json"
        if server:
            file = home / "guard.json"
            file.touch(0o600)
            given = json.loads((self.root / "guard.json").read_text())
            file.write_text(json.dumps(given | {"server": server}))
        command = [sys.executable, str(EXAMPLE / "guard.py"), str(file), ROUND_EVERY_S]
        return Peer(command, root=home, port=self.guard_port)

    def health(self) -> tuple[int, str | None]:
        """Return the guard's health: the status, and when its last complete round ended."""
        answer = httpx2.get(f"http://127.0.0.1:{self.guard_port}/healthz", timeout=180)
        return answer.status_code, answer.json()["last_whole_round"]

    def let_in(self, worker_id: str) -> str:
        """Present a new token of a Worker to the guard, which must accept it; return the token."""
        token = self.token(worker_id)
        assert self.show(token) == 204
        return token

    def set_scopes(self, *scopes: str) -> None:
        """Change the scopes of the resource."""
        self.operator.done("resources", "set", "redis", *(f"--scope={scope}" for scope in scopes))

    @contextlib.contextmanager
    def administrator(self) -> Iterator[Any]:
        """Return a client that may do everything, made with the guard's password."""
        with self.client("guard", GUARDS_PASSWORD) as client:
            rights = ("on", f">{ADMINS_PASSWORD}", "~*", "&*", "+@all")
            client.execute_command("ACL", "SETUSER", "administrator", *rights)
        with self.client("administrator", ADMINS_PASSWORD) as client:
            yield client

    def add_worker(self, worker_id: str) -> str:
        """Add a Worker with its own API key; return its ID."""
        self.keys[worker_id] = self.operator.done(
            "workers", "add", worker_id, "--id", worker_id, "--issue-key"
        ).strip()
        return worker_id

    def token(self, worker_id: str, *, resource: str = "redis", scope: str = "") -> str:
        """Return a token for Redis, or for the Server if `resource` is empty."""
        form = {"grant_type": "client_credentials"} | ({"resource": resource} if resource else {})
        form |= {"scope": scope} if scope else {}
        answer = httpx2.post(
            f"{self.site.url}/oauth2/token", auth=(worker_id, self.keys[worker_id]), data=form, timeout=180
        )
        return str(answer.json()["access_token"])

    def show(self, token: str) -> int:
        """Present a token to the guard; return the status of its answer."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx2.post(
            f"http://127.0.0.1:{self.guard_port}/login", headers=headers, timeout=180
        ).status_code

    @contextlib.contextmanager
    def client(self, user: str | None, password: str | None) -> Iterator[Any]:
        """Return a Redis client that does not retry."""
        client = redis.Redis(
            port=self.port,
            username=user,
            password=password,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        try:
            yield client
        finally:
            client.close()

    def send(self, numbers: range) -> None:
        """Send jobs as a Worker."""
        token = self.token(DESK)
        assert self.show(token) == 204
        with self.client(f"worker:{DESK}", token) as client:
            for number in numbers:
                client.xadd("jobs", {"number": number, "seconds": 0.1})

    def start_worker(self, worker_id: str) -> Program:
        """Start the example's worker as a Worker."""
        host = self.site.worker_host(
            worker_id,
            LYFTDATA_WORKER_ID=worker_id,
            LYFTDATA_WORKER_API_KEY=self.keys[worker_id],
            GUARD_URL=f"http://127.0.0.1:{self.guard_port}",
            REDIS_ADDRESS=f"127.0.0.1:{self.port}",
        )
        return host.start("run", "worker", "--", sys.executable, str(EXAMPLE / "worker.py"))

    def close(self) -> None:
        """End these programs, and no others."""
        self.guard.close()
        self.redis.close()
        self.site.server.kill()
        STARTED.remove(self.site.server)
