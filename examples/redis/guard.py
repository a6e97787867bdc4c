#!/usr/bin/env python3
"""
Let Workers in at Redis, each as a user of its own, and end that user when the Server takes the Worker back.

    guard.py FILE [SECONDS]

A Worker shows its token (POST /login, Authorization: Bearer). The guard asks the Server what it is worth (RFC 7662) and makes the user
worker:ID, whose password is that token and whose rules are the resource's scopes. Each second it asks again about every token: what was
taken back ends its user, and Redis ends that user's connections with it. FILE is guard.json, mode 0600. Needs nothing but Python.
"""

import base64
import hashlib
import json
import re
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

# What a scope may be: keys, channels and commands. Never a password, never what takes all limits away.
RULE = re.compile(r"(?:~|%(?:R|W|RW)~|&)[^*\s][^\s]*|\+[a-z]+(?:\|[a-z]+)?")
PREFIX = "worker:"
MOST_OF_A_TOKEN = 8_192
# Of one Worker, living at once: each is asked about each second. None is pushed out, since it could be the one to be taken back.
MOST_TOKENS = 32
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Redis:
    """A connection to Redis for a few commands; opened anew when it breaks."""

    def __init__(self, address: str, user: str, password: str) -> None:
        self._address = address.rpartition(":")
        self._login = ("AUTH", user, password)
        self._lock = threading.Lock()
        self._stream: Any = None

    def __call__(self, *command: str) -> Any:
        """Send a command and return its answer."""
        with self._lock:
            try:
                if self._stream is None:
                    connection = socket.create_connection((self._address[0], int(self._address[2])), 5)
                    self._stream = connection.makefile("rwb")
                    connection.close()
                    self._ask(self._login)
                return self._ask(command)
            except OSError:
                self._stream = None
                raise

    def _ask(self, command: tuple[str, ...]) -> Any:
        parts = [part.encode() for part in command]
        self._stream.write(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts))
        self._stream.flush()
        return self._read()

    def _read(self) -> Any:
        line = self._stream.readline()
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"*":
            return [self._read() for _ in range(int(rest))]
        if kind == b"$":
            return self._stream.read(int(rest) + 2)[:-2].decode()
        if kind in {b"+", b":"}:
            return rest
        # Also the end of the connection: whatever comes next begins anew.
        message = rest or "the connection ended"
        raise OSError(message)


class Guard:
    """Who is let in, with which tokens, and until when."""

    def __init__(self, given: dict[str, str]) -> None:
        url = urlsplit(given["server"])
        if url.scheme != "https" and url.hostname not in _LOOPBACK:
            sys.exit(f"{given['server']}: not over plain http")
        self._url = f"{given['server'].rstrip('/')}/oauth2/introspect"
        self._basic = base64.b64encode(f"{given['resource']}:{given['key']}".encode()).decode()
        self._redis = Redis(given["redis"], given["user"], given["password"])
        self._tokens: dict[str, dict[str, float]] = {}
        self._lock = threading.RLock()

    def start_afresh(self) -> None:
        """End the users of before: of them nothing is known. Their Workers log in again."""
        for user in self._redis("ACL", "USERS"):
            if user.startswith(PREFIX):
                self._redis("ACL", "DELUSER", user)

    def login(self, token: str) -> bool:
        """Let a Worker in whose token is good."""
        with self._lock:
            told = self._ask(token)
            # A token that is bound to a key is worth nothing without a proof, which a password is none of.
            if not told.get("active") or told.get("token_type") != "Bearer":
                return False
            user = PREFIX + told["sub"]
            tokens = self._tokens.setdefault(user, {})
            if token not in tokens and len(tokens) >= MOST_TOKENS:
                return False
            tokens[token] = told["exp"]
            self._set(user, told.get("scope", ""))
            return True

    def check(self) -> None:
        """Ask about every token again."""
        for user in list(self._tokens):
            with self._lock:
                self._check(user)

    def _check(self, user: str) -> None:
        scope = ""
        for token, ends_at in list(self._tokens[user].items()):
            told = self._ask(token)
            if told.get("active"):
                scope = told.get("scope", "")
                continue
            del self._tokens[user][token]
            if time.time() < ends_at:
                # Taken back before its end. Which of the user's connections came by it Redis cannot say: all of them go.
                self._tokens[user].clear()
                print(f"{user}: taken back", flush=True)
                break
        if self._tokens[user]:
            self._set(user, scope)
            return
        # In this order: what Redis did not do now is tried again in the next round.
        self._redis("ACL", "DELUSER", user)
        del self._tokens[user]

    def _set(self, user: str, scope: str) -> None:
        """Say in one step what a user has and may do; what it had before and has no more is gone."""
        hashes = [f"#{hashlib.sha256(token.encode()).hexdigest()}" for token in self._tokens[user]]
        rules = [rule for rule in scope.split() if RULE.fullmatch(rule)]
        self._redis("ACL", "SETUSER", user, "reset", "resetchannels", "on", *hashes, *rules)

    def _ask(self, token: str) -> dict[str, Any]:
        headers = {"Authorization": f"Basic {self._basic}"}
        request = urllib.request.Request(self._url, urlencode({"token": token}).encode(), headers)  # noqa: S310 - checked above
        with _opener.open(request, timeout=5) as answer:
            told: dict[str, Any] = json.load(answer)
        return told


def main(file: Path, seconds: float) -> None:
    """Let in, and ask again, until stopped."""
    given = json.loads(file.read_text(encoding="utf-8"))
    guard = Guard(given)
    guard.start_afresh()

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            scheme, _, token = self.headers.get("Authorization", "").partition(" ")
            try:
                is_let_in = (
                    self.path == "/login"
                    and scheme.lower() == "bearer"
                    and len(token) <= MOST_OF_A_TOKEN
                    and guard.login(token)
                )
                self.send_response(204 if is_let_in else 401)
            except (OSError, ValueError, KeyError):
                self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's name
            pass

    host, _, port = given["listen"].rpartition(":")
    threading.Thread(
        target=ThreadingHTTPServer((host, int(port)), Handler).serve_forever, daemon=True
    ).start()
    failed = ""
    while True:
        time.sleep(seconds)
        try:
            guard.check()
            problem = ""
        except (OSError, ValueError, KeyError) as error:
            # While the Server is down nobody is let in anew, and who is connected stays.
            problem = f"cannot tell who must go, and ask again: {error}"
        if problem != failed:
            print(problem or "asking works again", file=sys.stderr, flush=True)
        failed = problem


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3}:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 1.0)  # noqa: PLR2004
