"""
The Server's TLS: protocol versions, certificate and private key.

OpenSSL asks for the passphrase of an encrypted key on the terminal, which would block every response of a running
Server. Loading here never asks: an encrypted key is an error.
"""

import ssl
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from lyftdata.core.errors import SettingsError
from lyftdata.core.secret import Secret
from lyftdata.core.text import clean_text
from lyftdata.server.runtime.settings_values import is_shared_database

# For TLS 1.2; those of TLS 1.3 are all acceptable. Forward secrecy and authenticated encryption (RFC 9325, section 4.2): neither CBC
# nor SHA-1, whatever the defaults of Python, OpenSSL or uvicorn on this machine are.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class EncryptedKeyError(OSError):
    """The private key needs a passphrase."""


def server_context(cert: Path, key: Path) -> ssl.SSLContext:
    """
    Create the context for a Server's TLS: version 1.2 or newer (RFC 9325, section 3.1.1), with the ciphers above.

    Raises:
        As for `load_certificate`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    # In TLS 1.2 a client could repeat the expensive handshake on one connection, which OpenSSL before 3 allows.
    context.options |= ssl.OP_NO_RENEGOTIATION
    load_certificate(context, cert, key)
    return context


def load_certificate(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    """
    Load a certificate chain and its key into a context, without ever asking for a passphrase.

    Raises:
        OSError: A file cannot be read or, as ssl.SSLError, its content cannot be used.
        EncryptedKeyError: The key is encrypted.
    """
    context.load_cert_chain(cert, key, password=_refuse_passphrase)


def check_tls_files(cert: Path | None, key: Path | None) -> None:
    """
    Check that the two files can be used together; does nothing if TLS is off.

    Raises:
        SettingsError: Names the variable, the file and the fault.
    """
    if cert is None or key is None:
        return
    problems = [
        f"{name}: {file} cannot be read: {problem}."
        for name, file in (("LYFTDATA_TLS_CERT", cert), ("LYFTDATA_TLS_KEY", key))
        if (problem := _unreadable(file))
    ]
    if problems:
        raise SettingsError(problems)
    try:
        server_context(cert, key)
    except EncryptedKeyError as error:
        raise SettingsError(
            [
                f"LYFTDATA_TLS_KEY: {key} is encrypted, and the Server asks for no passphrase. "
                "Give it the decrypted key, in a file that only the Server's user can read."
            ]
        ) from error
    except OSError as error:
        raise SettingsError([_explain(error, cert, key)]) from error


def check_database_ca(url: Secret | None) -> None:
    """
    Check that the CA certificate in a PostgreSQL URL (`sslrootcert`) can be read.

    libpq reports a file in a directory that this user may not enter as missing.

    Raises:
        SettingsError: Names the file and the fault.
    """
    if url is None or not is_shared_database(url):
        return
    # SQLAlchemy is only loaded if it is needed. The settings have already checked that the URL can be parsed.
    from sqlalchemy import make_url

    file = make_url(url.reveal()).query.get("sslrootcert")
    # libpq refuses a repeated parameter; `system` stands for the CAs of this host.
    if not isinstance(file, str) or file in {"", "system"}:
        return
    problem = _unreadable(Path(file))
    if problem:
        raise SettingsError(
            [
                f"LYFTDATA_DATABASE_URL: sslrootcert: {clean_text(file, 200)} cannot be read: {problem}. The Server's user must be able to read "
                "the file and to enter its directory."
            ]
        )


def _refuse_passphrase() -> str:
    raise EncryptedKeyError


def _unreadable(file: Path) -> str | None:
    try:
        file.read_bytes()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None


def _explain(error: OSError, cert: Path, key: Path) -> str:
    """Return which of the two files is faulty, and why: OpenSSL reports most faults in the same way."""
    if not _parses(cert, load_pem_x509_certificates):
        return f"LYFTDATA_TLS_CERT: {cert} is not a PEM certificate file."
    if not _parses(key, lambda content: load_pem_private_key(content, password=None)):
        return f"LYFTDATA_TLS_KEY: {key} is not a PEM private key file."
    if "KEY_VALUES_MISMATCH" in str(error) or "KEY_TYPE_MISMATCH" in str(error):
        return f"LYFTDATA_TLS_KEY: {key} is not the key of the first certificate in {cert}."
    return f"LYFTDATA_TLS_CERT: {cert} and {key} cannot be used: {error.strerror or error}."


def _parses(file: Path, parse: Callable[[bytes], object]) -> bool:
    try:
        parse(file.read_bytes())
    except (ValueError, TypeError, OSError):
        return False
    return True
