#!/usr/bin/env python3
"""
Let Workers in at Redis, each as its own user, and delete that user when the Server revokes the Worker.

    guard.py FILE [SECONDS]

POST /login with `Authorization: Bearer TOKEN`: the guard asks the Server about the token (RFC 7662) and makes the user worker:ID, whose
password is that token and whose rules are the resource's scopes. Every second (or SECONDS) it asks again about each token. When one was
revoked, the guard deletes its user, and Redis closes that user's connections.

One failure affects one Worker: a question, a rule or a command that fails is reported and tried again in the next round, and the round
goes on. What ends access is done first. A rule that Redis refuses is left out; a user that cannot be set is deleted.

GET /healthz says when the last round without a failure ended: 200, or 503 if that is too long ago.

FILE is guard.json, mode 0600. Needs nothing but Python.
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

# What a scope may be: keys, channels and commands. Never a password, never what lifts all limits.
RULE = re.compile(r"(?:~|%(?:R|W|RW)~|&)[^*\s][^\s]*|\+[a-z]+(?:\|[a-z]+)?")
PREFIX = "worker:"
# Rules are tried on this user, which cannot log in; no Worker ID has a `!`.
PROBE = f"{PREFIX}!probe"
MAX_TOKEN_LENGTH = 8_192
# Of one Worker at the same time: the guard asks about each in every round. None is evicted, since it could be one that is revoked next.
MAX_TOKENS = 32
MAX_KNOWN_RULES = 1_024
# Threads: for logins, for questions to the Server.
MAX_CONNECTIONS = 32
MAX_QUESTIONS = 8
# From accepting a connection of a Worker to its answer.
MAX_CONNECTION_S = 15.0
TIMEOUT_S = 5.0
# Failures in one line of the log.
MAX_SHOWN = 5
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the resource's key and the tokens are for the Server alone."""

    def redirect_request(self, *arguments: Any) -> None:
        """Make a redirect an error."""


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)


class RefusedError(Exception):
    """Redis answered a command with an error; the connection is still good."""


