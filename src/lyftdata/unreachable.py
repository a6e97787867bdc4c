"""
Explains to a person why no Server answers at an address: what was tried, what happened, and what to do.

Between a Worker and its Server there may be proxies, firewalls and sign-in pages. Their answers must not be taken for the
Server's.
"""

import shlex
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

import httpx2

from lyftdata.core.text import clean_text
from lyftdata.http_proxies import EnvironmentProxy

# X509_V_ERR_… of openssl/x509_vfy.h that only X509_V_FLAG_X509_STRICT causes; Python 3.13 sets it.
_INCOMPLETE = range(80, 94)
_MAX_CAUSES = 10
_CHECK_URL = "Check LYFTDATA_URL."
_REDIRECTS = range(300, 400)
_OK = range(200, 300)
_GATEWAY_FAULTS = (502, 503, 504)
_PROXY_AUTHENTICATION = 407


def describe_failure(error: Exception, *, url: str, proxy: EnvironmentProxy | None) -> str:
    """Return a sentence about a request without an answer: the address, the proxy if there was one, and the library's message."""
    # The message names the address and the error, never what was sent.
    detail = clean_text(str(error), 200) or (
        "no answer in time" if isinstance(error, TimeoutError) else "the connection was closed"
    )
    return f"{url} cannot be reached{_through(proxy)}: {detail}"


def remedy_for_failure(error: Exception, *, url: str, proxy: EnvironmentProxy | None) -> str:
    """Return what to do about it, or an empty text."""
    detail = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in detail:
        return _certificate_remedy(error, detail)
    if any(part in detail for part in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")):
        return f"That address does not speak https. {_CHECK_URL}"
    if url.startswith("http:") and isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError):
        return f"That address may speak https, and not http. {_CHECK_URL}"
    if proxy is not None:
        host = urlsplit(url).hostname or ""
        return f"Check the proxy of {proxy.variable}, or go to the Server directly: NO_PROXY={host}"
    if any(isinstance(cause, socket.gaierror) for cause in _causes(error)):
        return f"The name does not resolve on this host: check DNS. A container does not read the /etc/hosts of its host. {_CHECK_URL}"
    return ""


def _certificate_remedy(error: Exception, detail: str) -> str:
    if is_incomplete(_verify_code(error)):
        return (
            "The Server's certificate or its CA's lacks what RFC 5280 requires, and Python 3.13 and newer reject that. Issue "
            "them again: the CA's with basicConstraints=critical,CA:TRUE and keyUsage=critical,keyCertSign, both with "
            "subjectKeyIdentifier and authorityKeyIdentifier."
        )
    if "mismatch" in detail.lower():
        return "The certificate is for another name: set LYFTDATA_URL to a name that it holds."
    if "expired" in detail or "not yet valid" in detail:
        return "Renew the Server's certificate, or correct this host's clock."
    return "If the Server's certificate is from a CA of your own, set LYFTDATA_TLS_CA to that CA's certificate (a PEM file)."


def is_incomplete(verify_code: int) -> bool:
    """Return whether OpenSSL rejects a certificate only because it checks RFC 5280 strictly, as Python 3.13 and newer make it do."""
    return verify_code in _INCOMPLETE


def _verify_code(error: BaseException) -> int:
    """Return OpenSSL's verification error code, from the error beneath those of the HTTP library; 0 if there is none."""
    return next(
        (cause.verify_code for cause in _causes(error) if isinstance(cause, ssl.SSLCertVerificationError)), 0
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and those beneath it, the outermost first."""
    below: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if below is None:
            return
        yield below
        below = below.__cause__ or below.__context__


def describe_answer(status: int, *, url: str, location: str | None, proxy: EnvironmentProxy | None) -> str:
    """Return a sentence about an answer that is not a lyftdata Server's."""
    to = f" (Location: {_shown(location)})" if location else ""
    return f"{url} answered {status}{to}{_through(proxy)}, and not as a lyftdata Server does."


def remedy_for_answer(status: int, *, location: str | None, proxy: EnvironmentProxy | None) -> str:
    """Return what to do about it."""
    if status == _PROXY_AUTHENTICATION:
        return f"A proxy wants to know who asks: {_proxy_remedy(proxy)}"
    if status in _REDIRECTS:
        return f"Redirects are not followed. {_new_url(location)}"
    if status in _OK:
        return f"A sign-in page or another service answers there. {_CHECK_URL}"
    if status in _GATEWAY_FAULTS:
        return "A proxy in front of the Server gets no answer from it: start the Server, or correct the address that the proxy has."
    return (
        "A proxy, a firewall or another program answers there. If it protects the Server, let it pass /.well-known/, "
        f"/oauth2/ and /api/. {_CHECK_URL}"
    )


def _through(proxy: EnvironmentProxy | None) -> str:
    return "" if proxy is None else f" through the proxy {proxy.address} ({proxy.variable})"


def _proxy_remedy(proxy: EnvironmentProxy | None) -> str:
    if proxy is None:
        return f"it stands in front of the Server. {_CHECK_URL}"
    return f"put name and password into {proxy.variable}, or name the Server's host in NO_PROXY."


def _new_url(location: str | None) -> str:
    parts = _split(location)
    if parts is None:
        return _CHECK_URL
    # Command injection: an untrusted answer may have chosen it, and people paste it.
    return f"If the Server is there, set LYFTDATA_URL={shlex.quote(clean_text(f'{parts.scheme}://{parts.netloc}', 200))}"


def _shown(location: str | None) -> str:
    """Return a Location without the parts that may be secret: user, query and fragment."""
    parts = _split(location)
    if parts is None:
        return clean_text((location or "").partition("?")[0].partition("#")[0], 200)
    return clean_text(f"{parts.scheme}://{parts.netloc}{parts.path}", 200)


def _split(location: str | None) -> SplitResult | None:
    try:
        parts = urlsplit(location or "")
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return None
    return parts._replace(netloc=parts.netloc.rpartition("@")[2])
