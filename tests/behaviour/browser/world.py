"""
A Server with a week of history and a connected fleet, so that pages have realistic content.

The history is made by the Server's own services with a fake clock; then the Server is a real process with real clients and
held polls. The documentation's screenshots show the same world.
"""

import asyncio
import math
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from sqlalchemy import update
from tests.builders import ENROLLMENT_KEY, FakeClock
from tests.deployment import CHEAP, Deployment
from tests.processes import PASSWORD, Host, Program, free_port, until

from lyftdata.app import create_app
from lyftdata.core.change_requests import ChangeRequestRecord, ChangeWorkers, encode_operation
from lyftdata.core.records import (
    IdentityCopyRecord,
    OperatorRecord,
    PasskeyRecord,
    Role,
    Sample,
    TokenCountRecord,
    WorkerRecord,
    WorkerSessionRecord,
    WorkerTraces,
)
from lyftdata.server.admin.passwords import Passwords
from lyftdata.server.admin.second_operator.standing import requester_mark
from lyftdata.server.runtime.background import flush
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services
from lyftdata.store import WriteTx
from lyftdata.store.schema import event_deliveries
from lyftdata.store.tables import (
    activity,
    change_requests,
    event_destinations,
    identity_copies,
    operators,
    passkeys,
    samples,
    token_counts,
    worker_sessions,
    workers,
)

FORMER_KEY = "Qm4rTz8Wb2Xk6Vn1Ys5Lp9Hc3Jd7Gf0A"
PUBLISHED_KEY = "c3s3R0s1T5QAQr7lz1KsT00pKh3adnma"
ADMIN, VIEWER = "admin", "vera"
PASSKEY_OWNER, PASSKEY_ID = "nora", "0" * 32
REQUESTER, REQUEST_ID = "otto", "3f9a1c20b7d4"
PRESSES, BINDERS = 8, 4
CONNECTED = [
    *(f"press-{n:02}" for n in range(1, PRESSES - 1)),
    *(f"binder-{n:02}" for n in range(1, BINDERS)),
]


class World:
    """
    The Server as a process, on a data directory with a history.

    Args:
        root: An empty directory.
        crowd: Additional Workers, none of which has connected.
        more: Writes further history.
        connected: How many more connected Workers the week's samples show than there are clients here.
        environ: Further settings of the Server.
    """

    def __init__(
        self,
        root: Path,
        *,
        crowd: Sequence[WorkerRecord] = (),
        more: Callable[[WriteTx, datetime], None] = lambda *_: None,
        connected: int = 0,
        **environ: str,
    ) -> None:
        self._crowd, self._more, self._connected = crowd, more, connected
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        staging = root / "server" / "staging"
        self._environ = {
            "LYFTDATA_BIND_ADDRESS": f"127.0.0.1:{self.port}",
            "LYFTDATA_STAGING_DIR": str(staging),
            "LYFTDATA_AUTO_ENROLLMENT_KEY": PUBLISHED_KEY,
            "LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS": ENROLLMENT_KEY,
            "LYFTDATA_ADMIN_INIT_PASSWORD": PASSWORD,
            # On a busy machine the tests that share a window take longer than the default.
            "LYFTDATA_REAUTHENTICATE_AFTER": "12h",
            # So that Workers can have different addresses.
            "LYFTDATA_TRUSTED_PROXIES": "127.0.0.1",
        } | environ
        self._device_logins = 0
        self.keys: dict[str, str] = {}
        self.references: dict[str, str] = {}
        with ThreadPoolExecutor(1) as elsewhere:
            # Playwright's own event loop runs in this thread.
            elsewhere.submit(asyncio.run, self._simulate_week()).result()
        self.host = Host(root / "server", **self._environ)
        self.server = self.start_server()
        self.fleet = Fleet(self.url, self.keys)
        until(lambda: self.online() == len(CONNECTED), "the whole fleet online")

    def online(self) -> int:
        """Return how many Workers are connected; a page without scripts would show the number at its load."""
        metrics = httpx2.get(f"{self.url}/metrics", trust_env=False, timeout=180).text
        [line] = [line for line in metrics.splitlines() if line.startswith("lyftdata_workers_online ")]
        return int(float(line.split()[1]))

    def start_server(self) -> Program:
        """Start the Server, for the first time or again, and wait until it is ready."""
        self.server = self.host.start("run", "server")
        self.server.wait_for("ready")
        return self.server

    def close(self) -> None:
        """Disconnect the fleet and stop the Server."""
        self.fleet.close()
        if self.server.alive():
            self.server.terminate()

    def fill(self, path: str) -> str:
        """Return a page's path with its placeholder filled in: `{reference}`, `{number}`, `{kid}`, `{pending}`, `{denied}` or `{user_code}`."""
        about = {"reference": self.references["api_key_not_for_worker"]} | self.references
        if "{user_code}" in path:
            about["user_code"] = self._begin_device_login()
        return path.format(**about)

    def _begin_device_login(self) -> str:
        """Begin a sign-in by device code; return its code. Each has its own address, since the number for an address is limited."""
        self._device_logins += 1
        headers = {"X-Forwarded-For": f"198.51.100.{self._device_logins}"}
        answer = httpx2.post(
            f"{self.url}/api/login/device",
            json={"host": "laptop-7"},
            headers=headers,
            trust_env=False,
            timeout=180,
        )
        return str(answer.raise_for_status().json()["user_code"])

    async def _simulate_week(self) -> None:
        now = datetime.now(UTC).replace(microsecond=0)
        clock = FakeClock(now - timedelta(days=7))
        former = self._environ | {
            "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY,
            "LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS": FORMER_KEY,
        }
        # With cheap password hashes; the process that is started later reads the cost from each hash.
        async with open_services(
            read_server_settings(former), clock=clock, passwords=Passwords(CHEAP)
        ) as services:
            transport = httpx2.ASGITransport(create_app(services), client=("198.51.100.7", 1))
            async with httpx2.AsyncClient(transport=transport, base_url=self.url) as http:
                past = _Past(Deployment(services, clock, http), self.keys, self.references)
                await past.first_day()
                await past.up_to(now)
            await services.store.write(lambda tx: _write_past(tx, now, connected=self._connected))
            await services.store.write(self._add_crowd)
            await services.store.write(lambda tx: self._more(tx, now))
            await flush(services)

    def _add_crowd(self, tx: WriteTx) -> None:
        """Add the additional Workers; enrolled ones have enrolled with the key that is no longer accepted."""
        leaked = next(one.enrolled_with for one in workers.all_workers(tx.conn) if one.name == "scaler-1")
        workers.insert_fresh(
            tx,
            [
                msgspec.structs.replace(one, enrolled_with=leaked) if one.public_jwk else one
                for one in self._crowd
            ],
        )


