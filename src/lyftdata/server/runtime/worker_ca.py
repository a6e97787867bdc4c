"""
Finds the certificates that Workers must trust for this Server, if the system's are not enough: copyable texts include them.

An operator can configure them (LYFTDATA_WORKER_TLS_CA). Otherwise they are taken from the Server's own chain, if it serves TLS and this
host does not trust it. Behind a proxy none are found: Workers see the proxy's certificate, which the Server does not know.
"""

import asyncio
import ssl
import stat
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate, load_pem_x509_certificates

from lyftdata.core.errors import SettingsError
from lyftdata.server.runtime.settings import ServerSettings
from lyftdata.server.runtime.tls_files import server_context
from lyftdata.watched_file import WatchedFile

_MAX_CERTIFICATES = 4
_MAX_BYTES = 1_000_000
# X509_V_ERR_… of openssl/x509_vfy.h: self-signed, an untrusted root, and a missing issuer.
_NOT_TRUSTED = frozenset({18, 19, 20, 21})


class NeededCa(msgspec.Struct, frozen=True):
    """
    What Workers need to trust the Server.

    `pem` contains only certificates; it is "" if the Server does not know them.
    """

    pem: str = ""


class WorkerCa:
    """
    Finds what Workers need to trust; reloads when a file changes.

    Args:
        settings: Name the files.
        issuer: The URL that Workers are given.
    """

    def __init__(self, settings: ServerSettings, *, issuer: str) -> None:
        self._given = settings.worker_tls_ca
        self._cert = settings.tls_cert
        self._key = settings.tls_key
        self._is_behind_proxy = bool(settings.trusted_proxies)
        self._issuer = urlsplit(issuer)
        self._watched = WatchedFile(self._given or self._cert)
        self._lock = asyncio.Lock()
        self._is_known = False
        self._found: NeededCa | None = None

    async def find(self) -> NeededCa | None:
        """Return what Workers need to trust, or None if the system's certificates are enough, or there is no TLS."""
        if self._issuer.scheme != "https":
            return None
        async with self._lock:
            if self._watched.has_changed() or not self._is_known:
                self._found = await asyncio.to_thread(self._look)
                self._is_known = True
            return self._found

    def _look(self) -> NeededCa | None:
        try:
            if self._given is not None:
                return NeededCa(read_certificates(self._given))
            if self._cert is None or self._key is None or self._is_behind_proxy:
                return None
            return _look_at_chain(self._cert, self._key, self._issuer.hostname or "")
        except (OSError, ValueError):
            # A renewal is in progress: use the last valid result until the files can be read again.
            self._watched.forget()
            if self._is_known:
                return self._found
            return NeededCa() if self._given is not None else None


def read_certificates(file: Path) -> str:
    """
    Return the certificates in a file as PEM, and nothing else from it.

    Secret disclosure: a file with a chain may also contain its private key. Each certificate is encoded again, nothing is copied.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not a regular file, contains no certificate, or too many for a text that people paste.
    """
    # Reading a pipe could block for ever, and the pages with it.
    status = file.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
        raise ValueError("is not a file of certificates")
    certificates = load_pem_x509_certificates(file.read_bytes())
    if len(certificates) > _MAX_CERTIFICATES:
        raise ValueError(f"holds {len(certificates)} certificates; at most {_MAX_CERTIFICATES} can be pasted")
    return _pem(*certificates)


def check_worker_ca(file: Path | None) -> None:
    """
    Check that the file in LYFTDATA_WORKER_TLS_CA can be handed out; does nothing if it is not set.

    Raises:
        SettingsError: Names the variable, the file and the fault.
    """
    if file is None:
        return
    try:
        read_certificates(file)
    except OSError as error:
        problem = f"cannot be read: {(error.strerror or str(error)).lower()}"
    except ValueError as error:
        problem = str(error) if "at most" in str(error) else "is not a file of certificates (PEM)"
    else:
        return
    raise SettingsError([f"LYFTDATA_WORKER_TLS_CA: {file} {problem}."])


def _look_at_chain(cert: Path, key: Path, host: str) -> NeededCa | None:
    server = server_context(cert, key)
    # As a Worker would verify it, with the certificates of this host's system. The name is not checked yet.
    public = ssl.create_default_context()
    public.check_hostname = False
    if not _has_roots(public) or _verify_code(server, public, host) not in _NOT_TRUSTED:
        return None
    root = next(filter(_signs_itself, reversed(load_pem_x509_certificates(cert.read_bytes()))), None)
    if root is None:
        return NeededCa()
    pem = _pem(root)
    # Lock-out: a Worker that is given a CA trusts no other one. A CA that does not match the URL is not handed out.
    return NeededCa(pem) if _verify_code(server, ssl.create_default_context(cadata=pem), host) == 0 else None


def _verify_code(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> int:
    """Return a client's verdict on a Server's certificate, 0 if it is valid: a handshake without a network."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for side in sides * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            return error.verify_code
    return 0


def _has_roots(context: ssl.SSLContext) -> bool:
    """Return whether this host trusts any certificates: if not, no chain says anything about Workers' hosts."""
    directory = ssl.get_default_verify_paths().capath
    has_directory = bool(directory) and any(Path(directory).iterdir())
    return has_directory or context.cert_store_stats()["x509_ca"] > 0


def _signs_itself(certificate: Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _pem(*certificates: Certificate) -> str:
    return "".join(each.public_bytes(Encoding.PEM).decode("ascii") for each in certificates)
