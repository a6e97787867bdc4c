"""Checks the connection to the Server: its name, its addresses, its certificate."""

import socket
import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from cryptography import x509

from lyftdata.bounded_http import tls_context
from lyftdata.core.origins import DEFAULT_PORTS
from lyftdata.core.text import clean_text, count
from lyftdata.doctor import findings
from lyftdata.doctor.findings import Check, Finding
from lyftdata.unreachable import is_incomplete

_WITHIN_S = 10.0
_EXPIRES_SOON = timedelta(days=14)
_RENEW = "Renew the Server's certificate (LYFTDATA_TLS_CERT on the Server, or at the proxy in front of it)."

_ISSUE_AGAIN = (
    "Issue them again: the CA's with basicConstraints=critical,CA:TRUE and keyUsage=critical,keyCertSign, both with "
    "subjectKeyIdentifier and authorityKeyIdentifier."
)

# By X509_V_ERR_… of openssl/x509_vfy.h.
_UNKNOWN_ISSUER = {19, 20, 21}
_ANOTHER_NAME = {62, 64}
_CAUSES = {
    9: (
        findings.CERTIFICATE_NOT_YET_VALID,
        "Correct this host's clock, or issue the certificate again.",
    ),
    10: (findings.CERTIFICATE_EXPIRED, f"{_RENEW} If this host's clock is wrong, correct that."),
}
_SELF_SIGNED = 18


class Target(msgspec.Struct, frozen=True):
    """
    The Server's address, how its certificate is checked (see `bounded_http.tls_context`), and the settings for both.

    Attributes:
        url_setting: The variable that holds the address.
        trust: How to make a CA trusted, as the beginning of a sentence that ends with its certificate.
    """

    url: str
    tls_ca: Path | None = None
    insecure: bool = False
    url_setting: str = "LYFTDATA_URL"
    trust: str = "set LYFTDATA_TLS_CA to"


class Address(msgspec.Struct, frozen=True):
    """One address of a name, as returned by `socket.getaddrinfo`."""

    family: int
    sockaddr: tuple[Any, ...]

    def __str__(self) -> str:
        host, port = self.sockaddr[:2]
        return f"[{host}]:{port}" if self.family == socket.AF_INET6 else f"{host}:{port}"


def check_connection(target: Target, *, now: datetime) -> Iterator[Finding]:
    """
    Yield what prevents a trusted connection from this host to a Server that is reached without a proxy.

    Args:
        target: The Server.
        now: The host's time, aware UTC.
    """
    parts = urlsplit(target.url)
    host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
    try:
        addresses = _resolve(host, port)
    except OSError as error:
        yield Finding(
            findings.NAME_NOT_RESOLVED,
            f"{host} has no address: {_words(error)}.",
            f"Correct {target.url_setting}, or this host's DNS; try: getent hosts {host}",
        )
        return
    tried = {address: _try_to_connect(address) for address in addresses}
    failures = {address: failure for address, failure in tried.items() if failure is not None}
    reachable = [address for address in addresses if address not in failures]
    for address, failure in failures.items():
        yield Finding(
            findings.ADDRESS_UNREACHABLE if reachable else findings.CONNECTION_FAILED,
            f"{host} at {address}: {_words(failure)}.",
            _how_to_connect(failure, target=target, address=address, others=reachable),
        )
    if reachable and parts.scheme == "https":
        yield from check_certificate(target, host, reachable[0], now=now)


def _resolve(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(Address(family, tuple(sockaddr)) for family, _, _, _, sockaddr in found))


def _connect(address: Address) -> socket.socket:
    connection = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        connection.settimeout(_WITHIN_S)
        connection.connect(address.sockaddr)
    except BaseException:
        connection.close()
        raise
    return connection


def _try_to_connect(address: Address) -> OSError | None:
    try:
        _connect(address).close()
    except OSError as error:
        return error
    return None


def _how_to_connect(
    error: OSError, *, target: Target, address: Address, others: Sequence[Address] = ()
) -> str:
    if others:
        return f"Remove {address.sockaddr[0]} from the DNS records of {urlsplit(target.url).hostname}, or let the Server listen there (LYFTDATA_BIND_ADDRESS)."
    if isinstance(error, ConnectionRefusedError):
        return f"Start the Server, or correct the port in {target.url_setting}; the Server's log names its address (LYFTDATA_BIND_ADDRESS)."
    return f"Let this host through to {address} (firewall, security group, route), or correct {target.url_setting}."


