#!/usr/bin/env python3
"""
Authenticate Workers at NATS, each with its own identity, and close their connections when the Server revokes them.

    callout.py FILE [SECONDS]
    callout.py --new-key FILE

A Worker logs in with its ID as the user and its token as the password. nats-server calls this program (auth callout), which introspects
the token at the Server (RFC 7662) and answers with a user whose permissions are the token's scopes: `publish:SUBJECT` and
`subscribe:SUBJECT`. Every second (or SECONDS) it lists the Workers' connections, introspects their tokens again, and closes the
connections of revoked ones. nats-server itself closes a connection when its token expires.

One failure affects one connection: it is logged and retried in the next round, and the round continues. Revocations come first.
GET /healthz returns when the last round without a failure ended, with status 200, or 503 if that is too long ago.

FILE is callout.json, mode 0600. Needs nats-py, cryptography and httpx2. `--new-key` creates the seed that signs users, and prints its public key.
"""

import asyncio
import base64
import binascii
import json
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import nats
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from nats.aio.client import Client
from nats.aio.msg import Msg

# The syntax of a scope. A subject must begin with a name: `publish:>` would allow everything.
SCOPE = re.compile(r"(publish|subscribe):([\w$-]+(?:\.(?:[\w$-]+|\*))*(?:\.>)?)", re.ASCII)
WORKERS = "WORKERS"
MAX_TOKEN_LENGTH = 8_192
MAX_LOGINS = 64
MAX_QUESTIONS = 8
MAX_CONNECTIONS = 65_536
TIMEOUT_S = 4.0
# How long to wait for further servers of a cluster to answer.
GATHER_S = 0.25
# How long to keep a login that is not listed: its connection is not open yet, or has ended.
KEPT_UNLISTED_S = 60.0
MAX_SHOWN = 5
# nats-server's error if the connection to close has already ended.
GONE = "no such client"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_ACCOUNT, _SERVER, _SEED = 0, 13 << 3, 18 << 3


class RefusedError(Exception):
    """A refused login; nats-server logs the text."""


# --- keys and tokens of NATS ------------------------------------------------------------------------------


def crc16(raw: bytes) -> bytes:
    """Return the checksum of an nkey (CRC-16/XMODEM, the low byte first)."""
    return binascii.crc_hqx(raw, 0).to_bytes(2, "little")


def encode_nkey(kind: int, raw: bytes) -> str:
    """Return a public key as an nkey."""
    content = bytes([kind]) + raw
    return base64.b32encode(content + crc16(content)).decode().rstrip("=")


def decode_nkey(kind: int, text: str) -> bytes:
    """Return the 32 bytes of a public key; raise ValueError if it is not an nkey of this kind."""
    content = base64.b32decode(text + "=" * (-len(text) % 8))
    if len(content) != 35 or content[0] != kind or crc16(content[:-2]) != content[-2:]:  # noqa: PLR2004 - kind, key, checksum
        raise ValueError("not a public nkey")
    return content[1:-2]


def base64url(raw: bytes) -> str:
    """Return bytes as base64url without padding, as in a JWT."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Issuer:
    """Signs the answers to nats-server, with the key whose public half is `issuer` in nats.conf."""

    def __init__(self, seed: str) -> None:
        text = seed.strip()
        content = base64.b32decode(text + "=" * (-len(text) % 8))
        if len(content) != 36 or content[0] != _SEED | _ACCOUNT >> 5 or crc16(content[:-2]) != content[-2:]:  # noqa: PLR2004 - two of kind, seed, checksum
            raise ValueError("not an account seed (SA…)")
        self._key = Ed25519PrivateKey.from_private_bytes(content[2:-2])
        self.public = encode_nkey(_ACCOUNT, self._key.public_key().public_bytes_raw())

    @staticmethod
    def new_seed() -> str:
        """Return a new seed."""
        content = bytes([_SEED | _ACCOUNT >> 5, (_ACCOUNT & 31) << 3]) + secrets.token_bytes(32)
        return base64.b32encode(content + crc16(content)).decode().rstrip("=")

    def sign(self, claims: dict[str, Any]) -> str:
        """Return a NATS JWT."""
        header = {"typ": "JWT", "alg": "ed25519-nkey"}
        claims = {"iss": self.public, "iat": int(time.time()), "jti": secrets.token_hex(16), **claims}
        message = f"{base64url(json.dumps(header).encode())}.{base64url(json.dumps(claims).encode())}"
        return f"{message}.{base64url(self._key.sign(message.encode()))}"


def read_request(unverified: bytes) -> dict[str, Any]:
    """Return the request of nats-server; raise ValueError if it is not signed by the server that it names."""
    message, _, signature = unverified.rpartition(b".")
    claims = json.loads(_unbase64url(message.partition(b".")[2]))
    asked: dict[str, Any] = claims["nats"]
    if claims["iss"] != asked["server_id"]["id"]:
        raise ValueError("not signed by the server that it names")
    key = Ed25519PublicKey.from_public_bytes(decode_nkey(_SERVER, claims["iss"]))
    try:
        key.verify(_unbase64url(signature), message)
    except InvalidSignature as error:
        raise ValueError("invalid signature") from error
    return asked


def _unbase64url(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


# --- permissions ------------------------------------------------------------------------------------------


def inbox_of(worker_id: str) -> str:
    """Return the prefix of a Worker's inbox; it is unique, because an ID cannot contain `_`."""
    return f"_INBOX.{worker_id.replace('.', '_')}"


