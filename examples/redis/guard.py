#!/usr/bin/env python3
"""
Give each Worker its own Redis user, and delete that user when the Server revokes the Worker.

    guard.py FILE [SECONDS]

On POST /login with `Authorization: Bearer TOKEN`, the guard introspects the token at the Server (RFC 7662) and creates the user worker:ID,
with the token as its password and the token's scopes as its rules. Every second (or SECONDS) it introspects each token again. If one was
revoked, the guard deletes the user, and Redis closes the user's connections.

One failure affects one Worker: a request, a rule or a command that fails is logged and retried in the next round, and the round continues.
Revocations come first. A rule that Redis rejects is left out; a user that cannot be updated is deleted.

GET /healthz returns when the last round without a failure ended, with status 200, or 503 if that is too long ago.

FILE is guard.json, mode 0600. Needs only Python.
"""

import base64
import hashlib
import json
import re
import socket
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

# The syntax of a scope: keys, channels and commands. Never a password or a rule that allows everything.
RULE = re.compile(r"(?:~|%(?:R|W|RW)~|&)[^*\s][^\s]*|\+[a-z]+(?:\|[a-z]+)?")
PREFIX = "worker:"
# Rules are tested on this user, which cannot log in; a Worker ID cannot contain `!`.
PROBE = f"{PREFIX}!probe"
MAX_TOKEN_LENGTH = 8_192
# Per Worker at a time, since each round introspects all of them. None is evicted, because it may be revoked later.
MAX_TOKENS = 32
MAX_KNOWN_RULES = 1_024
# Threads for logins, and for requests to the Server.
MAX_CONNECTIONS = 32
MAX_QUESTIONS = 8
# From accepting a Worker's connection to the response.
MAX_CONNECTION_S = 15.0
TIMEOUT_S = 5.0
# Failures in one log line.
MAX_SHOWN = 5
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow no redirects: the resource's key and the tokens are only for the Server."""

    def redirect_request(self, *arguments: Any) -> None:
        """Make a redirect an error."""


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)


class RefusedError(Exception):
    """Redis answered a command with an error; the connection is still usable."""


class Redis:
    """A connection to Redis, reopened after it breaks."""

    def __init__(self, address: str, user: str, password: str) -> None:
        self._address = address.rpartition(":")
        self._login = ("AUTH", user, password)
        self._lock = threading.Lock()
        self._stream: Any = None
        self.connections = 0
        """How often a connection was opened; after a reconnect, Redis may be a different instance."""

    def __call__(self, *command: str) -> Any:
        """
        Send a command and return its answer.

        Raises:
            RefusedError: Redis answered with an error.
            OSError: There is no answer, or no connection.
        """
        return self._send(command)

    def in_one_step(self, *commands: tuple[str, ...]) -> None:
        """
        Run commands without others in between (MULTI); if Redis rejects one of them, the others may have run.

        Raises:
            RefusedError: Redis answered with an error.
            OSError: There is no answer, or no connection.
        """
        self._send(("MULTI",), *commands, ("EXEC",))

    def _send(self, *commands: tuple[str, ...]) -> Any:
        with self._lock:
            try:
                if self._stream is None:
                    self._connect()
                return self._ask(*commands)
            except OSError:
                self._stream = None
                raise

    def _connect(self) -> None:
        host, _, port = self._address
        connection = socket.create_connection((host, int(port)), TIMEOUT_S)
        self._stream = connection.makefile("rwb")
        connection.close()
        try:
            self._ask(self._login)
        except RefusedError as error:
            raise ConnectionError(f"Redis refuses the guard's login: {error}") from error
        self.connections += 1

    def _ask(self, *commands: tuple[str, ...]) -> Any:
        """Return the last response. Read all before raising an error, so that the next command does not read one of these."""
        self._stream.write(b"".join(_encode(command) for command in commands))
        self._stream.flush()
        answers = [self._read() for _ in commands]
        for answer in answers:
            for part in answer if isinstance(answer, list) else [answer]:
                if isinstance(part, RefusedError):
                    raise part
        return answers[-1]

    def _read(self) -> Any:
        line = self._stream.readline()
        kind, rest = line[:1], line[1:-2].decode(errors="replace")
        if kind == b"*":
            return [self._read() for _ in range(int(rest))]
        if kind == b"$":
            return self._stream.read(int(rest) + 2)[:-2].decode()
        if kind in {b"+", b":"}:
            return rest
        if kind == b"-":
            return RefusedError(rest)
        raise ConnectionError("Redis closed the connection")


