"""A proxy in front of a real server that makes chosen requests fail, as networks and servers do."""

import http.client
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Fault = Callable[[str, bytes], "int | bytes | None"]
"""Given the request line and the body: a status to answer, bytes to send before closing, or None to pass the request on."""


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing about a client that disconnected."""


class FaultyProxy:
    """
    Passes HTTP requests on to a real server, except those that are to fail.

    Attributes:
        fault: Decides about each request; by default passes all of them on.
        failed: The number of requests that have failed so far.
    """

    def __init__(self, upstream: str, *, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(upstream)
        self.fault: Fault = lambda _line, _body: None
        self.failed = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                fault = proxy.fault(self.requestline, body)
                if fault is None:
                    self._pass_on(body)
                    return
                proxy.failed += 1
                if isinstance(fault, bytes):
                    self.wfile.write(fault)
                    return
                self.send_response(fault)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def _pass_on(self, body: bytes) -> None:
                assert parts.hostname is not None
                connection = (
                    http.client.HTTPConnection(parts.hostname, parts.port, timeout=180)
                    if tls is None
                    else http.client.HTTPSConnection(parts.hostname, parts.port, timeout=180, context=tls)
                )
                try:
                    connection.request(self.command, self.path, body, dict(self.headers.items()))
                    answer = connection.getresponse()
                    content = answer.read()
                finally:
                    connection.close()
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.getheader("Content-Type", "text/plain"))
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the library's names

            def log_message(self, format: str, *arguments: object) -> None:
                """Log nothing."""

        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
