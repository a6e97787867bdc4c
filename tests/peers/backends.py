"""
Services in different styles that answer with everything they have read: CGI, PHP, WSGI, Node and ASGI.

CGI, PHP and WSGI can map several headers to one variable. RFC 3875, section 4.1.18, turns a hyphen into an underscore, which another
header may already contain. PHP's server also replaces a dot, and lighttpd every character that is not a letter or a digit.
"""

import json
import os
import re
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import pytest
from tests.peers.proxies import Peer, program
from tests.processes import free_port

_CGI = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nenv\n"
_PHP = "<?php header('Content-Type: application/json'); echo json_encode(['server' => $_SERVER, 'all' => getallheaders()]);"
_NODE = """
const http = require('node:http')
http.createServer((request, response) => {
  request.resume().on('end', () => {
    response.setHeader('Content-Type', 'application/json')
    response.end(JSON.stringify({ headers: request.headers, raw: request.rawHeaders }))
  })
}).listen(Number(process.argv[1]), '127.0.0.1')
"""
_ASGI = """
import json

async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [[part.decode("latin-1") for part in header] for header in scope["headers"]]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(headers).encode()})
"""


class Backend:
    """
    A service that answers with everything it has read.

    Attributes:
        port: Where it listens.
        read: Returns an identity header, named by its last part (`Id`), from an answer, as the program would read it.
    """

    def __init__(self, port: int, read: Callable[[str, str], str], close: Callable[[], None]) -> None:
        self.port = port
        self.read = read
        self.close = close


class _QuietServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing: a test that ends a proxy leaves connections half open."""


def start_cgi(root: Path) -> Backend:
    """Start a shell script behind a CGI gateway (RFC 3875) that names variables like lighttpd."""
    script = root / "echo.cgi"
    script.write_text(_CGI)

    class Gateway(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            method = self.rfile.readline().decode("latin-1").partition(" ")[0]
            given = {"PATH": os.environ["PATH"], "GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": method}
            while line := self.rfile.readline().decode("latin-1").rstrip("\r\n"):
                header, _, value = line.partition(":")
                name = "HTTP_" + re.sub("[^A-Za-z0-9]", "_", header).upper()
                # Colliding values are joined, as the RFC says for repeated headers.
                given[name] = ", ".join([*([given[name]] if name in given else []), value.strip()])
            done = subprocess.run(["/bin/sh", script], env=given, capture_output=True, check=True)
            self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + done.stdout)

    server = _QuietServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def close() -> None:
        server.shutdown()
        server.server_close()

    def read(answer: str, part: str) -> str:
        return "".join(re.findall(rf"^HTTP_X_LYFTDATA_WORKER_{part.upper()}=(.*)$", answer, re.MULTILINE))

    return Backend(server.server_address[1], read, close)


def start_php(root: Path) -> Backend:
    """Start PHP's built-in server, which treats underscores and dots like hyphens."""
    script = root / "echo.php"
    script.write_text(_PHP)
    port = free_port()
    peer = Peer(
        [program("php", "php-cgi"), "-d", "display_errors=0", "-S", f"127.0.0.1:{port}", str(script)],
        root=root,
        port=port,
    )

    def read(answer: str, part: str) -> str:
        return str(json.loads(answer)["server"].get(f"HTTP_X_LYFTDATA_WORKER_{part.upper()}", ""))

    return Backend(port, read, peer.close)


class _QuietWsgi(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


def start_wsgi(_root: Path) -> Backend:
    """Start the WSGI server of Python's standard library, which joins colliding headers."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "application/json")])
        return [
            json.dumps({name: value for name, value in environ.items() if isinstance(value, str)}).encode()
        ]

    server = WSGIServer(("127.0.0.1", 0), _QuietWsgi)
    server.set_app(application)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def close() -> None:
        server.shutdown()
        server.server_close()

    return Backend(
        server.server_port,
        lambda answer, part: str(json.loads(answer).get(f"HTTP_X_LYFTDATA_WORKER_{part.upper()}", "")),
        close,
    )


def start_node(root: Path) -> Backend:
    """Start a server with Node's standard library."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js on this machine (Debian: apt-get install nodejs)")
    port = free_port()
    peer = Peer([node, "-e", _NODE, str(port)], root=root, port=port)
    return Backend(
        port,
        lambda answer, part: str(json.loads(answer)["headers"].get(f"x-lyftdata-worker-{part.lower()}", "")),
        peer.close,
    )


def start_asgi(root: Path) -> Backend:
    """Start uvicorn with httptools, and an application that reads the headers after the body."""
    (root / "application.py").write_text(_ASGI)
    port = free_port()
    peer = Peer(
        [
            sys.executable,
            "-m",
            "uvicorn",
            "--http",
            "httptools",
            "--port",
            str(port),
            "application:application",
        ],
        root=root,
        port=port,
    )

    def read(answer: str, part: str) -> str:
        name = f"x-lyftdata-worker-{part.lower()}"
        return ", ".join(value for spelled, value in json.loads(answer) if spelled == name)

    return Backend(port, read, peer.close)


BACKENDS: dict[str, Callable[[Path], Backend]] = {
    "cgi": start_cgi,
    "php": start_php,
    "wsgi": start_wsgi,
    "node": start_node,
}