def _write_past(tx: WriteTx, now: datetime, *, connected: int) -> None:
    """Write what only a running fleet leaves behind: a week of samples, sessions, and so on."""
    share = 1 + connected / len(CONNECTED)
    for sample in _a_week(now):
        row = msgspec.structs.replace(sample, online=round(sample.online * share))
        samples.add_sample(tx, row, keep_since=now - timedelta(days=8))
    past = _sessions(now)
    worker_sessions.upsert_sessions(tx, past)
    left = {
        s.worker_id: WorkerTraces(worker_id=s.worker_id, last_seen_at=s.ended_at, address=s.address)
        for s in past
    }
    activity.upsert_traces(tx, list(left.values()))
    _reject_event(tx, now)
    token_counts.add_counts(tx, _token_counts(past))
    copy = IdentityCopyRecord(
        reference="C0PYTEST",
        worker_id="press-02",
        found_at=now - timedelta(days=3),
        last_at=now - timedelta(days=2),
        host="press-02-clone",
        address="203.0.113.77",
        other_host="press-02",
        other_address="203.0.113.2",
    )
    identity_copies.record_copy(tx, copy)
    _add_passkey(tx, now)
    _add_request(tx, now)


def _add_passkey(tx: WriteTx, now: datetime) -> None:
    """Add a passkey with its own operator, since an operator with a passkey must sign in with it."""
    operator = OperatorRecord(name=PASSKEY_OWNER, role=Role.VIEWER, password_hash="", created_at=now)
    operators.insert_operator(tx, operator)
    passkey = PasskeyRecord(
        id=PASSKEY_ID,
        operator=PASSKEY_OWNER,
        name="Security key at the night desk",
        credential_id=b"credential",
        user_handle=b"handle",
        public_key=b"key",
        sign_count=7,
        created_at=now - timedelta(days=3),
        used_at=now - timedelta(hours=2),
    )
    passkeys.insert_passkey(tx, passkey)


