"""A problem with the certificate or key is reported with its variable and file, before anything else is done."""

import ssl

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import load_pem_x509_certificate
from tests.certificates import self_signed

from lyftdata.core.errors import SettingsError
from lyftdata.core.secret import Secret
from lyftdata.server.runtime.tls_files import (
    EncryptedKeyError,
    check_database_ca,
    check_tls_files,
    load_certificate,
    server_context,
)


def problems_of(cert, key):
    """Return the problems reported for two files."""
    try:
        check_tls_files(cert, key)
    except SettingsError as error:
        return error.problems
    return []


def encrypt(key):
    """Encrypt a private key file with a passphrase."""
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"a passphrase"),
        )
    )


def test_a_certificate_with_its_key_is_accepted(tmp_path):
    """As is a Server without TLS."""
    assert problems_of(*self_signed(tmp_path)) == []
    assert problems_of(None, None) == []


def test_both_files_are_named_when_both_are_missing(tmp_path):
    """All problems are reported at once."""
    message = problems_of(tmp_path / "cert", tmp_path / "key")

    assert [line.split(":")[0] for line in message] == ["LYFTDATA_TLS_CERT", "LYFTDATA_TLS_KEY"]
    assert all("cannot be read: no such file or directory" in line for line in message)


def test_a_directory_is_not_a_certificate(tmp_path):
    """The message says that the path is a directory."""
    _, key = self_signed(tmp_path)

    assert problems_of(tmp_path, key) == [f"LYFTDATA_TLS_CERT: {tmp_path} cannot be read: is a directory."]


@pytest.mark.parametrize(
    "content", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_that_is_not_pem_is_named(tmp_path, content):
    """If empty, of another format or damaged, with its variable, for either file."""
    cert, key = self_signed(tmp_path)
    other = tmp_path / "other"
    other.write_bytes(content)

    assert problems_of(other, key) == [f"LYFTDATA_TLS_CERT: {other} is not a PEM certificate file."]
    assert problems_of(cert, other) == [f"LYFTDATA_TLS_KEY: {other} is not a PEM private key file."]


def test_a_der_certificate_is_rejected(tmp_path):
    """Although it is the same certificate, PEM is required."""
    cert, key = self_signed(tmp_path)
    cert.write_bytes(load_pem_x509_certificate(cert.read_bytes()).public_bytes(serialization.Encoding.DER))

    assert problems_of(cert, key) == [f"LYFTDATA_TLS_CERT: {cert} is not a PEM certificate file."]


def test_the_key_of_another_certificate_is_rejected(tmp_path):
    """The message says that the two files do not match."""
    cert, key = self_signed(tmp_path)
    key.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )

    assert problems_of(cert, key) == [
        f"LYFTDATA_TLS_KEY: {key} is not the key of the first certificate in {cert}."
    ]


def test_an_encrypted_key_is_rejected_without_a_prompt(tmp_path, monkeypatch):
    """OpenSSL's passphrase prompt would block the Server."""
    cert, key = self_signed(tmp_path)
    encrypt(key)

    (message,) = problems_of(cert, key)

    assert message.startswith(f"LYFTDATA_TLS_KEY: {key} is encrypted")
    with pytest.raises(EncryptedKeyError):
        load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), cert, key)


def test_tls_renegotiation_is_off(tmp_path):
    """In TLS 1.2, whatever this machine's OpenSSL has as default."""
    assert server_context(*self_signed(tmp_path)).options & ssl.OP_NO_RENEGOTIATION


def database_problems(options):
    """Return the problems reported for a database URL with these options."""
    try:
        check_database_ca(Secret(f"postgresql://lyftdata:pw-4711@db.example.com/lyftdata?{options}"))
    except SettingsError as error:
        return error.problems
    return []


@pytest.mark.parametrize("make", ["nothing", "directory"])
def test_an_unreadable_database_ca_is_named(tmp_path, make):
    """With file and cause, and without the URL's password; libpq would say in either case that it does not exist."""
    file = tmp_path / "ca.pem"
    if make == "directory":
        file.mkdir()

    (problem,) = database_problems(f"sslmode=verify-full&sslrootcert={file}")

    assert problem.startswith(f"LYFTDATA_DATABASE_URL: sslrootcert: {file} cannot be read: ")
    assert "pw-4711" not in problem


@pytest.mark.parametrize("options", ["", "sslmode=verify-full", "sslrootcert=system", "sslrootcert={file}"])
def test_a_readable_or_unneeded_database_ca_is_accepted(tmp_path, options):
    """A URL without one or with the host's CAs needs no file, nor does SQLite."""
    (tmp_path / "ca.pem").touch()

    assert database_problems(options.format(file=tmp_path / "ca.pem")) == []
    check_database_ca(None)
    check_database_ca(Secret(f"sqlite:///{tmp_path}/x.db"))
