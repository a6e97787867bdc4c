"""NATS from its package with the files of examples/nats, a Server, the callout, and Workers that are not started."""

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import nats
import pytest
from nats.aio.client import Client
from tests.peers.proxies import EXAMPLES, ROUND_EVERY_S, Peer, example
from tests.processes import STARTED, Program, Site, free_port

EXAMPLE = EXAMPLES / "nats"
SCOPES = ("publish:jobs.>", "publish:done", "subscribe:jobs.>", "subscribe:done")
CALLOUT_PASSWORD = uuid.uuid4().hex
CLOSER_PASSWORD = uuid.uuid4().hex


class NatsStage:
    """A Server, a nats-server, its callout, and Workers that are not started."""

    def __init__(self, root: Path) -> None:
        program = Path(sys.executable).parent / "nats-server"
        if not program.exists():
            pytest.skip("no nats-server in this environment (make test installs it)")
        self.root = root
        self.site = Site(root)
        self.operator = self.site.sign_in()
        scopes = [f"--scope={scope}" for scope in SCOPES]
        self.operator.done("resources", "add", "nats", "--audience", "nats", "--all-workers", *scopes)
        self.keys: dict[str, str] = {}
        self.port, self.health_port = free_port(), free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        seed = root / "issuer.seed"
        made = [sys.executable, str(EXAMPLE / "callout.py"), "--new-key", str(seed)]
        public = subprocess.run(made, capture_output=True, text=True, check=True).stdout.strip()
        passwords = {"CALLOUT_PASSWORD": CALLOUT_PASSWORD, "CLOSER_PASSWORD": CLOSER_PASSWORD}
        changes = {"127.0.0.1:4222": f"127.0.0.1:{self.port}", "PUBLIC_KEY": public}
        (root / "nats.conf").write_text(example("nats/nats.conf", changes | passwords))
        self.nats = self.start_nats(program)
        given = {
            "127.0.0.1:3000": f"127.0.0.1:{self.site.port}",
            '"KEY"': json.dumps(self.operator.done("resources", "issue-key", "nats").strip()),
            "nats://127.0.0.1:4222": self.url,
            "/etc/nats/issuer.seed": str(seed),
            "127.0.0.1:4280": f"127.0.0.1:{self.health_port}",
        }
        (root / "callout.json").touch(0o600)
        (root / "callout.json").write_text(example("nats/callout.json", given | _quoted(passwords)))
        self.callout = self.start_callout()

    def start_nats(self, program: Path) -> Peer:
        """Start nats-server."""
        home = self.root / f"nats-{uuid.uuid4().hex[:8]}"
        home.mkdir()
        return Peer([str(program), "-c", str(self.root / "nats.conf")], root=home, port=self.port)

    def start_callout(self, *, server: str = "") -> Peer:
        """Start the callout; `server` is a URL to use instead of the Server's."""
        home = self.root / f"callout-{uuid.uuid4().hex[:8]}"
        home.mkdir()
        file = self.root / "callout.json"
        if server:
            given = json.loads(file.read_text())
            file = home / "callout.json"
            file.touch(0o600)
            file.write_text(json.dumps(given | {"server": server}))
        command = [sys.executable, str(EXAMPLE / "callout.py"), str(file), ROUND_EVERY_S]
        return Peer(command, root=home, port=self.health_port)

    def add_worker(self, worker_id: str = "", *labels: str) -> str:
        """Add a Worker with its own API key; return its ID."""
        worker_id = worker_id or f"w-{uuid.uuid4().hex[:8]}"
        given = [f"--label={label}" for label in labels]
        added = self.operator.done("workers", "add", worker_id, "--id", worker_id, "--issue-key", *given)
        self.keys[worker_id] = added.strip()
        return worker_id

    def disable(self, worker_id: str) -> None:
        """Revoke a Worker."""
        self.operator.done("workers", "disable", worker_id, "--yes")

    def token(self, worker_id: str, *, resource: str = "nats", scope: str = "") -> str:
        """Return a token for NATS, or for the Server if `resource` is empty."""
        form = {"grant_type": "client_credentials"} | ({"resource": resource} if resource else {})
        form |= {"scope": scope} if scope else {}
        answer = httpx2.post(
            f"{self.site.url}/oauth2/token", auth=(worker_id, self.keys[worker_id]), data=form, timeout=180
        )
        return str(answer.json()["access_token"])

    def health(self) -> tuple[int, str | None]:
        """Return the callout's health: the status, and when its last complete round ended."""
        answer = httpx2.get(f"http://127.0.0.1:{self.health_port}/healthz", timeout=180)
        return answer.status_code, answer.json()["last_whole_round"]

    def start_worker(self, worker_id: str) -> Program:
        """Start the example's worker as a Worker."""
        host = self.site.worker_host(
            worker_id,
            LYFTDATA_WORKER_ID=worker_id,
            LYFTDATA_WORKER_API_KEY=self.keys[worker_id],
            NATS_URL=self.url,
        )
        return host.start("run", "worker", "--", sys.executable, str(EXAMPLE / "worker.py"))

    def close(self) -> None:
        """End these programs, and no others."""
        self.callout.close()
        self.nats.close()
        self.site.server.kill()
        STARTED.remove(self.site.server)