class Redis:
    """A connection to Redis for a few commands; opened again after it broke."""

    def __init__(self, address: str, user: str, password: str) -> None:
        self._address = address.rpartition(":")
        self._login = ("AUTH", user, password)
        self._lock = threading.Lock()
        self._stream: Any = None
        self.connections = 0
        """How often a connection was opened: after that, Redis may be another one than before."""

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
        Let Redis run commands with nothing in between (MULTI); if it refuses one of them, it may have run the others.

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
        """Return the last answer. All are read before an error is raised: the next command must not get one of these."""
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
    """The Server, asked about tokens by the resource that this Redis is."""

    def __init__(self, url: str, resource: str, key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            sys.exit(f"{url}: not over plain http")
        self._url = f"{url.rstrip('/')}/oauth2/introspect"
        self._basic = base64.b64encode(f"{resource}:{key}".encode()).decode()

    def ask(self, token: str) -> dict[str, Any]:
        """Return what the Server says about a token (RFC 7662, section 2.2)."""
        headers = {"Authorization": f"Basic {self._basic}"}
        request = urllib.request.Request(self._url, urlencode({"token": token}).encode(), headers)  # noqa: S310 - checked above
        with _opener.open(request, timeout=TIMEOUT_S) as answer:
            introspection = json.load(answer)
        if not isinstance(introspection, dict) or not isinstance(introspection.get("active"), bool):
            raise ValueError("the Server's answer is not about a token")  # noqa: TRY004 - it was not made here
        return introspection


@dataclass
class Token:
    """A token that was shown: until when it lasts, what it allows, and whether it still opens a new connection."""

    ends_at: float
    scope: str
    opens: bool = True


@dataclass
class User:
    """A Worker's user in Redis."""

    tokens: dict[str, Token] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    must_go: bool = False
    """Whether its connections must be closed before it may have any again."""

    @property
    def scopes(self) -> list[str]:
        """Return what all of its tokens allow: Redis cannot tell by which of them a connection was opened."""
        first, *others = (token.scope.split() for token in self.tokens.values())
        return [scope for scope in first if all(scope in other for other in others)]


class Guard:
    """Who is let in, and with which tokens."""

    def __init__(self, server: Server, redis: Redis) -> None:
        self._server = server
        self._redis = redis
        self._users: dict[str, User] = {}
        # Never held while the Server is asked: logins must not delay what ends access.
        self._lock = threading.Lock()
        self._has_started = False
        self._accepted: dict[str, bool] = {}
        self._accepted_at = 0
        self._pool = ThreadPoolExecutor(MAX_QUESTIONS, "question")

    def login(self, token: str) -> bool:
        """Let a Worker in if its token is good."""
        if not self._has_started:
            raise OSError("users of an earlier guard may still be there")
        introspection = self._server.ask(token)
        # A token that is bound to a key is worth nothing without a proof, and a password is not one.
        if not introspection["active"] or introspection.get("token_type") != "Bearer":
            return False
        name = PREFIX + introspection["sub"]
        with self._lock:
            user = self._users.setdefault(name, User())
            if token not in user.tokens and len(user.tokens) >= MAX_TOKENS:
                return False
            # Noted before Redis has it: what Redis may have is asked about in the next round.
            user.tokens[token] = Token(float(introspection["exp"]), str(introspection.get("scope", "")))
            self._set(name, user)
            return True

    def check_all(self) -> list[str]:
        """Ask about every token again, and return what failed."""
        failures: list[str] = []
        self._start(failures)
        self._delete_pending(failures)
        self._withdraw_revoked(failures)
        self._set_all(failures)
        return failures

    def _start(self, failures: list[str]) -> None:
        """Delete the users of an earlier guard: nothing is known of them. Their Workers log in again."""
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
        """Delete users without a token: those that could not be deleted when their last one ended."""
        with self._lock:
            names = [name for name, user in self._users.items() if not user.tokens]
        for name in names:
            self._withdraw(name, "", failures)

    def _withdraw_revoked(self, failures: list[str]) -> None:
        """Ask about every token, and end the access of one that is not good as soon as that is known."""
        with self._lock:
            asked = [(name, token) for name, user in self._users.items() for token in user.tokens]
        answers = {self._pool.submit(self._server.ask, token): (name, token) for name, token in asked}
        for answer in as_completed(answers):
            name, token = answers[answer]
            try:
                introspection = answer.result()
                scope = str(introspection.get("scope", "")) if introspection["active"] else None
            except Exception as error:  # noqa: BLE001 - whatever it is, the other Workers are not affected
                failures.append(f"{name}: cannot ask about it: {error!r}")
                self._note(name, token, scope=None)
                continue
            if scope is None:
                self._withdraw(name, token, failures)
            else:
                self._note(name, token, scope=scope)

    def _note(self, name: str, unverified_token: str, *, scope: str | None) -> None:
        """Note what a token allows now; None if the Server did not say: then it opens nothing new after its end."""
        with self._lock:
            user = self._users.get(name)
            token = None if user is None else user.tokens.get(unverified_token)
            if token is not None and scope is not None:
                token.scope, token.opens = scope, True
            elif token is not None:
                token.opens = time.time() < token.ends_at

    def _withdraw(self, name: str, token: str, failures: list[str]) -> None:
        """End what a token gave."""
        with self._lock:
            user = self._users.get(name)
            if user is None:
                return
            ended = user.tokens.pop(token, None)
            if ended is not None and time.time() < ended.ends_at:
                # Revoked before its end. Redis cannot say which of the user's connections it opened: all of them go.
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
        """Set every user that stays: scopes may have changed, and Redis may have restarted. Those that lose a right come first."""
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
        """Give a user its passwords and rules, and nothing that it had before, with no moment in between at which it has neither."""
        rules = tuple(rule for rule in user.scopes if self._is_accepted(rule))
        passwords = [_hash(unverified) for unverified, token in user.tokens.items() if token.opens]
        setting = ("ACL", "SETUSER", name, "reset", "resetchannels", "on", *passwords, *rules)
        try:
            if user.must_go or not set(user.rules) <= set(rules):
                # It loses a right: a command that waits was allowed when it began, and would still be answered. Its connections
                # end with the user; in one step, since the Worker may be back before the next command.
                self._redis.in_one_step(("ACL", "DELUSER", name), setting)
                user.must_go = False
            else:
                self._redis(*setting)
        except RefusedError:
            # Better no user than one that may do what it no longer should.
            user.must_go = True
            self._redis("ACL", "DELUSER", name)
            raise
        user.rules = rules

    def _is_accepted(self, rule: str) -> bool:
        """Return whether Redis takes a rule; one that it does not take is reported once."""
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
        # First without the rule: if that fails, it says nothing about the rule.
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
        """Take what a round came to; say what is new about it."""
        if not failures:
            self._ended_at = time.time()
        shown = sorted(failures)[:MAX_SHOWN]
        more = [f"{len(failures) - MAX_SHOWN} more"] if len(failures) > MAX_SHOWN else []
        text = "; ".join(shown + more)
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


class BoundedServer(ThreadingHTTPServer):
    """Serves in a bounded number of threads, and ends what takes too long."""

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
        """Serve a connection, in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._since.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about a client that went away; what goes wrong here is answered with 503."""

    def service_actions(self) -> None:
        """Close connections that have been open for too long: a client may send its request a byte at a time."""
        for request, since in list(self._since.items()):
            if time.monotonic() > since + MAX_CONNECTION_S:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)


def handler_for(guard: Guard, health: Health) -> type[BaseHTTPRequestHandler]:
    """Return what answers Workers and whatever watches the guard."""

    class Handler(BaseHTTPRequestHandler):
        timeout = TIMEOUT_S

        def do_POST(self) -> None:
            """Let a Worker in."""
            given = self.headers.get_all("Authorization") or [""]
            scheme, _, token = given[0].partition(" ")
            is_login = self.path == "/login" and len(given) == 1 and scheme.lower() == "bearer"
            try:
                is_in = is_login and len(token) <= MAX_TOKEN_LENGTH and guard.login(token)
            except Exception:  # noqa: BLE001 - whatever it is, this Worker is not let in now, and may try again
                self._answer(503)
            else:
                self._answer(204 if is_in else 401)

        def do_GET(self) -> None:
            """Say how the guard is."""
            self._answer(*(health.answer() if self.path == "/healthz" else (404, b"")))

        def _answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Log nothing: what is worth a line is printed above."""

    return Handler


def main(file: Path, seconds: float) -> None:
    """Let in, and ask again, until stopped."""
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
        except Exception as error:  # noqa: BLE001 - the next round must come
            failures = [repr(error)]
        health.note(failures)


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3}:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 1.0)  # noqa: PLR2004
