"""Third-party programs, a service that they protect, and tokens to present to them."""

import base64
import hmac
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from joserfc import jws
from joserfc.jwk import Key
from sqlalchemy import create_engine
from tests.processes import until

from lyftdata.core.keyring import SigningKey, active_key, decrypt_signing_key
from lyftdata.server.clock import utc_now
from lyftdata.server.runtime.secret_keys import derive_key
from lyftdata.store.tables.signing_keys import all_signing_keys

EXAMPLES = Path(__file__).parents[2] / "examples"
AUDIENCE = "https://service.example.com"
# How often the guards of examples/ ask the Server again; by default each second, which would make tests wait.
ROUND_EVERY_S = "0.25"
_MODULES = Path("/usr/lib/apache2/modules")


@dataclass
class Seen:
    """A request as a service received it."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    client_port: int

    def values(self, name: str) -> list[str]:
        """Return every value of a header, under any spelling that a service may read as that name."""
        return [value for spelled, value in self.headers if _folded(spelled) == _folded(name)]


def _folded(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower())


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing: a proxy that a test has ended leaves its connections half open."""


class Service:
    """
    A real HTTP service that does not know lyftdata: it records requests, and answers `status`.

    It is the service that the proxies protect, and it also stands in for a broken Server.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.status = 200
        self.answer = b"service_works 1\n"
        self.answer_headers: dict[str, str] = {}
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                service.seen.append(
                    Seen(self.command, self.path, self.headers.items(), body, self.client_address[1])
                )
                content = b"" if service.status == 204 else service.answer
                self.send_response(service.status)
                for name, value in service.answer_headers.items():
                    self.send_header(name, value)
                if service.status != 204:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any  # noqa: N815 - the library's names

            def log_message(self, format: str, *arguments: object) -> None:
                """Log nothing."""

        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Peer:
    """A started program with its log in a file; the test ends it."""

    def __init__(
        self,
        command: list[str],
        *,
        root: Path,
        port: int,
        cleanups: Sequence[Callable[[], None]] = (),
        environ: Mapping[str, str] = {},
    ) -> None:
        self.port = port
        self._cleanups = cleanups
        self.url = f"http://127.0.0.1:{port}"
        self.log_file = root / "log"
        given = {"PATH": os.environ["PATH"], "HOME": str(root), "TMPDIR": str(root), **environ}
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=root,
                env=given,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        PEERS.append(self)
        try:
            until(
                lambda: self._process.poll() is not None or listens(port),
                f"{command[0]} listens",
                within_s=240,
            )
        except AssertionError:
            self.close()
            raise
        assert self._process.poll() is None, f"{command} has ended:\n{self.log_file.read_text()}"

    @property
    def pid(self) -> int:
        """Return its process ID."""
        return self._process.pid

    def close(self) -> None:
        """End it and its child processes."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for end in self._cleanups:
            end()


PEERS: list[Peer] = []


def listens(port: int) -> bool:
    """Return whether a program listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def program(name: str, package: str) -> str:
    """Return the path of a program; skip the test if there is none."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"no {name} on this machine (Debian: apt-get install {package})")
    return found


def python_program(name: str, package: str) -> str:
    """Return the path of a program from a Python package; skip the test if there is none."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on this machine (pip install {package})")
    return found


def example(path: str, changes: Mapping[str, str]) -> str:
    """Return a file of examples/ with the values replaced that its reader must replace; each must be in it."""
    text = (EXAMPLES / path).read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text, f"{path} holds no {old}"
        text = text.replace(old, new)
    return text


def server_signing_key(staging_dir: Path) -> SigningKey:
    """Return the current signing key of a running Server, to sign tokens that differ from a valid one only by their claims."""
    kek = derive_key((staging_dir / "secret.key").read_bytes().strip(), purpose="signing keys")
    engine = create_engine(f"sqlite:///{staging_dir}/lyftdata.db")
    with engine.connect() as connection:
        records = all_signing_keys(connection)
    engine.dispose()
    return decrypt_signing_key(active_key(records, utc_now()), kek=kek)


def claims_of(token: str) -> dict[str, Any]:
    """Return a token's claims without verifying it."""
    return cast("dict[str, Any]", json.loads(_unbase64(token.split(".")[1])))


def signed(claims: Mapping[str, object], *, key: Key, **header: str) -> str:
    """Return a JWT."""
    registry = jws.JWSRegistry(algorithms=[header["alg"]])
    return jws.serialize_compact(dict(header), json.dumps(claims), key, registry=registry)


def unsigned(claims: Mapping[str, object]) -> str:
    """Return a JWT with `"alg":"none"`."""
    return f"{_signing_input('none', claims)}."


def signed_with_secret(claims: Mapping[str, object], *, secret: bytes) -> str:
    """Return a JWT signed with HS256, made by hand, since a good library refuses a public key as a secret."""
    message = _signing_input("HS256", claims)
    return f"{message}.{_base64(hmac.digest(secret, message.encode(), 'sha256'))}"


def _signing_input(algorithm: str, claims: Mapping[str, object]) -> str:
    parts = {"alg": algorithm, "typ": "at+jwt"}, claims
    return ".".join(_base64(json.dumps(part).encode()) for part in parts)


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