def _add_request(tx: WriteTx, now: datetime) -> None:
    """Add a request of another admin, who signs in at an issuer, so that `admin` remains the last local one."""
    operator = OperatorRecord(
        name=REQUESTER,
        role=Role.ADMIN,
        password_hash="",
        created_at=now - timedelta(days=2),
        issuer="https://id.example.com",
        subject="7",
    )
    operators.insert_operator(tx, operator)
    asked = ChangeWorkers(
        action="delete", worker_ids=["press-07", "press-08"], search="zone=eu-1 status:offline"
    )
    request = ChangeRequestRecord(
        id=REQUEST_ID,
        operation=encode_operation(asked),
        operator=REQUESTER,
        api_token=None,
        requester_mark=requester_mark(tx.conn, REQUESTER),
        scope=None,
        address="203.0.113.50",
        event=tx.head.number,
        reason="These two were sold with rack 7",
        requested_at=now - timedelta(hours=2),
        expires_at=now + timedelta(hours=22),
    )
    change_requests.insert_request(tx, request)


def _token_counts(past: list[WorkerSessionRecord]) -> list[TokenCountRecord]:
    """Return token counts for each hour in which the Workers were connected."""
    found = []
    for session in past:
        first = session.started_at.replace(minute=0, second=0, microsecond=0)
        assert session.ended_at is not None
        hours = int((session.ended_at - session.started_at) / timedelta(hours=1))
        found += [
            TokenCountRecord(session.worker_id, first + timedelta(hours=hour), 4 + (hour * 3 + first.day) % 5)
            for hour in range(hours)
        ]
    return found


def _reject_event(tx: WriteTx, now: datetime) -> None:
    """Record that a receiver accepted the first waiting event and rejected the second."""
    record = event_destinations.get_destination(tx.conn, "siem")
    delivery = event_destinations.find_delivery(tx.conn, "siem")
    assert delivery is not None
    # After the event of a delivery attempt that may be in progress, so that its failure does not overwrite this.
    _, (number, _) = event_destinations.waiting_events(
        tx.conn, "siem", after=delivery.through, patterns=record.events, at_most=2
    )
    given = {
        "through": number - 1,
        "failures": 7,
        "failing_since": now - timedelta(minutes=20),
        "rejected_number": number,
        "rejected_since": now - timedelta(minutes=20),
        "rejections": 7,
        "rejection": "192.0.2.7:443 answered 403.",
        "last_error": "192.0.2.7:443 answered 403.",
        "last_error_at": now - timedelta(minutes=1),
        "next_attempt_at": now + timedelta(minutes=9),
    }
    tx.conn.execute(update(event_deliveries).where(event_deliveries.c.name == "siem").values(given))


def _sessions(now: datetime) -> list[WorkerSessionRecord]:
    """Return earlier sessions of Workers, the oldest first."""
    ends = {5: "worker_disabled", 4: "signed_off", 3: "lost", 2: "signed_off", 1: "server_stopped"}
    return [
        WorkerSessionRecord(
            worker_id=worker_id,
            started_at=now - timedelta(days=day, hours=n),
            ended_at=now - timedelta(days=day, hours=n - 8),
            end=end,
            address=f"203.0.113.{n + 1}",
            host={"hostname": f"{worker_id}.example"},
        )
        for day, end in ends.items()
        for n, worker_id in enumerate(["press-01", "press-02", "press-07", "binder-04"])
        if day > n
    ]


