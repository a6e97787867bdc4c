"""Proxies that nobody here wrote, started from their Debian packages with the files of examples/, and what stands around them."""

import base64
import hmac
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from joserfc import jws
from joserfc.jwk import Key
from sqlalchemy import create_engine
from tests.certificates import self_signed
from tests.processes import free_port, until

from lyftdata.core.keyring import SigningKey, active_key, decrypt_signing_key
from lyftdata.server.clock import utc_now
from lyftdata.server.staging import derive_key
from lyftdata.store.signing_keys import all_signing_keys

EXAMPLES = Path(__file__).parents[2] / "examples"
AUDIENCE = "https://service.example.com"
_MODULES = Path("/usr/lib/apache2/modules")


@dataclass
class Seen:
    """A request as a service has received it."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    client_port: int

    def values(self, name: str) -> list[str]:
        """Return every value of a header, by whatever spelling a service may take for that name."""
        return [value for spelled, value in self.headers if _folded(spelled) == _folded(name)]


def _folded(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower())


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a proxy that a test has ended leaves its connections half open."""


class Service:
    """
    A real HTTP service that knows nothing of us: it keeps what it is asked, and answers `status`.

    It serves as what the proxies protect, and, told to answer as a broken Server would, as the Server.
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

            do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the library's names

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass
class Around:
    """Where a proxy is put: which Server it asks, which service it protects, and what else it must know."""

    root: Path
    server_port: int
    service_port: int
    resource_key: str = ""
    port: int = field(default_factory=free_port)

    @property
    def server_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Peer:
    """A program that was started, its log in a file; ended by us."""

    def __init__(
        self,
        command: list[str],
        *,
        root: Path,
        port: int,
        beside: Sequence[Callable[[], None]] = (),
        environ: Mapping[str, str] = {},
    ) -> None:
        self.port = port
        self._beside = beside
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
                within_s=60,
            )
        except AssertionError:
            self.close()
            raise
        assert self._process.poll() is None, f"{command} has ended:\n{self.log_file.read_text()}"

    def close(self) -> None:
        """End it and what it has started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for end in self._beside:
            end()


PEERS: list[Peer] = []


def listens(port: int) -> bool:
    """Return whether anybody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def program(name: str, package: str) -> str:
    """Return where a program is, or skip."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"no {name} on this machine (Debian: apt-get install {package})")
    return found


def example(path: str, changes: Mapping[str, str]) -> str:
    """Return a file of examples/ with the addresses changed that its reader is to change, each of which must be there."""
    text = (EXAMPLES / path).read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text, f"{path} holds no {old}"
        text = text.replace(old, new)
    return text


def start_nginx(around: Around) -> Peer:
    """Start nginx as Debian's nginx.conf would: with the example as a file of conf.d."""
    root = around.root
    changes = {
        "127.0.0.1:3000": f"127.0.0.1:{around.server_port}",
        "127.0.0.1:9000": f"127.0.0.1:{around.service_port}",
        "127.0.0.1:8080": f"127.0.0.1:{around.port}",
    }
    (root / "lyftdata.conf").write_text(example("nginx/lyftdata.conf", changes))
    places = "".join(
        f"{kind}_temp_path {root}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    (root / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {root}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}include {root}/lyftdata.conf;\n}}\n"
    )
    command = [program("nginx", "nginx"), "-p", str(root), "-e", "stderr", "-c", str(root / "nginx.conf")]
    return Peer(command, root=root, port=around.port)


def start_caddy(around: Around) -> Peer:
    """Start Caddy, without the API by which it could be changed while it runs."""
    changes = {
        "127.0.0.1:3000": f"127.0.0.1:{around.server_port}",
        "127.0.0.1:9000": f"127.0.0.1:{around.service_port}",
        ":8080": f":{around.port}",
    }
    (around.root / "Caddyfile").write_text("{\n\tadmin off\n}\n" + example("caddy/Caddyfile", changes))
    return Peer([program("caddy", "caddy"), "run"], root=around.root, port=around.port)


