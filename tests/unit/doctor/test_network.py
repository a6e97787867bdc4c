"""What the doctor finds on the way to the Server, with real sockets and certificates."""

import contextlib
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest
from tests.certificates import issued, issued_by_intermediate, issued_without_authority, self_signed
from tests.processes import free_port

from lyftdata.bounded_http import tls_context
from lyftdata.doctor.network import Target, check_connection

DAY = timedelta(days=1)
NOW = datetime.now(UTC)


@contextlib.contextmanager
def listening(context=None):
    """Yield the port of a listener on 127.0.0.1, with TLS if there is a context."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with contextlib.suppress(OSError):
                        if context is not None:
                            connection = context.wrap_socket(connection, server_side=True)
                        else:
                            connection.sendall(b"220 mail.example.com ESMTP\r\n")
                        connection.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextlib.contextmanager
def tls_server(certificate, key):
    """Yield the port of a TLS server with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with listening(context) as port:
        yield port


def examined(url, **how):
    """Return the findings about the connection to a Server."""
    return list(check_connection(Target(url, **how), now=NOW))


def only(url, **how):
    """Return the only finding."""
    (finding,) = examined(url, **how)
    return finding


def test_a_name_without_an_address_is_found():
    """With a command that shows the same."""
    finding = only("https://lyftdata.invalid")

    assert finding.check.code == "name_not_resolved"
    assert "getent hosts lyftdata.invalid" in finding.fix


def test_a_port_where_nothing_listens_is_found():
    """With address and port, so that a wrong port is noticed."""
    port = free_port()

    finding = only(f"http://127.0.0.1:{port}")

    assert finding.check.code == "connection_failed"
    assert f"127.0.0.1:{port}: Connection refused" in finding.what


@pytest.mark.parametrize(
    ("family", "host", "shown"),
    [(socket.AF_INET, "127.0.0.2", "127.0.0.2:{}"), (socket.AF_INET6, "::1", "[::1]:{}")],
)
def test_one_address_of_several_that_does_not_answer_is_a_warning(monkeypatch, family, host, shown):
    """For example a name with an IPv6 address on which the Server does not listen."""
    with listening() as port:
        found = [
            (kind, socket.SOCK_STREAM, 6, "", (name, port))
            for kind, name in ((family, host), (socket.AF_INET, "127.0.0.1"))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

        finding = only(f"http://localhost:{port}")

    assert finding.check.code == "address_unreachable"
    assert shown.format(port) in finding.what


def test_an_address_without_tls_is_found():
    """The port of another service, or plain http."""
    with listening() as port:
        assert only(f"https://localhost:{port}").check.code == "not_https"


def test_a_handshake_that_gets_no_answer_is_not_taken_for_plain_http(monkeypatch):
    """A firewall may have dropped it, so the remedy must not be to give up TLS."""
    monkeypatch.setattr("lyftdata.doctor.network._WITHIN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        finding = only(f"https://localhost:{silent.getsockname()[1]}")

    assert finding.check.code == "connection_failed"
    assert "http://" not in finding.fix


@pytest.mark.parametrize(
    ("valid", "code", "message"),
    [
        ((-9 * DAY, -DAY), "certificate_expired", "expired at 20"),
        ((DAY, 9 * DAY), "certificate_not_yet_valid", "valid only from 20"),
        ((-DAY, 9.5 * DAY), "certificate_expires_soon", "expires in 9 days"),
    ],
)
def test_an_expired_or_future_certificate_is_found(tmp_path, valid, code, message):
    """As is one that expires soon."""
    authority, certificate, key = issued(tmp_path, valid=valid)
    with tls_server(certificate, key) as port:
        finding = only(f"https://localhost:{port}", tls_ca=authority)

    assert finding.check.code == code
    assert message in finding.what


def test_a_remedy_names_the_settings_of_the_examined_side(tmp_path):
    """A Server has no LYFTDATA_URL, and trusts the CA in --tls-ca."""
    server = {"url_setting": "LYFTDATA_PUBLIC_URL", "trust": "name it with --tls-ca:"}
    with tls_server(*self_signed(tmp_path)) as port:
        assert "--tls-ca" in only(f"https://localhost:{port}", **server).fix
    assert "LYFTDATA_PUBLIC_URL" in only(f"https://localhost:{free_port()}", **server).fix
    assert "LYFTDATA_PUBLIC_URL" in only("https://lyftdata.invalid", **server).fix


def test_a_certificate_for_another_name_is_found_with_its_names(tmp_path):
    """LYFTDATA_URL can be set to one of them."""
    authority, certificate, key = issued(tmp_path, name="lyftdata.example.com")
    with tls_server(certificate, key) as port:
        finding = only(f"https://localhost:{port}", tls_ca=authority)

    assert finding.check.code == "certificate_for_another_name"
    assert "lyftdata.example.com" in finding.what


def test_a_self_signed_certificate_is_found(tmp_path):
    """It must be configured to be trusted."""
    with tls_server(*self_signed(tmp_path)) as port:
        assert only(f"https://localhost:{port}").check.code == "certificate_self_signed"


def test_an_unknown_ca_is_found_with_its_name(tmp_path):
    """And with the setting that makes it trusted."""
    _, certificate, key = issued(tmp_path)
    with tls_server(certificate, key) as port:
        finding = only(f"https://localhost:{port}")

    assert finding.check.code == "certificate_issuer_unknown"
    assert "tests of lyftdata" in finding.what
    assert "LYFTDATA_TLS_CA" in finding.fix


def test_a_missing_intermediate_is_found_with_its_name(tmp_path):
    """And with the file on the Server that lacks it, since the root is trusted here."""
    authority, certificate, key = issued_by_intermediate(tmp_path)
    with tls_server(certificate, key) as port:
        finding = only(f"https://localhost:{port}", tls_ca=authority)

    assert finding.check.code == "certificate_issuer_unknown"
    assert "'CN=intermediate'" in finding.fix
    assert "LYFTDATA_TLS_CERT" in finding.fix


def test_a_certificate_that_was_not_issued_by_a_ca_is_found(tmp_path):
    """With OpenSSL's message."""
    root, certificate, key = issued_without_authority(tmp_path)
    with tls_server(certificate, key) as port:
        finding = only(f"https://localhost:{port}", tls_ca=root)

    assert finding.check.code == "certificate_rejected"
    assert "CA certificate" in finding.what


def test_a_certificate_that_newer_pythons_reject_is_found(tmp_path, monkeypatch):
    """Python 3.13 sets the strict flag by default."""

    def strict(*arguments, **options):
        context = tls_context(*arguments, **options)
        assert isinstance(context, ssl.SSLContext)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr("lyftdata.doctor.network.tls_context", strict)
    authority, certificate, key = issued(tmp_path, is_complete=False)
    with tls_server(certificate, key) as port:
        finding = only(f"https://localhost:{port}", tls_ca=authority)

    assert finding.check.code == "certificate_incomplete"
    assert "authorityKeyIdentifier" in finding.fix


def test_a_valid_certificate_has_no_finding(tmp_path):
    """Nor has one that is not to be checked."""
    authority, certificate, key = issued(tmp_path, valid=(-DAY, 30 * DAY))
    with tls_server(certificate, key) as port:
        assert examined(f"https://localhost:{port}", tls_ca=authority) == []
        assert examined(f"https://localhost:{port}", insecure=True) == []