def check_certificate(target: Target, host: str, address: Address, *, now: datetime) -> Iterator[Finding]:
    """Yield what is wrong with the certificate that the Server presents at an address."""
    context = tls_context(target.url, tls_ca=target.tls_ca, insecure=target.insecure)
    assert isinstance(context, ssl.SSLContext)  # noqa: S101 - https
    try:
        with _connect(address) as plain, context.wrap_socket(plain, server_hostname=host) as connection:
            shown = connection.getpeercert(binary_form=True)
    except ssl.SSLCertVerificationError as error:
        yield _untrusted(error, target=target, host=host, certificate=_presented_certificate(host, address))
        return
    except OSError as error:  # ssl.SSLError is one
        if not isinstance(error, ssl.SSLError):
            # Does not suggest plain http: a firewall that drops or resets a handshake looks like this.
            yield Finding(
                findings.CONNECTION_FAILED,
                f"{host} at {address} accepts connections, but the TLS handshake fails: {_words(error)}.",
                f"Look for a firewall between this host and {address}, and for a Server or proxy there that hangs.",
            )
            return
        yield Finding(
            findings.NOT_HTTPS,
            f"{address} does not speak TLS: {_words(error)}.",
            f"Set {target.url_setting} to the port that does, or to http:// if that is meant (LYFTDATA_ALLOW_HTTP).",
        )
        return
    certificate = x509.load_der_x509_certificate(shown or b"")
    if not target.insecure:
        yield from check_expiry(certificate, f"The certificate of {host}", now=now)


def check_expiry(certificate: x509.Certificate, what: str, *, now: datetime) -> Iterator[Finding]:
    """Yield a finding if a certificate has expired, or will soon."""
    left, at = certificate.not_valid_after_utc - now, _time(certificate.not_valid_after_utc)
    if left <= timedelta():
        yield Finding(findings.CERTIFICATE_EXPIRED, f"{what} expired at {at}.", _RENEW)
    elif left < _EXPIRES_SOON:
        within = f"in {count(left.days, 'day')}" if left.days else "within a day"
        yield Finding(findings.CERTIFICATE_EXPIRES_SOON, f"{what} expires {within}, at {at}.", _RENEW)


def _presented_certificate(host: str, address: Address) -> x509.Certificate | None:
    """Return the certificate presented there, trusted or not: only to describe what is wrong with it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with _connect(address) as plain, context.wrap_socket(plain, server_hostname=host) as connection:
            return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
    except (OSError, ValueError):
        return None


def _untrusted(
    error: ssl.SSLCertVerificationError, *, target: Target, host: str, certificate: x509.Certificate | None
) -> Finding:
    check, fix = _cause_and_fix(error.verify_code, target, certificate)
    return Finding(check, f"The certificate of {host}: {_seen(check, certificate, error)}.", fix)


def _cause_and_fix(code: int, target: Target, certificate: x509.Certificate | None) -> tuple[Check, str]:
    if code in _ANOTHER_NAME:
        return (
            findings.CERTIFICATE_FOR_ANOTHER_NAME,
            f"Set {target.url_setting} to one of the certificate's names, or issue it for this name.",
        )
    if code == _SELF_SIGNED:
        return findings.CERTIFICATE_SELF_SIGNED, f"Copy that certificate here, and {target.trust} it."
    if code in _UNKNOWN_ISSUER:
        issuer = _name(certificate.issuer) if certificate is not None else "its issuer"
        return (
            findings.CERTIFICATE_ISSUER_UNKNOWN,
            f"If {issuer} is a CA of your own, {target.trust} its certificate. If it is an intermediate, append its "
            "certificate to LYFTDATA_TLS_CERT on the Server: the Server must send the whole chain.",
        )
    if is_incomplete(code):
        return findings.CERTIFICATE_INCOMPLETE, _ISSUE_AGAIN
    return _CAUSES.get(code, (findings.CERTIFICATE_REJECTED, _RENEW))


def _seen(check: Check, certificate: x509.Certificate | None, error: ssl.SSLCertVerificationError) -> str:
    if certificate is None:
        return clean_text(error.verify_message, 200)
    if check is findings.CERTIFICATE_EXPIRED:
        return f"expired at {_time(certificate.not_valid_after_utc)}"
    if check is findings.CERTIFICATE_NOT_YET_VALID:
        return f"valid only from {_time(certificate.not_valid_before_utc)}"
    if check is findings.CERTIFICATE_FOR_ANOTHER_NAME:
        return f"holds only the names {', '.join(_names(certificate)) or _name(certificate.subject)}"
    if check is findings.CERTIFICATE_ISSUER_UNKNOWN:
        return f"issued by {_name(certificate.issuer)}, which this host does not know"
    return clean_text(error.verify_message, 200)


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    found = [str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress)]
    return [clean_text(name, 100) for name in found[:10]]


def _name(name: x509.Name) -> str:
    return clean_text(f"'{name.rfc4514_string()}'", 200)


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _words(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_WITHIN_S:g} s"
    return clean_text(error.strerror or str(error) or type(error).__name__, 200)