def _quoted(passwords: dict[str, str]) -> dict[str, str]:
    # As values only; their names are in lower case.
    return {f'"{name}"': json.dumps(password) for name, password in passwords.items()}


class Connection:
    """A client that does not reconnect, and records its errors."""

    def __init__(self) -> None:
        self.client = Client()
        self.errors: list[str] = []
        self.ended = asyncio.Event()

    async def open(self, url: str, user: str, password: str, *, inbox: str = "") -> "Connection":
        """Log in."""

        async def on_error(error: Exception) -> None:
            self.errors.append(str(error))

        async def on_end() -> None:
            self.ended.set()

        options: dict[str, Any] = {"inbox_prefix": inbox.encode()} if inbox else {}
        await self.client.connect(
            url,
            user=user,
            password=password,
            allow_reconnect=False,
            connect_timeout=180,
            error_cb=on_error,
            disconnected_cb=on_end,
            closed_cb=on_end,
            **options,
        )
        return self

    async def may(self, step: Callable[[Client], Awaitable[object]]) -> bool:
        """Return whether nats-server lets the client do something."""
        before = len(self.errors)
        await step(self.client)
        # The first flush may overtake what the client has not sent yet.
        await self.client.flush(timeout=180)
        await self.client.flush(timeout=180)
        return not any("permissions violation" in error.lower() for error in self.errors[before:])

    async def may_publish(self, *subjects: str) -> list[bool]:
        """Return for each subject whether the client may publish there."""
        return [await self.may(_publishing(subject)) for subject in subjects]

    async def may_subscribe(self, *subjects: str) -> list[bool]:
        """Return for each subject whether the client may subscribe to it."""
        return [await self.may(_subscribing(subject)) for subject in subjects]

    async def close(self) -> None:
        """End it."""
        await self.client.close()


def _publishing(subject: str) -> Callable[[Client], Awaitable[object]]:
    return lambda client: client.publish(subject, b"x")


def _subscribing(subject: str) -> Callable[[Client], Awaitable[object]]:
    return lambda client: client.subscribe(subject)


async def is_refused(url: str, user: str | None, password: str | None) -> bool:
    """Return whether nats-server refuses a login."""
    given = {name: value for name, value in {"user": user, "password": password}.items() if value is not None}
    client = Client()
    try:
        await client.connect(url, allow_reconnect=False, connect_timeout=20, error_cb=_ignore, **given)  # type: ignore[arg-type]
        # nats-server may not have answered the login yet; without an answer from the callout it never does.
        await client.flush(timeout=20)
    except (nats.errors.Error, OSError):
        return True
    finally:
        await client.close()
    return False


async def wait_until_let_in(url: str, user: str, password: str) -> None:
    """Wait until nats-server accepts a login: it waits 5 seconds for the callout, so clients on a busy machine retry."""
    async with asyncio.timeout(180):
        while await is_refused(url, user, password):
            await asyncio.sleep(0.2)


async def _ignore(_error: Exception) -> None:
    """Ignore an error."""
