#!/usr/bin/env python3
"""
Close the connections of Workers that the Server has taken back; RabbitMQ itself checks nothing of a consumer that merely receives.

    close_revoked.py FILE MANAGEMENT-URL [SECONDS]

Runs beside the broker, for as long as it runs. Each second (or so) it asks the broker who is connected and the Server which of those must go.
What it missed in one round, or could not do, it does in the next. FILE is the broker's lyftdata.conf: the Server's address and the
resource's key are taken from auth_http.vhost_path, the broker's administrator from default_user and default_pass. Users whose names no
Worker can have are left alone. Needs nothing but Python.
"""

import base64
import json
import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

AT_ONCE = 100
WORKER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# No proxy that an environment names: what is sent here holds secrets.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Api:
    """Somebody who is asked over HTTP, with a name and a password."""

    def __init__(self, url: str, user: str, password: str) -> None:
        if urlsplit(url).scheme != "https" and urlsplit(url).hostname not in _LOOPBACK:
            sys.exit(f"{url}: not over plain http")
        self.user = user
        self._url = url.rstrip("/")
        self._basic = base64.b64encode(f"{user}:{password}".encode()).decode()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """Return what is answered, None where that is nothing."""
        headers = {"Authorization": f"Basic {self._basic}", "Content-Type": "application/json", **headers}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}{path}", data, headers, method=method)  # noqa: S310 - checked above
        with _opener.open(request, timeout=5) as answer:
            content = answer.read()
        return json.loads(content) if content else None


def read(file: Path, management_url: str) -> tuple[Api, Api]:
    """Return the Server and the broker."""
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


def close_revoked(server: Api, broker: Api) -> list[str]:
    """Close what must go, and return what was closed, a line each."""
    columns = "name,user,vhost,connected_at"
    connections = [
        connection
        for connection in broker.ask("GET", f"/connections?columns={columns}")
        # One that is only about to log in has no user yet.
        if WORKER_ID.fullmatch(connection.get("user") or "") and "connected_at" in connection
    ]
    closed = []
    for start in range(0, len(connections), AT_ONCE):
        some = connections[start : start + AT_ONCE]
        # Ages and not times: the Server's clock may be another.
        now_s = time.time()
        told = [
            {"username": c["user"], "vhost": c["vhost"], "age_s": max(0.0, now_s - c["connected_at"] / 1000)}
            for c in some
        ]
        for place in server.ask("POST", "/connections", {"connections": told})["close"]:
            close(broker, some[place])
            closed.append(f"{some[place]['user']}: {some[place]['name']}")
    return closed


def close(broker: Api, connection: dict[str, str]) -> None:
    """Close a connection; that it has gone meanwhile is as well."""
    reason = {"X-Reason": "The Server has taken this Worker back."}
    try:
        broker.ask("DELETE", f"/connections/{quote(connection['name'], safe='')}", **reason)
    except urllib.error.HTTPError as error:
        if error.code != 404:  # noqa: PLR2004 - not found
            raise


def main(file: Path, management_url: str, seconds: float) -> None:
    """Go on until stopped."""
    server, broker = read(file, management_url)
    if WORKER_ID.fullmatch(broker.user):
        sys.exit(f"default_user: a Worker could have the ID {broker.user}; begin it with _")
    failed = ""
    while True:
        try:
            for line in close_revoked(server, broker):
                print(f"closed {line}", flush=True)
            problem = ""
        except (OSError, ValueError, KeyError) as error:
            # While the Server is down nobody can log in anew, and who is connected stays: an outage ends no work.
            problem = f"cannot tell who must go, and ask again: {error}"
        if problem != failed:
            print(problem or "asking works again", file=sys.stderr, flush=True)
        failed = problem
        time.sleep(seconds)


if __name__ == "__main__":
    if len(sys.argv) not in {3, 4}:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else 1.0)  # noqa: PLR2004
