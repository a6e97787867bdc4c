#!/usr/bin/env python3
"""
Let Workers in at NATS, each under its own identity, and close their connections when the Server revokes them.

    callout.py FILE [SECONDS]
    callout.py --new-key FILE

A Worker logs in with its ID as the user and its token as the password. nats-server asks here (auth callout); the callout asks the Server
about the token (RFC 7662), and answers with a user whose permissions are the scopes of the resource: `publish:SUBJECT` and
`subscribe:SUBJECT`. Every second (or SECONDS) it lists the connections of Workers, asks the Server again about their tokens, and closes what
must go. nats-server itself ends a connection with its token.

One failure affects one connection: it is reported and tried again in the next round, and the round goes on. What ends access is done first.
GET /healthz says when the last round without a failure ended: 200, or 503 if that is too long ago.

FILE is callout.json, mode 0600. Needs nats-py, cryptography and httpx2. `--new-key` makes the seed that signs users, and prints its public key.
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

# What a scope may be. A subject begins with a name: `publish:>` would lift all limits.
SCOPE = re.compile(r"(publish|subscribe):([\w$-]+(?:\.(?:[\w$-]+|\*))*(?:\.>)?)", re.ASCII)
WORKERS = "WORKERS"
MAX_TOKEN_LENGTH = 8_192
MAX_LOGINS = 64
MAX_QUESTIONS = 8
MAX_CONNECTIONS = 65_536
TIMEOUT_S = 4.0
# For servers of a cluster to answer, each for itself.
GATHER_S = 0.25
# A connection that was let in and is not listed: it is not there yet, or has ended.
KEPT_UNLISTED_S = 60.0
MAX_SHOWN = 5
# What nats-server says when a connection to be closed has ended meanwhile.
GONE = "no such client"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_ACCOUNT, _SERVER, _SEED = 0, 13 << 3, 18 << 3


class RefusedError(Exception):
    """A login that is not let through; the text is for the log of nats-server."""


# --- keys and tokens of NATS ------------------------------------------------------------------------------


def crc16(raw: bytes) -> bytes:
    """Return the checksum of an nkey (CRC-16/XMODEM, the low byte first)."""
    return binascii.crc_hqx(raw, 0).to_bytes(2, "little")


def encode_nkey(kind: int, raw: bytes) -> str:
    """Return a public key in the form of NATS."""
    content = bytes([kind]) + raw
    return base64.b32encode(content + crc16(content)).decode().rstrip("=")


def decode_nkey(kind: int, text: str) -> bytes:
    """Return the 32 bytes of a public key; ValueError if it is not one of this kind."""
    content = base64.b32decode(text + "=" * (-len(text) % 8))
    if len(content) != 35 or content[0] != kind or crc16(content[:-2]) != content[-2:]:  # noqa: PLR2004 - kind, key, checksum
        raise ValueError("not a public key of NATS")
    return content[1:-2]


def base64url(raw: bytes) -> str:
    """Return bytes as a JWT has them."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Issuer:
    """Signs what nats-server believes: the key whose public half is `issuer` in nats.conf."""

    def __init__(self, seed: str) -> None:
        text = seed.strip()
        content = base64.b32decode(text + "=" * (-len(text) % 8))
        if len(content) != 36 or content[0] != _SEED | _ACCOUNT >> 5 or crc16(content[:-2]) != content[-2:]:  # noqa: PLR2004 - two of kind, seed, checksum
            raise ValueError("not a seed of an account (SA…)")
        self._key = Ed25519PrivateKey.from_private_bytes(content[2:-2])
        self.public = encode_nkey(_ACCOUNT, self._key.public_key().public_bytes_raw())

    @staticmethod
    def new_seed() -> str:
        """Return a new seed."""
        content = bytes([_SEED | _ACCOUNT >> 5, (_ACCOUNT & 31) << 3]) + secrets.token_bytes(32)
        return base64.b32encode(content + crc16(content)).decode().rstrip("=")

    def sign(self, claims: dict[str, Any]) -> str:
        """Return a JWT of NATS."""
        header = {"typ": "JWT", "alg": "ed25519-nkey"}
        claims = {"iss": self.public, "iat": int(time.time()), "jti": secrets.token_hex(16), **claims}
        message = f"{base64url(json.dumps(header).encode())}.{base64url(json.dumps(claims).encode())}"
        return f"{message}.{base64url(self._key.sign(message.encode()))}"


