"""A receiver of webhooks over a real socket, which verifies each with PyPI's `standardwebhooks`."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


class Receiver:
    """
    The receiver, with what it received.

    Args:
        port: Where it listens.
        at_any_time: Whether to accept messages with a time other than now, since the Server's clock may be fake.
    """

    def __init__(self, port: int, *, at_any_time: bool) -> None:
        self.port = port
        self._at_any_time = at_any_time
        self.secret = ""
        """Messages are verified with it; unsigned ones are answered 401."""
        self.status = 204
        self.filtered = ""
        """A message with this text is answered 403, as by a firewall that filters content; "" filters nothing."""
        self.headers: dict[str, str] = {}
        """Sent with each answer."""
        self.accepted: list[tuple[str, dict[str, Any]]] = []
        """ID and content of each message that was verified and accepted."""
        self.requests: list[dict[str, str]] = []
        """Headers of each request."""
        self.after: tuple[int, Callable[[], object]] | None = None
        """A number of accepted messages, and what is called once, before the last of them is answered."""
        self.arrived = threading.Condition()

    @property
    def numbers(self) -> list[int]:
        """Return the numbers of the accepted events."""
        return [message["data"]["number"] for _, message in self.accepted if "number" in message["data"]]

    @property
    def subjects(self) -> list[str]:
        """Return the subjects of the accepted events."""
        return [message["data"].get("subject", "") for _, message in self.accepted]

    @property
    def types(self) -> list[str]:
        """Return the types of the accepted events."""
        return [message["type"] for _, message in self.accepted]

    def answer(self, headers: dict[str, str], body: bytes) -> int:
        """Return the status for a request."""
        with self.arrived:
            self.requests.append(headers)
            self.arrived.notify_all()
            if not self._is_genuine(headers, body):
                return 401
            if self.filtered and self.filtered in body.decode():
                return 403
            if self.status == 204:
                self.accepted.append((headers["webhook-id"], json.loads(body)))
            if self.after is not None and len(self.accepted) >= self.after[0]:
                act, self.after = self.after[1], None
                act()
            return self.status

    def _is_genuine(self, headers: dict[str, str], body: bytes) -> bool:
        if self._at_any_time:
            at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
            signature = Webhook(self.secret).sign(headers["webhook-id"], at, body.decode())
            return signature in headers["webhook-signature"].split()
        try:
            Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError:
            return False
        return True


@contextmanager
def receiver(*, tls: ssl.SSLContext | None = None, at_any_time: bool = False) -> Iterator[Receiver]:
    """Listen on a free port of this host."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(found.answer(headers, body))
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        found = Receiver(server.server_address[1], at_any_time=at_any_time)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
