"""The Server's TLS versions and ciphers, whatever this machine's defaults are, and encrypted keys."""

import socket
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.certificates import self_signed
from tests.processes import PASSWORD, Host, Site, free_port
from tests.terminals import run_on_a_terminal


def agreed(port: int, version: ssl.TLSVersion, ciphers: str | None = None) -> str | None:
    """Return the cipher that the Server chooses for a client that offers only these, or None if it accepts none of them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = version
    # OpenSSL's level 0 lets the client offer weak ciphers, so that it is the Server that refuses them.
    context.set_ciphers(f"{ciphers or 'ALL'}:@SECLEVEL=0")
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=180) as plain,
            context.wrap_socket(plain) as connection,
        ):
            chosen = connection.cipher()
            assert chosen is not None
            return chosen[0]
    except (ssl.SSLError, ConnectionResetError):
        return None


@pytest.fixture
def tls_site(tmp_path: Path, open_site) -> Site:
    """Return a Server with a certificate."""
    cert, key = self_signed(tmp_path)
    return open_site(LYFTDATA_TLS_CERT=str(cert), LYFTDATA_TLS_KEY=str(key))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_the_server_accepts_only_modern_tls_versions_and_ciphers(tls_site):
    """TLS 1.2 and 1.3 with forward secrecy and authenticated encryption; no CBC, no SHA-1, no older version."""
    v1_2 = ssl.TLSVersion.TLSv1_2
    for ciphers in ("ECDHE+AESGCM", "ECDHE+CHACHA20", None):
        assert "ECDHE-ECDSA-" in str(agreed(tls_site.port, v1_2, ciphers))
    assert str(agreed(tls_site.port, ssl.TLSVersion.TLSv1_3)).startswith("TLS_")

    for ciphers in (
        "ECDHE+AES:!AESGCM:!AESCCM",
        "ECDHE+SHA1",
        "ECDHE+SHA256:!AESGCM:!CHACHA20",
        "ECDHE+AESCCM",
        "AES256-GCM-SHA384",
    ):
        assert agreed(tls_site.port, v1_2, ciphers) is None, ciphers
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        assert agreed(tls_site.port, version) is None


KEYS: dict[str, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = {
    "EC": ec.generate_private_key(ec.SECP256R1()),
    "RSA": rsa.generate_private_key(65537, 2048),
}
FORMATS = [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL]


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("form", FORMATS, ids=["PKCS8", "traditional"])
def test_the_server_never_asks_for_a_passphrase_on_a_terminal(tmp_path, kind, form):
    """It names the encrypted key file and exits, for every key format."""
    cert, key = self_signed(tmp_path)
    encryption = serialization.BestAvailableEncryption(b"a passphrase")
    key.write_bytes(KEYS[kind].private_bytes(serialization.Encoding.PEM, form, encryption))
    host = Host(tmp_path / "host")
    environ = host.environ | {
        "LYFTDATA_BIND_ADDRESS": f"127.0.0.1:{free_port()}",
        "LYFTDATA_STAGING_DIR": str(tmp_path / "other"),
        "LYFTDATA_ADMIN_INIT_PASSWORD": PASSWORD,
        "LYFTDATA_TLS_CERT": str(cert),
        "LYFTDATA_TLS_KEY": str(key),
        # A terminal so wide that no line is wrapped.
        "COLUMNS": "400",
    }

    code, written = run_on_a_terminal([*host.python, "run", "server"], environ)

    assert code == 2
    assert f"LYFTDATA_TLS_KEY: {key} is encrypted" in written
    assert "pass phrase" not in written
    assert not (tmp_path / "other").exists()
