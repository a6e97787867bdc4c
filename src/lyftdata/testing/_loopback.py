"""Serves HTTP on a loopback port, in a thread."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lyftdata.testing._endpoints import Request, Response

_MAX_BODY_BYTES = 65_536


class Loopback:
    """
    Serves the answers of a function. After a restart it has the same port.

    Args:
        answer: Answers one request; called from several threads at once.
    """

    def __init__(self, answer: Callable[[Request], Response]) -> None:
        self._handler = _handler_for(answer)
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """Return the port, or 0 before the first start."""
        return self._port

    def start(self) -> None:
        """Listen; does nothing if it is already listening."""
        if self._server is not None:
            return
        server = self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler)
        self._port = server.server_port
        self._thread = threading.Thread(
            target=server.serve_forever, args=(0.02,), name="lyftdata-fake-server", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening: connections are refused from now on."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            self._thread.join()
            server.server_close()


def _handler_for(answer: Callable[[Request], Response]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            length = min(int(self.headers.get("Content-Length") or 0), _MAX_BODY_BYTES)
            headers = {name.lower(): value for name, value in self.headers.items()}
            path = self.path.partition("?")[0]
            given = answer(Request(self.command, path, headers, self.rfile.read(length)))
            self.send_response(given.status)
            for name, value in given.headers.items():
                self.send_header(name, value)
            if given.body:
                self.send_header("Content-Length", str(len(given.body)))
            self.end_headers()
            self.wfile.write(given.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
            """Log nothing: the output belongs to the test."""

    return Handler