def read_request(unverified: bytes) -> dict[str, Any]:
    """Return what nats-server asks; ValueError if that very server did not sign it."""
    message, _, signature = unverified.rpartition(b".")
    claims = json.loads(_unbase64url(message.partition(b".")[2]))
    asked: dict[str, Any] = claims["nats"]
    if claims["iss"] != asked["server_id"]["id"]:
        raise ValueError("signed by another server than the one named")
    key = Ed25519PublicKey.from_public_bytes(decode_nkey(_SERVER, claims["iss"]))
    try:
        key.verify(_unbase64url(signature), message)
    except InvalidSignature as error:
        raise ValueError("the signature is not right") from error
    return asked


def _unbase64url(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


# --- what a Worker may do ---------------------------------------------------------------------------------


def inbox_of(worker_id: str) -> str:
    """Return the prefix of a Worker's own inbox; no other Worker has the same, since no ID holds a `_`."""
    return f"_INBOX.{worker_id.replace('.', '_')}"


def permissions_of(worker_id: str, scope: str) -> dict[str, Any]:
    """Return what a Worker may do. In NATS an empty list of what is allowed allows everything, so that nothing is said outright."""
    allowed: dict[str, list[str]] = {"publish": [], "subscribe": [f"{inbox_of(worker_id)}.>"]}
    for name in scope.split():
        if found := SCOPE.fullmatch(name):
            allowed[found[1]].append(found[2])
    if len(allowed["subscribe"]) > 1:
        # To answer requests. Not `resp` (allow_responses): by that, a Worker that sends a message to itself chooses as its reply subject
        # one where it may not publish, and answers there.
        allowed["publish"].append("_INBOX.>")
    return {
        "pub": {"allow": allowed["publish"]} if allowed["publish"] else {"deny": [">"]},
        "sub": {"allow": allowed["subscribe"]},
    }


# --- the Server -------------------------------------------------------------------------------------------


class Server:
    """The Server, asked about tokens by the resource that this NATS is."""

    def __init__(self, url: str, resource: str, key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            sys.exit(f"{url}: not over plain http")
        self._url = f"{url.rstrip('/')}/oauth2/introspect"
        self._auth = (resource, key)
        # No proxy of the environment: requests hold tokens.
        self._http = httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False)

    async def ask(self, token: str) -> dict[str, Any]:
        """Return what the Server says about a token (RFC 7662, section 2.2)."""
        answer = await self._http.post(self._url, data={"token": token}, auth=self._auth)
        introspection = answer.raise_for_status().json()
        if not isinstance(introspection, dict) or not isinstance(introspection.get("active"), bool):
            raise TypeError("the Server's answer is not about a token")
        return introspection


# --- who is connected -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A connection: at which nats-server, and its number there."""

    server_id: str
    cid: int


@dataclass
class Login:
    """With what a connection was opened, and what it may do."""

    worker_id: str
    token: str = field(repr=False)
    scope: str
    at_s: float


class Callout:
    """Answers for logins, and closes connections."""

    def __init__(self, server: Server, issuer: Issuer) -> None:
        self._server = server
        self._issuer = issuer
        self._logins: dict[Place, Login] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._questions = asyncio.Semaphore(MAX_QUESTIONS)

    # -- logins

    async def answer(self, message: Msg) -> None:
        """Answer for a login, next to others; beyond a bound not at all, which nats-server takes for a no."""
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
            except Exception as error:  # noqa: BLE001 - whatever it is, it is no yes
                print(f"cannot ask about a login: {error!r}", file=sys.stderr, flush=True)
                response["error"] = "the token cannot be checked now"
            answer = {"sub": asked["user_nkey"], "aud": asked["server_id"]["id"], "nats": response}
            await message.respond(self._issuer.sign(answer).encode())
        except Exception as error:  # noqa: BLE001 - no Worker is accepted without an answer
            print(f"cannot answer for a login: {error!r}", file=sys.stderr, flush=True)

    async def _let_in(self, asked: dict[str, Any]) -> str:
        shown = asked["connect_opts"]
        worker_id, token = str(shown.get("user", "")), str(shown.get("pass", ""))
        if not token or len(token) > MAX_TOKEN_LENGTH:
            raise RefusedError("no worker token as the password")
        introspection = await self._server.ask(token)
        # A token that is bound to a key is worth nothing without a proof, and a password is not one.
        if not introspection["active"] or introspection.get("token_type") != "Bearer":
            raise RefusedError("the token is not good")
        if introspection["sub"] != worker_id:
            raise RefusedError("the token is another Worker's")
        scope = str(introspection.get("scope", ""))
        place = Place(asked["server_id"]["id"], int(asked["client_info"]["id"]))
        # Noted before nats-server knows: what may be connected is asked about in the next round.
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
        """Close every connection that must go, and return what failed."""
        failures: list[str] = []
        try:
            listed = await self._list(closer)
        except Exception as error:  # noqa: BLE001 - whatever it is, known connections are checked all the same
            failures.append(f"cannot list connections: {error!r}")
        else:
            # Of before this program started: nothing is known of them. Their Workers are back at once.
            unknown = listed - self._logins.keys()
            failures += await _failed(self._close(closer, place, "not known") for place in unknown)
            self._forget(listed)
        by_token: dict[str, list[Place]] = {}
        for place, login in self._logins.items():
            by_token.setdefault(login.token, []).append(place)
        failures += await _failed(self._check(closer, token, places) for token, places in by_token.items())
        return failures

    async def _list(self, closer: Client) -> set[Place]:
        """Return the connections of Workers, at every server of the cluster that answers in time."""
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
        """Ask about a token again, and close its connections if it is not good, or allows less; return what failed."""
        login = self._logins[places[0]]
        try:
            async with self._questions:
                introspection = await self._server.ask(token)
            is_good = introspection["active"] and set(login.scope.split()) <= set(
                str(introspection.get("scope", "")).split()
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, other Workers are not affected
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
        except Exception as error:  # noqa: BLE001 - whatever it is, other connections are not affected
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
    """Do all of this at the same time, and return what failed."""
    return [text for text in await asyncio.gather(*steps) if text]


class Health:
    """When the last round without a failure ended."""

    def __init__(self, seconds: float) -> None:
        self._may_be_old_s = max(10.0, 5 * seconds)
        self._ended_at: float | None = None
        self._reported = ""

    def note(self, failures: list[str]) -> None:
        """Take what a round came to; say what is new about it."""
        if not failures:
            self._ended_at = time.time()
        more = [f"{len(failures) - MAX_SHOWN} more"] if len(failures) > MAX_SHOWN else []
        text = "; ".join(sorted(failures)[:MAX_SHOWN] + more)
        if text != self._reported:
            print(
                f"will be tried again: {text}" if text else "all is well again", file=sys.stderr, flush=True
            )
        self._reported = text

    def answer(self) -> tuple[int, bytes]:
        """Return status and body of the answer about it."""
        ended_at = self._ended_at
        is_well = ended_at is not None and time.time() - ended_at < self._may_be_old_s
        at = None if ended_at is None else datetime.fromtimestamp(ended_at, UTC).isoformat(timespec="seconds")
        return 200 if is_well else 503, json.dumps({"last_whole_round": at}).encode()


def serve_health(health: Health, listen: str) -> None:
    """Answer GET /healthz, one client after the other, in a thread."""

    class Handler(BaseHTTPRequestHandler):
        timeout = TIMEOUT_S

        def do_GET(self) -> None:
            """Say how it is."""
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
    """Let in, and ask again, until stopped."""
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
        except Exception as error:  # noqa: BLE001 - the next round must come
            failures = [repr(error)]
        health.note(failures)
        await asyncio.sleep(seconds)
    sys.exit("nats-server has closed a connection of callout.py for good: check its passwords")


def main(file: Path, seconds: float) -> None:
    """Read the settings, and go on until stopped."""
    given = json.loads(file.read_text(encoding="utf-8"))
    issuer = Issuer(Path(given["issuer_seed_file"]).read_text(encoding="ascii"))
    asyncio.run(run(given, issuer, seconds))


def new_key(file: Path) -> None:
    """Make a seed that no other user can read, and print its public key."""
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