class _Past:
    def __init__(self, server: Deployment, keys: dict[str, str], references: dict[str, str]) -> None:
        self._server = server
        self._keys = keys
        self._references = references
        self._admin: dict[str, str] = {}

    async def first_day(self) -> None:
        """Add operators, Workers of both strategies, and keys."""
        self._admin = await self._server.sign_in(password=PASSWORD)
        changed = {"current_password": PASSWORD, "new_password": "xxx " + PASSWORD}
        await self._post("me/password", changed)
        await self._post("me/password", {"current_password": "xxx " + PASSWORD, "new_password": PASSWORD})
        await self._post("api-tokens", {"name": "ci-deploy", "role": "admin"})
        viewer = {"name": VIEWER, "role": "viewer", "password": "xxx " + PASSWORD}
        await self._post("operators", viewer)
        theirs = await self._server.sign_in(VIEWER, "xxx " + PASSWORD)
        changed = {"current_password": "xxx " + PASSWORD, "new_password": PASSWORD}
        await self._post("me/password", changed, headers=theirs)
        await self._post("operators", {"name": "new-hire", "role": "viewer"})
        for n in range(1, PRESSES + 1):
            self._server.clock.forward(minutes=7)
            labels = {"zone": "eu-1" if n % 2 else "eu-2", "line": str(n)} | ({"gpu": ""} if n == 1 else {})
            await self._post("workers", {"name": f"press-{n:02}", "id": f"press-{n:02}", "labels": labels})
        shared = await self._post("api-keys", {"name": "press-keys"})
        self._keys |= {f"press-{n:02}": shared["key"] for n in range(1, PRESSES + 1)}
        for n in range(1, BINDERS + 1):
            self._server.clock.forward(minutes=9)
            made = await self._post(
                "workers", {"name": f"binder {n}", "id": f"binder-{n:02}", "issue_key": True}
            )
            self._keys[f"binder-{n:02}"] = made["api_key"]["key"]
        ends = timedelta(days=12).total_seconds()
        await self._post(
            "api-keys", {"name": "contractor-key", "worker_ids": ["press-08"], "expires_in_s": ends}
        )
        rules = {
            "worker_name": "etl-*",
            "networks": ["10.4.0.0/16", "127.0.0.0/8"],
            "labels": {"team": "etl"},
        }
        await self._post("enrollment/keys", {"name": "etl-hosts", "max_uses": 20} | rules)
        await self._post("enrollment/keys", {"name": "press-09-key", "max_uses": 1, "expires_in_s": 86_400})
        for name, secret in (
            ("scaler-1", FORMER_KEY),
            ("scaler-2", ENROLLMENT_KEY),
            ("scaler-3", FORMER_KEY),
        ):
            self._server.clock.forward(minutes=2)
            await self._enroll(name, secret)

    async def up_to(self, now: datetime) -> None:
        """Add later events: a name taken over, a Worker disabled, keys rotated and revoked, callers refused."""
        broker = {"name": "broker", "audience": "https://broker.example.com", "scopes": ["read", "write"]}
        await self._post("resources", broker | {"labels": ["zone=eu-1"]})
        siem = {"name": "siem", "transport": "webhook", "url": "https://192.0.2.7/hooks/lyftdata"}
        await self._post("event-destinations", siem | {"events": ["worker.*"]})
        self._server.clock.forward(days=3)
        await self._enroll("scaler-3", ENROLLMENT_KEY)
        self._admin = await self._server.sign_in(password=PASSWORD)
        disabled = {
            "enabled": False,
            "disabled_note": "its disk is replaced, ask Ann",
            "disabled_until": "30d",
        }
        await self._server.http.patch("/api/workers/press-08", json=disabled, headers=self._admin)
        for change in ({"name": "press 1"}, {"name": "press-01", "enabled": False}, {"enabled": True}):
            self._server.clock.forward(hours=1)
            await self._server.http.patch("/api/workers/press-01", json=change, headers=self._admin)
        old = await self._post("api-keys", {"name": "old-keys"})
        await self._post("api-keys/old-keys/revoke", {})
        leaked = {"subject": "old-keys", "workers": "all", "action": "disable", "revoke_key": False}
        self._references["number"] = str((await self._post("incident/cut-offs", leaked))["number"])
        signing = await self._server.http.get("/api/signing-keys", headers=self._admin)
        self._references["kid"] = signing.json()["items"][0]["kid"]
        await self._wait_for_approval()
        self._server.clock.now = now - timedelta(minutes=25)
        self._admin = await self._server.sign_in(password=PASSWORD)
        await self._post("api-keys/press-keys/rotate", {"grace_s": 7 * 86_400})
        refused = {
            "api_key_revoked": ("press-07", old["key"], 4, "203.0.113.20"),
            "api_key_not_for_worker": ("press-07", self._keys["binder-01"], 1, "203.0.113.20"),
            "unknown_worker": ("press-99", self._keys["press-01"], 6, "203.0.113.99"),
            "malformed_api_key": ("binder-04", "nonsense", 2, "203.0.113.4"),
            "worker_disabled": ("press-08", self._keys["press-08"], 3, "203.0.113.8"),
        }
        for code, (worker_id, key, times, address) in refused.items():
            async with self._server.from_address(address) as http:
                for _ in range(times):
                    self._server.clock.forward(seconds=40)
                    form = {"grant_type": "client_credentials", "client_id": worker_id, "client_secret": key}
                    answer = await http.post("/oauth2/token", data=form)
                    self._references[code] = answer.json()["reference"]
        self._server.clock.now = now

    async def _wait_for_approval(self) -> None:
        """Enroll three hosts of a partner: two wait for approval, one of them with a name that is taken, and one is denied."""
        rules: dict[str, object] = {"approve_networks": ["10.9.0.0/16"], "approve_name": "trusted-*"}
        made = await self._post("enrollment/keys", {"name": "partner-hosts", "mode": "approve"} | rules)
        self._server.clock.now += timedelta(days=3, hours=12)
        host = {"hostname": "etl.partner.example", "os": "Linux 6.12.48"}
        denied = await self._enroll("partner-0", made["key"], host=host)
        self._references["pending"] = await self._enroll(
            "partner-1", made["key"], host=host, labels={"site": "b"}
        )
        await self._enroll("scaler-2", made["key"])
        self._admin = await self._server.sign_in(password=PASSWORD)
        await self._post("enrollment/deny", {"worker_ids": [denied]})
        self._references["denied"] = denied

    async def _enroll(self, name: str, secret: str, **metadata: object) -> str:
        from lyftdata.core.identity_keys import generate_identity_key

        key = generate_identity_key()
        given = self._server.proof(key, name, secret=secret, audience=self._server.services.issuer)
        answer = await self._server.register(key, name, credential=given, **metadata)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["client_id"])

    async def _post(
        self, path: str, body: Mapping[str, object], *, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        answer = await self._server.http.post(f"/api/{path}", json=body, headers=headers or self._admin)
        assert answer.status_code < 300, (path, answer.text)
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found


def _a_week(now: datetime) -> list[Sample]:
    """Return samples of a week with a daily rhythm and an hour in which the Server did not run."""
    minute = now.replace(second=0)
    rows = []
    for ago in range(7 * 24 * 60, 0, -1):
        at = minute - timedelta(minutes=ago)
        if 60 * 53 < ago < 60 * 54:
            continue
        day = math.sin((at.hour * 60 + at.minute - 420) / 1440 * 2 * math.pi)
        wave = math.sin(ago * 12.9898) * 43758.5453 % 1
        online = max(0, round(5.5 + 3.6 * day + 0.8 * wave))
        rows.append(
            Sample(
                at=at,
                online=min(online, len(CONNECTED)),
                admitted=round(online / 10 * wave * 2),
                refused=1 if wave > (0.97 if ago > 30 else 0.6) else 0,
            )
        )
    return rows


class Fleet:
    """Real clients in their own thread, each with a token from an API key and a held poll."""

    def __init__(self, url: str, keys: Mapping[str, str]) -> None:
        self._url = url
        self._keys = keys
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._held = [
            asyncio.run_coroutine_threadsafe(self._connect(worker_id, n), self._loop)
            for n, worker_id in enumerate(CONNECTED)
        ]

    async def _connect(self, worker_id: str, n: int) -> None:
        given = {"X-Forwarded-For": f"203.0.113.{n + 1}"}
        form = {
            "grant_type": "client_credentials",
            "client_id": worker_id,
            "client_secret": self._keys[worker_id],
        }
        host = {
            "hostname": f"{worker_id}.example",
            "os": "Linux 6.12.48",
            "python": "3.13.9",
            "agent_version": "0.1.0",
            "pid": str(4100 + n),
        }
        poll = {"boot_id": f"boot-{worker_id}", "host": host, "labels": f"rack=r{n % 3 + 1}"}
        async with httpx2.AsyncClient(
            base_url=self._url, headers=given, timeout=120, trust_env=False
        ) as http:
            while True:
                token = (await http.post("/oauth2/token", data=form)).raise_for_status().json()
                bearer = {"Authorization": f"Bearer {token['access_token']}"}
                # The tests of a file may take longer than a token's lifetime.
                renewed_at = self._loop.time() + token["expires_in"] / 2
                while self._loop.time() < renewed_at:
                    answer = await http.post("/api/worker/session", json=poll, headers=bearer)
                    if answer.status_code != 200:
                        return

    def close(self) -> None:
        """Cancel every poll."""
        for held in self._held:
            held.cancel()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=180)
        self._loop.close()


def find_chromium() -> str | None:
    """Return the path of the system's Chromium, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def find_headless_chromium() -> str | None:
    """
    Return the path of the browser for tests: the headless shell, which needs half the CPU time, or the full Chromium.
    """
    return shutil.which("chromium-headless-shell") or find_chromium()


def find_firefox() -> str | None:
    """Return the path of the system's Firefox, or None."""
    return shutil.which("firefox-esr")