def permissions_of(worker_id: str, scope: str) -> dict[str, Any]:
    """Return a Worker's permissions. In NATS an empty allow list allows everything, so deny everything explicitly instead."""
    allowed: dict[str, list[str]] = {"publish": [], "subscribe": [f"{inbox_of(worker_id)}.>"]}
    for name in scope.split():
        if found := SCOPE.fullmatch(name):
            allowed[found[1]].append(found[2])
    if len(allowed["subscribe"]) > 1:
        # To answer requests. `resp` (allow_responses) would be unsafe: a Worker could send itself a message whose reply subject is one that
        # it may not publish to, and answer there.
        allowed["publish"].append("_INBOX.>")
    return {
        "pub": {"allow": allowed["publish"]} if allowed["publish"] else {"deny": [">"]},
        "sub": {"allow": allowed["subscribe"]},
    }


# --- the Server -------------------------------------------------------------------------------------------


class Server:
    """Introspects tokens at the Server, as the resource that NATS is."""

    def __init__(self, url: str, resource: str, key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            sys.exit(f"{url}: plain http is refused, use https")
        self._url = f"{url.rstrip('/')}/oauth2/introspect"
        self._auth = (resource, key)
        # Ignore proxies from the environment: requests contain tokens.
        self._http = httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False)

    async def ask(self, token: str) -> dict[str, Any]:
        """Return the Server's introspection response for a token (RFC 7662, section 2.2)."""
        answer = await self._http.post(self._url, data={"token": token}, auth=self._auth)
        introspection = answer.raise_for_status().json()
        if not isinstance(introspection, dict) or not isinstance(introspection.get("active"), bool):
            raise TypeError("not an introspection response")
        return introspection


# --- who is connected -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A connection: the nats-server's ID, and the connection's number there."""

    server_id: str
    cid: int


@dataclass
class Login:
    """The token with which a connection was opened, and its scope."""

    worker_id: str
    token: str = field(repr=False)
    scope: str
    at_s: float


