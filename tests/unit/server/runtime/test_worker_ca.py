"""The CA certificates that Workers need to trust a Server, for the texts that operators copy."""

import os

import pytest
from tests.certificates import issued, issued_by_intermediate, self_signed

from lyftdata.core.errors import SettingsError
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.start_checks import check_files
from lyftdata.server.runtime.worker_ca import NeededCa, WorkerCa, check_worker_ca, read_certificates

ISSUER = "https://localhost:3000"


def ca_of(*, cert=None, key=None, given=None, proxies=None, issuer=ISSUER):
    """Return what finds the CA of a Server with these settings."""
    environ = {
        "LYFTDATA_TLS_CERT": cert,
        "LYFTDATA_TLS_KEY": key,
        "LYFTDATA_WORKER_TLS_CA": given,
        "LYFTDATA_TRUSTED_PROXIES": proxies,
    }
    settings = read_server_settings({name: str(value) for name, value in environ.items() if value}, {})
    return WorkerCa(settings, issuer=issuer)


def chain_with_root(directory):
    """Return a root, and the files of a Server that sends it with its certificate; the chain's file also contains the private key."""
    authority, cert, key = issued(directory)
    cert.write_text(cert.read_text() + key.read_text() + "a comment\n" + authority.read_text())
    return authority.read_text(), cert, key


async def test_only_the_root_that_the_server_sends_is_handed_out(tmp_path):
    """Not the Server's own certificate or anything else in that file, such as the private key."""
    root, cert, key = chain_with_root(tmp_path)

    assert await ca_of(cert=cert, key=key).find() == NeededCa(root)


async def test_a_self_signed_certificate_is_handed_out(tmp_path):
    """It is its own CA."""
    cert, key = self_signed(tmp_path)

    assert await ca_of(cert=cert, key=key).find() == NeededCa(cert.read_text())


@pytest.mark.parametrize("make", [issued, issued_by_intermediate])
async def test_a_root_that_the_server_does_not_send_is_reported_as_missing(tmp_path, make):
    """Workers need it, and the Server does not have it."""
    _, cert, key = make(tmp_path)

    assert await ca_of(cert=cert, key=key).find() == NeededCa("")


async def test_a_certificate_that_the_system_trusts_needs_no_ca(tmp_path, monkeypatch):
    """A Worker with a configured CA trusts no other, so it gets one only if it needs it."""
    authority, cert, key = issued(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))

    assert await ca_of(cert=cert, key=key).find() is None


async def test_without_system_certificates_no_ca_is_handed_out(tmp_path, monkeypatch):
    """In a container without them, a public chain would look like a private one."""
    _, cert, key = issued(tmp_path)
    (tmp_path / "none").mkdir()
    (tmp_path / "empty.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "empty.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))

    assert await ca_of(cert=cert, key=key).find() is None


@pytest.mark.parametrize(
    "more",
    [
        {"proxies": "10.0.0.1"},
        {"issuer": "http://localhost:3000"},
        {"issuer": "https://lyftdata.example.com"},
    ],
)
async def test_a_ca_that_workers_would_not_need_is_not_handed_out(tmp_path, more):
    """Behind a proxy, over http, or with a certificate for another name, the Server's own CA would lock Workers out."""
    cert, key = self_signed(tmp_path)

    assert await ca_of(cert=cert, key=key, **more).find() is None


async def test_a_configured_ca_is_handed_out_whatever_the_server_serves(tmp_path):
    """For example that of a proxy; comments and keys in the file are left out."""
    root, cert, key = chain_with_root(tmp_path)
    given = tmp_path / "given.pem"
    given.write_text(f"# our CA\n{key.read_text()}{root}")

    for served in ({}, {"proxies": "10.0.0.1"}, {"cert": cert, "key": key}):
        assert await ca_of(given=given, **served).find() == NeededCa(root)
    assert await ca_of(given=given, issuer="http://localhost:3000").find() is None


async def test_a_changed_ca_file_is_read_again(tmp_path):
    """A CA can be rotated without a restart; an incomplete file changes nothing."""
    old, _ = self_signed(tmp_path)
    given = tmp_path / "given.pem"
    given.write_text(old.read_text())
    ca = ca_of(given=given)
    before = await ca.find()
    given.write_text(old.read_text()[:200])
    assert await ca.find() == before

    new, _ = self_signed(tmp_path)
    given.write_text(old.read_text() + new.read_text())

    assert await ca.find() == NeededCa(given.read_text())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "cannot be read: no such file or directory"),
        ("", "is not a file of certificates (PEM)"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is not a file of certificates"),
        ("five", "holds 5 certificates; at most 4 can be pasted"),
    ],
)
def test_an_unusable_ca_file_is_rejected_at_startup(tmp_path, text, problem):
    """And by `lyftdata config check server`."""
    file = tmp_path / "ca.pem"
    if text == "five":
        text = self_signed(tmp_path)[0].read_text() * 5
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        check_worker_ca(file)
    (said,) = refused.value.problems
    assert said.startswith(f"LYFTDATA_WORKER_TLS_CA: {file} {problem}")

    settings = read_server_settings(
        {"LYFTDATA_WORKER_TLS_CA": str(file), "LYFTDATA_STAGING_DIR": str(tmp_path / "staging")}, {}
    )
    with pytest.raises(SettingsError) as refused:
        check_files(settings)
    assert refused.value.problems == [said]


def test_a_ca_that_is_not_a_regular_file_is_rejected(tmp_path):
    """Reading a pipe would make a page hang."""
    pipe = tmp_path / "ca.pem"
    os.mkfifo(pipe)

    with pytest.raises(ValueError, match="not a file"):
        read_certificates(pipe)
    with pytest.raises(SettingsError, match="is not a file of certificates"):
        check_worker_ca(pipe)
    with pytest.raises(SettingsError, match="is not a file of certificates"):
        check_worker_ca(tmp_path)
