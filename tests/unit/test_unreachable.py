"""The remedy for a rejected certificate depends on the cause."""

import re
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from tests.certificates import issued

from lyftdata.unreachable import remedy_for_failure

PRODUCTION = Path(__file__).parents[2] / "docs" / "how-to" / "set-up-for-production.md"


@pytest.fixture
def serve():
    """Return a function that serves https with a certificate, and returns the URL."""
    servers = []

    def start(certificate, key):
        server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"https://localhost:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(url, authority):
    """Send a request with the strict checks of Python 3.13, whatever this version is."""
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with httpx2.Client(verify=context, trust_env=False) as http:
        return http.get(url)


@pytest.mark.parametrize("is_complete", [True, False])
def test_an_incomplete_certificate_has_its_own_remedy(tmp_path, serve, is_complete):
    """If LYFTDATA_TLS_CA is set already, the remedy is to issue the certificates again."""
    authority, certificate, key = issued(tmp_path, is_complete=is_complete)
    url = serve(certificate, key)
    if is_complete:
        assert ask(url, authority).status_code == 501
        return
    with pytest.raises(httpx2.ConnectError) as failed:
        ask(url, authority)
    assert "keyUsage" in remedy_for_failure(failed.value, url=url, proxy=None)

    with pytest.raises(httpx2.ConnectError) as failed:
        ask(url, None)
    assert "set LYFTDATA_TLS_CA" in remedy_for_failure(failed.value, url=url, proxy=None)


def test_the_documented_commands_make_complete_certificates(tmp_path):
    """Certificates made as set-up-for-production.md describes pass the strictest check."""
    page = PRODUCTION.read_text(encoding="utf-8").partition("## 2. Make certificates")[2]
    (commands, *_) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    subprocess.run(["sh", "-ec", commands], cwd=tmp_path, check=True, capture_output=True)

    names = ("lyftdata", "lyftdata-1", "lyftdata-2", "db")
    verify = ["openssl", "verify", "-x509_strict", "-CAfile", "ca.pem", *(f"{name}.pem" for name in names)]
    subprocess.run(verify, cwd=tmp_path, check=True, capture_output=True)


def test_a_name_that_does_not_resolve_points_to_dns():
    """The remedy names DNS and containers, which do not read their host's /etc/hosts."""
    url = "https://lyftdata.invalid"
    with pytest.raises(httpx2.ConnectError) as failed:
        ask(url, None)

    remedy = remedy_for_failure(failed.value, url=url, proxy=None)

    assert "check DNS" in remedy
    assert "/etc/hosts" in remedy