class Callout:
    """Answers login requests, and closes connections."""

    def __init__(self, server: Server, issuer: Issuer) -> None:
        self._server = server
        self._issuer = issuer
        self._logins: dict[Place, Login] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._questions = asyncio.Semaphore(MAX_QUESTIONS)

    # -- logins

    async def answer(self, message: Msg) -> None:
        """Answer a login request concurrently with others; drop it if there are too many, so that nats-server refuses it."""
        if len(self._answering) < MAX_LOGINS:
            task = asyncio.create_task(self._answer(message))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, message: Msg) -> None:
        try:
            asked = read_request(message.data)
            response: dict[str, Any] = {"type": "authorization_response", "version": 2}
            try:
                response["jwt"] = await self._let_in(asked)
            except RefusedError as refused:
                response["error"] = str(refused)
            except Exception as error:  # noqa: BLE001 - any error: fail closed
                print(f"cannot ask about a login: {error!r}", file=sys.stderr, flush=True)
                response["error"] = "the token cannot be checked now"
            answer = {"sub": asked["user_nkey"], "aud": asked["server_id"]["id"], "nats": response}
            await message.respond(self._issuer.sign(answer).encode())
        except Exception as error:  # noqa: BLE001 - any error: without an answer the login fails
            print(f"cannot answer for a login: {error!r}", file=sys.stderr, flush=True)

    async def _let_in(self, asked: dict[str, Any]) -> str:
        shown = asked["connect_opts"]
        worker_id, token = str(shown.get("user", "")), str(shown.get("pass", ""))
        if not token or len(token) > MAX_TOKEN_LENGTH:
            raise RefusedError("the password is not a worker token")
        introspection = await self._server.ask(token)
        # A token that is bound to a key needs a proof of possession, which a password cannot carry.
        if not introspection["active"] or introspection.get("token_type") != "Bearer":
            raise RefusedError("the token is not active")
        if introspection["sub"] != worker_id:
            raise RefusedError("the token is another Worker's")
        scope = str(introspection.get("scope", ""))
        place = Place(asked["server_id"]["id"], int(asked["client_info"]["id"]))
        # Recorded before nats-server gets the answer, so that the next round checks every connection that may be open.
        self._logins[place] = Login(worker_id, token, scope, time.monotonic())
        user = {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}
        return self._issuer.sign(
            {
                "sub": asked["user_nkey"],
                "aud": WORKERS,
                "name": worker_id,
                "exp": int(introspection["exp"]),
                "nats": user | permissions_of(worker_id, scope),
            }
        )

    # -- rounds

    async def check_all(self, closer: Client) -> list[str]:
        """Close the connections of revoked Workers, and return the failures."""
        failures: list[str] = []
        try:
            listed = await self._list(closer)
        except Exception as error:  # noqa: BLE001 - any error: known connections are still checked
            failures.append(f"cannot list connections: {error!r}")
        else:
            # Connections from before this program started, with unknown tokens. Their Workers reconnect at once.
            unknown = listed - self._logins.keys()
            failures += await _failed(self._close(closer, place, "not known") for place in unknown)
            self._forget(listed)
        by_token: dict[str, list[Place]] = {}
        for place, login in self._logins.items():
            by_token.setdefault(login.token, []).append(place)
        failures += await _failed(self._check(closer, token, places) for token, places in by_token.items())
        return failures

    async def _list(self, closer: Client) -> set[Place]:
        """Return the Workers' connections at all servers of the cluster that answer in time."""
        inbox = closer.new_inbox()
        answers = await closer.subscribe(inbox)
        asked = {"acc": WORKERS, "auth": True, "limit": MAX_CONNECTIONS}
        await closer.publish("$SYS.REQ.SERVER.PING.CONNZ", json.dumps(asked).encode(), reply=inbox)
        found: set[Place] = set()
        wait_s = TIMEOUT_S
        try:
            while True:
                answer = json.loads((await answers.next_msg(timeout=wait_s)).data)
                wait_s = GATHER_S
                listed = answer["data"]["connections"] or []
                found |= {Place(answer["server"]["id"], int(connection["cid"])) for connection in listed}
        except TimeoutError:
            if wait_s == TIMEOUT_S:
                raise
        finally:
            await answers.unsubscribe()
        return found

    async def _check(self, closer: Client, token: str, places: list[Place]) -> str:
        """Introspect a token again; close its connections if it is not active or its scope shrank. Return the failures."""
        login = self._logins[places[0]]
        try:
            async with self._questions:
                introspection = await self._server.ask(token)
            is_good = introspection["active"] and set(login.scope.split()) <= set(
                str(introspection.get("scope", "")).split()
            )
        except Exception as error:  # noqa: BLE001 - any error: other Workers are not affected
            return f"{login.worker_id}: cannot ask about it: {error!r}"
        if is_good:
            return ""
        return "; ".join(await _failed(self._close(closer, place, "revoked") for place in places))

    async def _close(self, closer: Client, place: Place, why: str) -> str:
        login = self._logins.get(place)
        who = f"{login.worker_id if login else 'connection'} {place.cid}"
        try:
            answer = await closer.request(
                f"$SYS.REQ.SERVER.{place.server_id}.KICK",
                json.dumps({"cid": place.cid}).encode(),
                timeout=TIMEOUT_S,
            )
            problem = json.loads(answer.data).get("error")
        except Exception as error:  # noqa: BLE001 - any error: other connections are not affected
            problem = repr(error)
        if problem and not str(problem).startswith(GONE):
            return f"{who}: cannot be closed: {problem}"
        self._logins.pop(place, None)
        print(f"closed {who}: {why}", flush=True)
        return ""

    def _forget(self, listed: Iterable[Place]) -> None:
        """Forget logins whose connections have ended."""
        before_s = time.monotonic() - KEPT_UNLISTED_S
        gone = [p for p, login in self._logins.items() if p not in listed and login.at_s < before_s]
        for place in gone:
            del self._logins[place]