def write_keys(around: Around, *command: str) -> subprocess.CompletedProcess[str]:
    """Run the script that writes the Server's public keys for HAProxy."""
    return subprocess.run(
        [
            sys.executable,
            str(EXAMPLES / "haproxy" / "write-keys.py"),
            around.server_url,
            str(around.root),
            *command,
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def start_haproxy(around: Around) -> Peer:
    """Start HAProxy with the keys that the Server publishes now."""
    path = program("haproxy", "haproxy")
    written = write_keys(around)
    assert written.returncode == 0, written.stderr
    changes = {
        "http://127.0.0.1:3000": around.server_url,
        "127.0.0.1:9000": f"127.0.0.1:{around.service_port}",
        "127.0.0.1:8080": f"127.0.0.1:{around.port}",
        "/etc/haproxy/lyftdata/": f"{around.root}/",
    }
    (around.root / "haproxy.cfg").write_text(example("haproxy/haproxy.cfg", changes))
    return Peer([path, "-db", "-f", str(around.root / "haproxy.cfg")], root=around.root, port=around.port)


def start_apache(around: Around) -> Peer:
    """Start Apache httpd with the modules that the example names."""
    path = program("apache2", "apache2-bin")
    if not (_MODULES / "mod_auth_openidc.so").exists():
        pytest.skip(
            "no mod_auth_openidc on this machine (Debian: apt-get install libapache2-mod-auth-openidc)"
        )
    root = around.root
    (root / "key.conf").write_text(f"OIDCOAuthClientSecret {around.resource_key}\n")
    # httpd's processes are of another user, whom pytest's directories keep out, and read the certificate anew for each question.
    public = tempfile.TemporaryDirectory()
    Path(public.name).chmod(0o755)
    cert, key = self_signed(Path(public.name))
    tls_port = free_port()
    changes = {
        "lyftdata.example.com": f"localhost:{tls_port}",
        "/etc/ssl/certs/ca-certificates.crt": str(cert),
        "127.0.0.1:9000": f"127.0.0.1:{around.service_port}",
        "127.0.0.1:8080": f"127.0.0.1:{around.port}",
        "/etc/apache2/lyftdata-key.conf": str(root / "key.conf"),
    }
    (root / "lyftdata.conf").write_text(example("apache/lyftdata.conf", changes))
    modules = [
        "mpm_event",
        "authn_core",
        "authz_core",
        "authz_user",
        "auth_openidc",
        "headers",
        "proxy",
        "proxy_http",
        "socache_shmcb",
    ]
    loaded = "".join(f"LoadModule {name}_module {_MODULES}/mod_{name}.so\n" for name in modules)
    user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
    (root / "apache2.conf").write_text(
        f"ServerRoot {root}\nServerName localhost\nPidFile {root}/pid\nDefaultRuntimeDir {root}\nErrorLog /dev/stderr\n"
        f"{loaded}{user}Include {root}/lyftdata.conf\n"
    )
    # The Server speaks plain HTTP here, and the module asks over TLS only: something in front of the Server ends it.
    (root / "tls.pem").write_bytes(cert.read_bytes() + key.read_bytes())
    (root / "tls.cfg").write_text(
        "defaults\n mode http\n timeout client 9s\n timeout server 9s\n timeout connect 9s\n"
        f"listen tls\n bind 127.0.0.1:{tls_port} ssl crt {root}/tls.pem\n server server 127.0.0.1:{around.server_port}\n"
    )
    (root / "tls").mkdir()
    ends_tls = Peer(
        [program("haproxy", "haproxy"), "-db", "-f", str(root / "tls.cfg")], root=root / "tls", port=tls_port
    )
    command = [path, "-D", "FOREGROUND", "-f", str(root / "apache2.conf")]
    return Peer(command, root=root, port=around.port, beside=(ends_tls.close, public.cleanup))


@dataclass(frozen=True)
class Kind:
    """A proxy of some make, and what its way of checking promises."""

    start: Callable[[Around], Peer]
    asks_the_server: bool
    """Whether the Server is asked about each request, so that revocation shows at once."""
    for_the_service: bool = False
    """Whether tokens are for the service (`resource`), and not for the Server."""
    passes_labels: bool = True
    when_down: int = 200
    """What a Worker with a good token reads while the Server is down."""


KINDS = {
    "nginx": Kind(start_nginx, asks_the_server=True, when_down=500),
    "caddy": Kind(start_caddy, asks_the_server=True, when_down=502),
    "haproxy": Kind(start_haproxy, asks_the_server=False, for_the_service=True, passes_labels=False),
    "apache": Kind(
        start_apache, asks_the_server=True, for_the_service=True, passes_labels=False, when_down=401
    ),
}


def server_signing_key(staging_dir: Path) -> SigningKey:
    """Return the key with which a running Server signs now: what is signed with it differs from a good token by its claims alone."""
    kek = derive_key((staging_dir / "secret.key").read_bytes().strip(), purpose="signing keys")
    engine = create_engine(f"sqlite:///{staging_dir}/lyftdata.db")
    with engine.connect() as connection:
        records = all_signing_keys(connection)
    engine.dispose()
    return decrypt_signing_key(active_key(records, utc_now()), kek=kek)


def claims_of(token: str) -> dict[str, Any]:
    """Return what a token says, unchecked."""
    return cast("dict[str, Any]", json.loads(_unbase64(token.split(".")[1])))


def signed(claims: Mapping[str, object], *, key: Key, **header: str) -> str:
    """Return a JWT."""
    registry = jws.JWSRegistry(algorithms=[header["alg"]])
    return jws.serialize_compact(dict(header), json.dumps(claims), key, registry=registry)


def unsigned(claims: Mapping[str, object]) -> str:
    """Return a JWT with `"alg":"none"`."""
    return f"{_signing_input('none', claims)}."


def signed_with_secret(claims: Mapping[str, object], *, secret: bytes) -> str:
    """Return a JWT under HS256; by hand, since a good library refuses to take a public key for a secret."""
    message = _signing_input("HS256", claims)
    return f"{message}.{_base64(hmac.digest(secret, message.encode(), 'sha256'))}"


def _signing_input(algorithm: str, claims: Mapping[str, object]) -> str:
    parts = {"alg": algorithm, "typ": "at+jwt"}, claims
    return ".".join(_base64(json.dumps(part).encode()) for part in parts)


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
