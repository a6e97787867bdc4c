"""Certificates that tests trust."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_ONE_DAY_AROUND_NOW = (timedelta(days=-1), timedelta(days=1))


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Return a certificate for localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate("localhost", key, issuer="localhost", issuer_key=key, is_authority=True)
    return _written(directory, "cert", certificate), _written_key(directory, key)


def issued(
    directory: Path,
    *,
    is_complete: bool = True,
    name: str = "localhost",
    valid: tuple[timedelta, timedelta] = _ONE_DAY_AROUND_NOW,
) -> tuple[Path, Path, Path]:
    """
    Return a CA's certificate, one that it issued for localhost, and the latter's key; not every client trusts a self-signed one.

    Args:
        directory: Where the files are written.
        is_complete: Whether they have everything that RFC 5280 requires, as Python 3.13 insists.
        name: A host name instead of localhost.
        valid: Start and end of the validity period, relative to now.
    """
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = "tests of lyftdata"
    authority = _certificate(
        issuer,
        authority_key,
        issuer=issuer,
        issuer_key=authority_key,
        is_authority=True,
        is_complete=is_complete,
    )
    certificate = _certificate(
        name,
        key,
        issuer=issuer,
        issuer_key=authority_key,
        is_authority=False,
        is_complete=is_complete,
        valid=valid,
    )
    files = _written(directory, "authority", authority), _written(directory, "cert", certificate)
    return *files, _written_key(directory, key)


def issued_by_intermediate(directory: Path) -> tuple[Path, Path, Path]:
    """Return a root certificate, one for localhost issued by an intermediate that is in neither file, and the latter's key."""
    root_key, middle_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    root = _certificate("root", root_key, issuer="root", issuer_key=root_key, is_authority=True)
    certificate = _certificate(
        "localhost", key, issuer="intermediate", issuer_key=middle_key, is_authority=False
    )
    files = _written(directory, "authority", root), _written(directory, "cert", certificate)
    return *files, _written_key(directory, key)


def issued_without_authority(directory: Path) -> tuple[Path, Path, Path]:
    """Return a root certificate, a chain for localhost whose issuer is not a CA, and the chain's key."""
    root_key, middle_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    root = _certificate("root", root_key, issuer="root", issuer_key=root_key, is_authority=True)
    middle = _certificate("no CA", middle_key, issuer="root", issuer_key=root_key, is_authority=False)
    certificate = _certificate("localhost", key, issuer="no CA", issuer_key=middle_key, is_authority=False)
    chain = _written(directory, "cert", certificate)
    chain.write_bytes(chain.read_bytes() + middle.public_bytes(serialization.Encoding.PEM))
    return _written(directory, "root", root), chain, _written_key(directory, key)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    is_authority: bool,
    is_complete: bool = True,
    valid: tuple[timedelta, timedelta] = _ONE_DAY_AROUND_NOW,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) + valid[0])
        .not_valid_after(datetime.now(UTC) + valid[1])
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if not is_authority or name == "localhost":
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    if is_complete:
        builder = builder.add_extension(_key_usage(is_authority=is_authority), critical=True)
        subject = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(subject, critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        builder = builder.add_extension(authority, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _written(directory: Path, name: str, certificate: x509.Certificate) -> Path:
    file = directory / f"{name}.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return file


def _written_key(directory: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    file = directory / "key.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return file
