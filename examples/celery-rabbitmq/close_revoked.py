#!/usr/bin/env python3
"""
Close the connections of revoked Workers: RabbitMQ itself never checks a consumer again that only receives.

    close_revoked.py FILE MANAGEMENT-URL [SECONDS [LISTEN]]

Runs alongside the broker. Every second (or SECONDS) it lists the broker's connections and asks the Server which of them must be closed.
It keeps no state between rounds, so whatever failed in one round is retried in the next.

One failure affects one connection: a request that fails is logged and retried in the next round, and the round continues. With LISTEN
(ADDRESS:PORT), GET /healthz returns when the last round without a failure ended, with status 200, or 503 if that is too long ago.

FILE is the broker's lyftdata.conf: auth_http.vhost_path has the Server's address and the resource's key, default_user and default_pass the
broker's administrator. Users whose names cannot be Worker IDs are ignored. Needs only Python.
"""

import base64
import json
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

# Connections in one request to the Server.
AT_ONCE = 100
# Concurrent DELETE requests: a slow one must not delay the others.
MAX_CLOSING = 8
# The maximum that the Server accepts. Some hosts boot with a clock in 1970.
MAX_AGE_S = 1_000_000_000.0
TIMEOUT_S = 5.0
# Failures in one log line.
MAX_SHOWN = 5
WORKER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow no redirects: the passwords in a request are only for the configured server."""

    def redirect_request(self, *arguments: Any) -> None:
        """Make a redirect an error."""


# Ignore proxies from the environment, too: requests contain secrets.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)


class Api:
    """An HTTP API with Basic authentication."""

    def __init__(self, url: str, user: str, password: str) -> None:
        if urlsplit(url).scheme != "https" and urlsplit(url).hostname not in _LOOPBACK:
            sys.exit(f"{url}: plain http is refused, use https")
        self.user = user
        self._url = url.rstrip("/")
        self._basic = base64.b64encode(f"{user}:{password}".encode()).decode()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """Return the parsed response, or None if it is empty."""
        headers = {"Authorization": f"Basic {self._basic}", "Content-Type": "application/json", **headers}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}{path}", data, headers, method=method)  # noqa: S310 - checked above
        with _opener.open(request, timeout=TIMEOUT_S) as answer:
            content = answer.read()
        return json.loads(content) if content else None


def read(file: Path, management_url: str) -> tuple[Api, Api]:
    """Return clients for the Server and the broker."""
    lines = (line.partition("=") for line in file.read_text(encoding="utf-8").splitlines())
    given = {key.strip(): value.strip() for key, _, value in lines}
    asked = urlsplit(given["auth_http.vhost_path"])
    path = asked.path.removesuffix("/vhost")
    server = (
        f"{asked.scheme}://{asked.hostname}:{asked.port or (443 if asked.scheme == 'https' else 80)}{path}"
    )
    return (
        Api(server, unquote(asked.username or ""), unquote(asked.password or "")),
        Api(f"{management_url.rstrip('/')}/api", given["default_user"], given["default_pass"]),
    )


class Closer:
    """
    Closes the connections of revoked Workers.

    Args:
        server: Decides which connections must be closed.
        broker: The management API of the broker that has them.
    """

    def __init__(self, server: Api, broker: Api) -> None:
        self._server = server
        self._broker = broker
        self._pool = ThreadPoolExecutor(MAX_CLOSING, "closing")

    def close_revoked(self) -> list[str]:
        """Run one round, and return the failures."""
        failures: list[str] = []
        try:
            listed = self._broker.ask("GET", "/connections?columns=name,user,vhost,connected_at")
            connections = [connection for connection in listed if _is_workers(connection)]
        except Exception as error:  # noqa: BLE001 - any error: there must be a next round
            return [f"cannot list connections: {error!r}"]
        for start in range(0, len(connections), AT_ONCE):
            # Close these before the next request, so that a revoked Worker does not wait for the rest of the list.
            must_go = self._which_must_go(connections[start : start + AT_ONCE], failures)
            failures += filter(None, self._pool.map(self._close, must_go))
        return failures

    def _which_must_go(
        self, connections: list[dict[str, Any]], failures: list[str]
    ) -> Iterable[dict[str, Any]]:
        """Ask about connections; if the request fails, ask about each half separately."""
        try:
            return self._ask_about(connections)
        except Exception as error:  # noqa: BLE001 - any error: other connections are not affected
            half = len(connections) // 2
            if half and _is_about_what_was_asked(error):
                return [
                    connection
                    for part in (connections[:half], connections[half:])
                    for connection in self._which_must_go(part, failures)
                ]
            users = ", ".join(sorted({str(connection["user"]) for connection in connections})[:MAX_SHOWN])
            failures.append(f"cannot ask about {users}: {error!r}")
            return []

    def _ask_about(self, connections: list[dict[str, Any]]) -> list[dict[str, Any]]:
        # Send ages, not times: the Server's clock may differ.
        now_s = time.time()
        reported = [
            {
                "username": connection["user"],
                "vhost": connection.get("vhost") or "",
                "age_s": _age_s(connection, now_s),
            }
            for connection in connections
        ]
        answer = self._server.ask("POST", "/connections", {"connections": reported})
        return [connections[index] for index in answer["close"]]

    def _close(self, connection: dict[str, Any]) -> str:
        """Close a connection; return why that failed, or "" if it is closed or no longer exists."""
        reason = {"X-Reason": "The Server has revoked this Worker."}
        try:
            self._broker.ask("DELETE", f"/connections/{quote(connection['name'], safe='')}", **reason)
        except Exception as error:  # noqa: BLE001 - any error: other connections are not affected
            if not (isinstance(error, urllib.error.HTTPError) and error.code == 404):  # noqa: PLR2004 - not found
                return f"cannot close {connection['user']}: {connection['name']}: {error!r}"
        print(f"closed {connection['user']}: {connection['name']}", flush=True)
        return ""


def _is_workers(connection: Any) -> bool:
    """Return whether a connection may be a Worker's; it has no user before its login is complete."""
    if not isinstance(connection, dict) or not isinstance(connection.get("name"), str):
        return False
    user = connection.get("user")
    return isinstance(user, str) and WORKER_ID.fullmatch(user) is not None