async def _failed(steps: Iterable[Awaitable[str]]) -> list[str]:
    """Run all steps concurrently, and return the failures."""
    return [text for text in await asyncio.gather(*steps) if text]


class Health:
    """When the last round without a failure ended."""

    def __init__(self, seconds: float) -> None:
        self._may_be_old_s = max(10.0, 5 * seconds)
        self._ended_at: float | None = None
        self._reported = ""

    def note(self, failures: list[str]) -> None:
        """Record the failures of a round, and log them if they changed."""
        if not failures:
            self._ended_at = time.time()
        more = [f"{len(failures) - MAX_SHOWN} more"] if len(failures) > MAX_SHOWN else []
        text = "; ".join(sorted(failures)[:MAX_SHOWN] + more)
        if text != self._reported:
            print(f"will retry: {text}" if text else "recovered: no failures", file=sys.stderr, flush=True)
        self._reported = text

    def answer(self) -> tuple[int, bytes]:
        """Return the status and body for GET /healthz."""
        ended_at = self._ended_at
        is_well = ended_at is not None and time.time() - ended_at < self._may_be_old_s
        at = None if ended_at is None else datetime.fromtimestamp(ended_at, UTC).isoformat(timespec="seconds")
        return 200 if is_well else 503, json.dumps({"last_whole_round": at}).encode()


def serve_health(health: Health, listen: str) -> None:
    """Serve GET /healthz in a thread, one client at a time."""

    class Handler(BaseHTTPRequestHandler):
        timeout = TIMEOUT_S

        def do_GET(self) -> None:
            """Answer GET /healthz."""
            status, body = health.answer() if self.path == "/healthz" else (404, b"")
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Log nothing."""

    host, _, port = listen.rpartition(":")
    served = HTTPServer((host, int(port)), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()


async def connect(url: str, user: str, password: str) -> Client:
    """Connect, and stay connected."""
    return await nats.connect(
        url, user=user, password=password, max_reconnect_attempts=-1, reconnect_time_wait=1
    )


async def run(given: dict[str, str], issuer: Issuer, seconds: float) -> None:
    """Answer logins and check connections until stopped."""
    callout = Callout(Server(given["server"], given["resource"], given["key"]), issuer)
    health = Health(seconds)
    answering = await connect(given["nats"], "callout", given["callout_password"])
    closer = await connect(given["nats"], "closer", given["closer_password"])
    await answering.subscribe("$SYS.REQ.USER.AUTH", cb=callout.answer)
    await answering.flush()
    serve_health(health, given["health"])
    while not (answering.is_closed or closer.is_closed):
        try:
            failures = await callout.check_all(closer)
        except Exception as error:  # noqa: BLE001 - any error: there must be a next round
            failures = [repr(error)]
        health.note(failures)
        await asyncio.sleep(seconds)
    sys.exit("nats-server closed a connection of callout.py permanently: check its passwords")


def main(file: Path, seconds: float) -> None:
    """Read the settings, and run until stopped."""
    given = json.loads(file.read_text(encoding="utf-8"))
    issuer = Issuer(Path(given["issuer_seed_file"]).read_text(encoding="ascii"))
    asyncio.run(run(given, issuer, seconds))


def new_key(file: Path) -> None:
    """Create a seed in a file that only this user can read, and print its public key."""
    seed = Issuer.new_seed()
    with os.fdopen(
        os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii"
    ) as stream:
        stream.write(f"{seed}\n")
    print(Issuer(seed).public)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--new-key"] and len(sys.argv) == 3:  # noqa: PLR2004
        new_key(Path(sys.argv[2]))
    elif len(sys.argv) in {2, 3}:
        main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 1.0)  # noqa: PLR2004
    else:
        sys.exit(__doc__)
