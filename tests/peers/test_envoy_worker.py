"""Envoy as a Worker: it gets tokens with client credentials and adds one to a program's requests (examples/envoy/worker.yaml)."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.peers.guarded import Fleet, Guarded
from tests.peers.proxies import Peer, example
from tests.peers.proxy_kinds import KINDS, start_envoy_with
from tests.processes import free_port, until

FOR_THE_SERVICE = """\
                          # endpoint_params:
                          #   - {name: resource, value: https://service.example.com}
"""


class Outbound:
    """An outbound proxy: Envoy with an API key, which sends a program's requests to a service behind a proxy."""

    def __init__(self, guarded: Guarded, root: Path, *, key: str) -> None:
        self._root = root
        self.write_key(key)
        port = free_port()
        changes = {
            "port_value: 8081": f"port_value: {port}",
            "port_value: 8080": f"port_value: {guarded.peer.port}",
            "port_value: 3000": f"port_value: {guarded.fleet.site.port}",
            "127.0.0.1:3000": f"127.0.0.1:{guarded.fleet.site.port}",
            "client_id: press": "client_id: plain",
            "/etc/envoy/key.yaml": str(root / "key.yaml"),
        }
        if guarded.kind.for_the_service:
            changes[FOR_THE_SERVICE] = FOR_THE_SERVICE.replace("# ", "")
        (root / "worker.yaml").write_text(example("envoy/worker.yaml", changes))
        self.peer: Peer = start_envoy_with(root / "worker.yaml", port=port)

    def write_key(self, key: str) -> None:
        """Replace the key file atomically."""
        draft = self._root / "draft"
        draft.write_text(example("envoy/key.yaml", {"inline_string: KEY": f"inline_string: {key}"}))
        draft.replace(self._root / "key.yaml")

    def status(self) -> int:
        """Send the service a request with a token that the program made up; return the status."""
        return httpx2.get(
            f"{self.peer.url}/orders", headers={"Authorization": "Bearer nonsense"}, timeout=180
        ).status_code


@pytest.fixture(scope="module", params=["nginx", "envoy_jwt"])
def service(
    request: pytest.FixtureRequest, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """Return a service behind a proxy that accepts tokens for the Server, then behind one that accepts tokens for the service."""
    opened = Guarded(KINDS[request.param], fleet, tmp_path_factory.mktemp(request.param))
    yield opened
    opened.close()


def test_envoy_adds_the_workers_token(service, tmp_path):
    """A program that does not know tokens reaches the service as the Worker; a token that it sends itself is replaced."""
    outbound = Outbound(service, tmp_path, key=service.fleet.keys["plain"])

    until(lambda: outbound.status() == 200, "Envoy has a token")

    seen = service.service.seen[-1]
    assert seen.path == "/orders"
    assert seen.values("X-Lyftdata-Worker-Id") == ["plain"]
    assert seen.values("Authorization") == []
    assert service.fleet.operator.json("workers", "show", "plain")["status"] == "never_connected"
    outbound.peer.close()


def test_envoy_sends_nothing_without_a_token(service, tmp_path):
    """With a wrong key no request reaches the service; once the right key is in the file, requests pass without a restart."""
    before = len(service.service.seen)
    outbound = Outbound(service, tmp_path, key="lyftdata_AAAAAAAAAA_wrong")
    assert {outbound.status() for _ in range(5)} == {401}
    assert len(service.service.seen) == before

    outbound.write_key(service.fleet.keys["plain"])

    until(lambda: outbound.status() == 200, "Envoy has read the key")
    outbound.peer.close()


def test_envoy_logs_neither_key_nor_token(service, tmp_path):
    """Envoy's log contains no credential."""
    key = service.fleet.keys["plain"]
    outbound = Outbound(service, tmp_path, key=key)
    until(lambda: outbound.status() == 200, "Envoy has a token")
    log = outbound.peer.log_file.read_text(encoding="utf-8")
    assert key not in log
    assert "eyJ" not in log
    outbound.peer.close()


def test_a_disabled_worker_is_refused(fleet, tmp_path, tmp_path_factory):
    """A proxy that asks the Server refuses the token that Envoy still holds."""
    guarded = Guarded(KINDS["nginx"], fleet, tmp_path_factory.mktemp("nginx"))
    outbound = Outbound(guarded, tmp_path, key=fleet.keys["plain"])
    until(lambda: outbound.status() == 200, "Envoy has a token")

    fleet.disable("plain")
    try:
        until(lambda: outbound.status() == 401, "the Worker is refused")
    finally:
        fleet.operator.done("workers", "enable", "plain")
        outbound.peer.close()
        guarded.close()
