"""Replacing a leaked TLS key whose certificate a private CA issued: the page's steps, with a real Server and agent."""

import queue
import shutil
import socket
import ssl
import threading
from pathlib import Path

from tests.behaviour.journeys.conftest import OpenSite
from tests.builders import ENROLLMENT_KEY
from tests.certificates import issued
from tests.processes import WITHIN_S


class Impostor:
    """An attacker at the Server's address with the leaked key and its certificate; records what it receives."""

    def __init__(self, port: int, cert: Path, key: Path) -> None:
        self.received: list[bytes] = []
        self.refusals: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(cert, key)
        self._listener = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(connection, server_side=True) as tls:
                    self.received.append(tls.recv(65_536))
            except OSError as error:
                self.refusals.put(str(error))

    def close(self) -> None:
        """Stop it."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def test_a_leaked_tls_key_can_be_replaced_while_workers_run(open_site: OpenSite, tmp_path: Path) -> None:
    """With a new CA too: Workers trust both CAs, then only the new one; afterwards the leaked key cannot be used against them."""
    old, new, hosts = (tmp_path / name for name in ("old", "new", "served"))
    for directory in (old, new, hosts):
        directory.mkdir()
    (old_ca, old_cert, old_key), (new_ca, new_cert, new_key) = issued(old), issued(new)
    cert, key, trusted = (hosts / name for name in ("cert.pem", "key.pem", "ca.pem"))
    for source, target in ((old_cert, cert), (old_key, key), (old_ca, trusted)):
        shutil.copy(source, target)
    site = open_site(
        module="tests.behaviour.journeys.hasty_certificates",
        LYFTDATA_TLS_CERT=str(cert),
        LYFTDATA_TLS_KEY=str(key),
        LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY,
    )
    host = site.worker_host(
        "worker", LYFTDATA_WORKER_NAME="press", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
    )
    host.environ.update(LYFTDATA_URL=f"https://localhost:{site.port}", LYFTDATA_TLS_CA=str(trusted))
    agent = host.start("run", "worker")
    agent.wait_for("online")

    trusted.write_bytes(old_ca.read_bytes() + new_ca.read_bytes())
    # A certificate without its key is not served.
    shutil.copy(new_cert, cert)
    site.server.wait_for("certificate_reload_failed")
    shutil.copy(new_key, key)
    site.server.wait_for("certificate_reloaded")
    host.done("token")
    shutil.copy(new_ca, trusted)
    host.done("token")

    assert site.server.terminate() == 0
    impostor = Impostor(site.port, old_cert, old_key)
    try:
        refused = host.run("token")
        assert refused.returncode != 0
        assert "certificate" in refused.stderr
        # Its thread may record this after the Worker has ended.
        assert impostor.refusals.get(timeout=WITHIN_S)
        assert impostor.received == []
    finally:
        impostor.close()
    site.start_server()
    agent.wait_for("online", count=2)
    assert agent.events("refused") == []
    assert agent.terminate() == 0
