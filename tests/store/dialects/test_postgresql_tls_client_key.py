"""A client certificate's private key for PostgreSQL is loaded without a prompt."""

import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from tests.certificates import self_signed
from tests.postgres import Cluster
from tests.processes import Host
from tests.terminals import run_on_a_terminal

PASSPHRASE = b"a passphrase"
OPEN = """
import asyncio, sys
from lyftdata.store import Store, StoreError
try:
    store = Store.open(sys.argv[1], audit_key=b"k" * 32)
except StoreError as error:
    sys.exit(f"StoreError: {error}")
asyncio.run(store.close())
"""


@pytest.fixture
def client_key(tmp_path: Path) -> tuple[Path, Path]:
    """Return a client certificate and its encrypted key."""
    cert, key = self_signed(tmp_path)
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSPHRASE),
        )
    )
    key.chmod(0o600)
    return cert, key


@pytest.fixture
def tls_cluster(tmp_path: Path):
    """Return a PostgreSQL that accepts TLS connections."""
    (tmp_path / "database").mkdir()
    running = Cluster()
    try:
        running.serve_tls(*self_signed(tmp_path / "database"))
        yield running
    finally:
        running.close()


def test_no_passphrase_is_asked_for(tls_cluster, client_key, tmp_path):
    """Without its passphrase the connection fails at once, on a terminal too; with `sslpassword` it succeeds."""
    cert, key = client_key
    url = f"{tls_cluster.new_database()}?sslmode=require&sslcert={cert}&sslkey={key}"
    environ = Host(tmp_path / "host").environ

    code, written = run_on_a_terminal([sys.executable, "-c", OPEN, url], environ)
    assert (code, "pass phrase" in written, "StoreError" in written) == (1, False, True), written

    given = f"{url}&sslpassword={PASSPHRASE.decode().replace(' ', '%20')}"
    assert run_on_a_terminal([sys.executable, "-c", OPEN, given], environ) == (0, "")