def _age_s(connection: dict[str, Any], now_s: float) -> float:
    """Return the connection's age, or the maximum if the broker does not report it."""
    try:
        age_s = now_s - float(connection["connected_at"]) / 1000
    except (KeyError, TypeError, ValueError):
        return MAX_AGE_S
    return min(max(age_s, 0.0), MAX_AGE_S)


def _is_about_what_was_asked(error: Exception) -> bool:
    """Return whether asking about fewer connections may help: not if the Server is down, busy, or refuses the key."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code not in {401, 403, 404, 429, 502, 503, 504}
    return not isinstance(error, OSError)


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
        text = "; ".join(_shown(sorted(failures)))
        if text != self._reported:
            print(f"will retry: {text}" if text else "recovered: no failures", file=sys.stderr, flush=True)
        self._reported = text

    def answer(self) -> tuple[int, bytes]:
        """Return the status and body for GET /healthz."""
        ended_at = self._ended_at
        is_well = ended_at is not None and time.time() - ended_at < self._may_be_old_s
        at = None if ended_at is None else datetime.fromtimestamp(ended_at, UTC).isoformat(timespec="seconds")
        return 200 if is_well else 503, json.dumps({"last_whole_round": at}).encode()


def _shown(failures: list[str]) -> Iterator[str]:
    yield from failures[:MAX_SHOWN]
    if len(failures) > MAX_SHOWN:
        yield f"{len(failures) - MAX_SHOWN} more"


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


def main(file: Path, management_url: str, seconds: float, listen: str) -> None:
    """Run until stopped."""
    server, broker = read(file, management_url)
    if WORKER_ID.fullmatch(broker.user):
        sys.exit(f"default_user: {broker.user} could be a Worker's ID; start it with _")
    closer, health = Closer(server, broker), Health(seconds)
    if listen:
        serve_health(health, listen)
    while True:
        # While the Server is down, no Worker can log in, but connected ones keep working.
        health.note(closer.close_revoked())
        time.sleep(seconds)


if __name__ == "__main__":
    if len(sys.argv) not in {3, 4, 5}:
        sys.exit(__doc__)
    _, file, url, *more = sys.argv
    main(Path(file), url, float(more[0]) if more else 1.0, more[1] if len(more) > 1 else "")