def _encode(command: tuple[str, ...]) -> bytes:
    parts = [part.encode() for part in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


class Server:
    """Introspects tokens at the Server, as the resource that Redis is."""

    def __init__(self, url: str, resource: str, key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            sys.exit(f"{url}: plain http is refused, use https")
        self._url = f"{url.rstrip('/')}/oauth2/introspect"
        self._basic = base64.b64encode(f"{resource}:{key}".encode()).decode()

    def ask(self, token: str) -> dict[str, Any]:
        """Return the Server's introspection response for a token (RFC 7662, section 2.2)."""
        headers = {"Authorization": f"Basic {self._basic}"}
        request = urllib.request.Request(self._url, urlencode({"token": token}).encode(), headers)  # noqa: S310 - checked above
        with _opener.open(request, timeout=TIMEOUT_S) as answer:
            introspection = json.load(answer)
        if not isinstance(introspection, dict) or not isinstance(introspection.get("active"), bool):
            raise ValueError("not an introspection response")  # noqa: TRY004 - data from the Server
        return introspection


@dataclass
class Token:
    """A token that was used to log in: its expiry, its scope, and whether it may still open a connection."""

    ends_at: float
    scope: str
    opens: bool = True


@dataclass
class User:
    """A Worker's user in Redis."""

    tokens: dict[str, Token] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    must_go: bool = False
    """Whether its connections must be closed before it can log in again."""

    @property
    def scopes(self) -> list[str]:
        """Return the scopes that all of its tokens have: Redis does not record which token opened a connection."""
        first, *others = (token.scope.split() for token in self.tokens.values())
        return [scope for scope in first if all(scope in other for other in others)]


class Guard:
    """The Workers with a Redis user, and their tokens."""

    def __init__(self, server: Server, redis: Redis) -> None:
        self._server = server
        self._redis = redis
        self._users: dict[str, User] = {}
        # Never held during a request to the Server: logins must not delay revocations.
        self._lock = threading.Lock()
        self._has_started = False
        self._accepted: dict[str, bool] = {}
        self._accepted_at = 0
        self._pool = ThreadPoolExecutor(MAX_QUESTIONS, "question")

    def login(self, token: str) -> bool:
        """Create the Worker's user if its token is active; return whether it is."""
        if not self._has_started:
            raise OSError("users of an earlier guard may still be there")
        introspection = self._server.ask(token)
        # A token that is bound to a key needs a proof of possession, which a password cannot carry.
        if not introspection["active"] or introspection.get("token_type") != "Bearer":
            return False
        name = PREFIX + introspection["sub"]
        with self._lock:
            user = self._users.setdefault(name, User())
            if token not in user.tokens and len(user.tokens) >= MAX_TOKENS:
                return False
            # Recorded before Redis gets it, so that the next round checks every token that Redis may have.
            user.tokens[token] = Token(float(introspection["exp"]), str(introspection.get("scope", "")))
            self._set(name, user)
            return True

    def check_all(self) -> list[str]:
        """Run one round: introspect all tokens, update all users; return the failures."""
        failures: list[str] = []
        self._start(failures)
        self._delete_pending(failures)
        self._withdraw_revoked(failures)
        self._set_all(failures)
        return failures

    def _start(self, failures: list[str]) -> None:
        """Delete the users of an earlier guard, whose tokens are unknown. Their Workers log in again."""
        if self._has_started:
            return
        try:
            names = [name for name in self._redis("ACL", "USERS") if name.startswith(PREFIX)]
        except (OSError, RefusedError) as error:
            failures.append(f"cannot list users: {error}")
            return
        with self._lock:
            self._users.update({name: User(must_go=True) for name in names})
        self._has_started = True

    def _delete_pending(self, failures: list[str]) -> None:
        """Delete users without a token, which could not be deleted when their last token ended."""
        with self._lock:
            names = [name for name, user in self._users.items() if not user.tokens]
        for name in names:
            self._withdraw(name, "", failures)

    def _withdraw_revoked(self, failures: list[str]) -> None:
        """Introspect all tokens, and withdraw each inactive one as soon as its response is there."""
        with self._lock:
            asked = [(name, token) for name, user in self._users.items() for token in user.tokens]
        answers = {self._pool.submit(self._server.ask, token): (name, token) for name, token in asked}
        for answer in as_completed(answers):
            name, token = answers[answer]
            try:
                introspection = answer.result()
                scope = str(introspection.get("scope", "")) if introspection["active"] else None
            except Exception as error:  # noqa: BLE001 - any error: other Workers are not affected
                failures.append(f"{name}: cannot ask about it: {error!r}")
                self._note(name, token, scope=None)
                continue
            if scope is None:
                self._withdraw(name, token, failures)
            else:
                self._note(name, token, scope=scope)

    def _note(self, name: str, unverified_token: str, *, scope: str | None) -> None:
        """Record a token's current scope; None if the Server did not answer: after its expiry it opens no new connections."""
        with self._lock:
            user = self._users.get(name)
            token = None if user is None else user.tokens.get(unverified_token)
            if token is not None and scope is not None:
                token.scope, token.opens = scope, True
            elif token is not None:
                token.opens = time.time() < token.ends_at

    def _withdraw(self, name: str, token: str, failures: list[str]) -> None:
        """Remove a token, and delete its user if that was the last one."""
        with self._lock:
            user = self._users.get(name)
            if user is None:
                return
            ended = user.tokens.pop(token, None)
            if ended is not None and time.time() < ended.ends_at:
                # Revoked before it expired. Redis does not record which connections it opened, so close all of the user's.
                user.tokens.clear()
                print(f"{name}: revoked", flush=True)
            if user.tokens:
                return
            user.must_go = True
            try:
                self._redis("ACL", "DELUSER", name)
            except (OSError, RefusedError) as error:
                failures.append(f"{name}: cannot be deleted: {error}")
            else:
                del self._users[name]

    def _set_all(self, failures: list[str]) -> None:
        """Update the remaining users: scopes may have changed, or Redis restarted. Those that lose a permission come first."""
        with self._lock:
            names = [name for name, user in self._users.items() if user.tokens]
            names.sort(key=lambda name: set(self._users[name].rules) <= set(self._users[name].scopes))
        for name in names:
            with self._lock:
                user = self._users.get(name)
                if user is None or not user.tokens:
                    continue
                try:
                    self._set(name, user)
                except (OSError, RefusedError) as error:
                    failures.append(f"{name}: cannot be set: {error}")

    def _set(self, name: str, user: User) -> None:
        """Replace a user's passwords and rules atomically."""
        rules = tuple(rule for rule in user.scopes if self._is_accepted(rule))
        passwords = [_hash(unverified) for unverified, token in user.tokens.items() if token.opens]
        setting = ("ACL", "SETUSER", name, "reset", "resetchannels", "on", *passwords, *rules)
        try:
            if user.must_go or not set(user.rules) <= set(rules):
                # The user loses a permission. A blocking command that was allowed when it started would still return data, so delete the
                # user to close its connections. Use one transaction, since the Worker may reconnect before the next command.
                self._redis.in_one_step(("ACL", "DELUSER", name), setting)
                user.must_go = False
            else:
                self._redis(*setting)
        except RefusedError:
            # Fail closed: no user is better than one with permissions that it should no longer have.
            user.must_go = True
            self._redis("ACL", "DELUSER", name)
            raise
        user.rules = rules

    def _is_accepted(self, rule: str) -> bool:
        """Return whether Redis accepts a rule; log a rejected one once."""
        if self._accepted_at != self._redis.connections or len(self._accepted) > MAX_KNOWN_RULES:
            self._accepted.clear()
            self._accepted_at = self._redis.connections
        if rule not in self._accepted:
            problem = self._problem_of(rule)
            if problem:
                print(f"scope {rule!r} is left out: {problem}", file=sys.stderr, flush=True)
            self._accepted[rule] = not problem
        return self._accepted[rule]

    def _problem_of(self, rule: str) -> str:
        if not RULE.fullmatch(rule):
            return "not a rule for keys, channels or one command"
        # First without the rule: an error here is not about the rule.
        self._redis("ACL", "SETUSER", PROBE, "reset")
        try:
            self._redis("ACL", "SETUSER", PROBE, "reset", rule)
        except RefusedError as error:
            return str(error)
        finally:
            self._redis("ACL", "DELUSER", PROBE)
        return ""


def _hash(token: str) -> str:
    return f"#{hashlib.sha256(token.encode()).hexdigest()}"


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
        shown = sorted(failures)[:MAX_SHOWN]
        more = [f"{len(failures) - MAX_SHOWN} more"] if len(failures) > MAX_SHOWN else []
        text = "; ".join(shown + more)
        if text != self._reported:
            print(f"will retry: {text}" if text else "recovered: no failures", file=sys.stderr, flush=True)
        self._reported = text

    def answer(self) -> tuple[int, bytes]:
        """Return the status and body for GET /healthz."""
        ended_at = self._ended_at
        is_well = ended_at is not None and time.time() - ended_at < self._may_be_old_s
        at = None if ended_at is None else datetime.fromtimestamp(ended_at, UTC).isoformat(timespec="seconds")
        return 200 if is_well else 503, json.dumps({"last_whole_round": at}).encode()


class BoundedServer(ThreadingHTTPServer):
    """Serves in a bounded number of threads, and closes slow connections."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._since: dict[Any, float] = {}
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection, or close it if there are too many."""
        if len(self._since) >= MAX_CONNECTIONS:
            self.shutdown_request(request)
            return
        self._since[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread could be started
            self._since.pop(request, None)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._since.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do not log disconnected clients; other errors are answered with 503."""

    def service_actions(self) -> None:
        """Close connections that have been open too long: a client may send its request one byte at a time."""
        for request, since in list(self._since.items()):
            if time.monotonic() > since + MAX_CONNECTION_S:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)


def handler_for(guard: Guard, health: Health) -> type[BaseHTTPRequestHandler]:
    """Return the handler for logins and health checks."""

    class Handler(BaseHTTPRequestHandler):
        timeout = TIMEOUT_S

        def do_POST(self) -> None:
            """Handle a Worker's login."""
            given = self.headers.get_all("Authorization") or [""]
            scheme, _, token = given[0].partition(" ")
            is_login = self.path == "/login" and len(given) == 1 and scheme.lower() == "bearer"
            try:
                is_in = is_login and len(token) <= MAX_TOKEN_LENGTH and guard.login(token)
            except Exception:  # noqa: BLE001 - any error: refuse this login; the Worker may retry
                self._answer(503)
            else:
                self._answer(204 if is_in else 401)

        def do_GET(self) -> None:
            """Answer GET /healthz."""
            self._answer(*(health.answer() if self.path == "/healthz" else (404, b"")))

        def _answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Log nothing: relevant events are printed above."""

    return Handler


def main(file: Path, seconds: float) -> None:
    """Serve logins and check tokens until stopped."""
    given = json.loads(file.read_text(encoding="utf-8"))
    guard = Guard(
        Server(given["server"], given["resource"], given["key"]),
        Redis(given["redis"], given["user"], given["password"]),
    )
    health = Health(seconds)
    host, _, port = given["listen"].rpartition(":")
    served = BoundedServer((host, int(port)), handler_for(guard, health))
    health.note(guard.check_all())
    threading.Thread(target=served.serve_forever, daemon=True).start()
    while True:
        time.sleep(seconds)
        try:
            failures = guard.check_all()
        except Exception as error:  # noqa: BLE001 - any error: there must be a next round
            failures = [repr(error)]
        health.note(failures)


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3}:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 1.0)  # noqa: PLR2004
