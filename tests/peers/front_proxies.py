"""
Proxies in front of the Server, as an operator would set them up: everything is passed on, upgrade offers too.

Each sets `X-Forwarded-For` to the address of its client, and prevents the client's own value from being trusted.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
from tests.peers.proxies import Peer, program
from tests.processes import free_port, until

Start = Callable[[Path, int], Peer]


def bundled(name: str) -> str:
    """Return the path of a program from a Python package."""
    return str(Path(sys.executable).with_name(name))


def caddy(root: Path, server_port: int) -> Peer:
    """Start Caddy with the line from its documentation."""
    port = free_port()
    (root / "Caddyfile").write_text(
        "{\n\tadmin off\n\tauto_https off\n}\n"
        f"http://:{port} {{\n\tbind 127.0.0.1\n\treverse_proxy 127.0.0.1:{server_port}\n}}\n"
    )
    return Peer([program("caddy", "caddy"), "run"], root=root, port=port)


def nginx(root: Path, server_port: int) -> Peer:
    """Start nginx as for WebSockets: HTTP/1.1 to the Server, kept-alive connections, streamed requests, and passed-on upgrade offers."""
    port = free_port()
    places = "".join(
        f"{kind}_temp_path {root}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    (root / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {root}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}"
        f"upstream server {{\nserver 127.0.0.1:{server_port};\nkeepalive 8;\n}}\n"
        f"server {{\nlisten 127.0.0.1:{port};\nlocation / {{\n"
        "proxy_pass http://server;\nproxy_http_version 1.1;\nproxy_request_buffering off;\n"
        "proxy_set_header Host $http_host;\nproxy_set_header X-Forwarded-For $remote_addr;\n"
        "proxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection $http_connection;\n}\n}\n}\n"
    )
    command = [program("nginx", "nginx"), "-p", str(root), "-e", "stderr", "-c", str(root / "nginx.conf")]
    return Peer(command, root=root, port=port)


def haproxy(root: Path, server_port: int) -> Peer:
    """Start HAProxy with connections to the Server shared between clients, which is where smuggling does the most harm."""
    port = free_port()
    (root / "haproxy.cfg").write_text(
        "defaults\n mode http\n timeout client 9s\n timeout server 9s\n timeout connect 9s\n http-reuse always\n"
        f"frontend clients\n bind 127.0.0.1:{port}\n"
        " http-request set-header X-Forwarded-For %[src]\n default_backend server\n"
        f"backend server\n server server 127.0.0.1:{server_port}\n"
    )
    return Peer([program("haproxy", "haproxy"), "-db", "-f", str(root / "haproxy.cfg")], root=root, port=port)


def traefik(root: Path, server_port: int) -> Peer:
    """Start Traefik with one router; by default it trusts no client's `X-Forwarded-For`."""
    port = free_port()
    (root / "dynamic.yml").write_text(
        "http:\n  routers:\n    all:\n      rule: PathPrefix(`/`)\n      service: server\n"
        f"  services:\n    server:\n      loadBalancer:\n        servers:\n          - url: http://127.0.0.1:{server_port}\n"
    )
    (root / "traefik.yml").write_text(
        f"entryPoints:\n  web:\n    address: 127.0.0.1:{port}\n"
        f"providers:\n  file:\n    filename: {root}/dynamic.yml\n"
        "global:\n  checkNewVersion: false\n  sendAnonymousUsage: false\n"
    )
    peer = Peer([bundled("traefik"), f"--configFile={root}/traefik.yml"], root=root, port=port)
    # It listens before it has read its routes.
    until(lambda: httpx2.get(f"{peer.url}/healthz", timeout=180).status_code == 200, "traefik has its route")
    return peer


def envoy(root: Path, server_port: int) -> Peer:
    """Start Envoy as an edge proxy (`use_remote_address`) that passes upgrade offers on."""
    port = free_port()
    (root / "envoy.yaml").write_text(_ENVOY.format(port=port, server_port=server_port))
    command = [
        bundled("envoy"),
        "-c",
        str(root / "envoy.yaml"),
        "--concurrency",
        "1",
        "--disable-hot-restart",
    ]
    return Peer(command, root=root, port=port)


_ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          use_remote_address: true
          upgrade_configs: [{{upgrade_type: websocket}}, {{upgrade_type: h2c}}, {{upgrade_type: foo}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: /}}, route: {{cluster: server}}}}]
  clusters:
  - name: server
    type: STATIC
    load_assignment:
      cluster_name: server
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {server_port}}}}}}}
"""

FRONT_PROXIES: dict[str, Start] = {
    "caddy": caddy,
    "nginx": nginx,
    "haproxy": haproxy,
    "traefik": traefik,
    "envoy": envoy,
}
