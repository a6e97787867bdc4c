"""Which certificates Workers need to trust a Server, as the texts to paste bring them."""

import os

import pytest
from tests.certificates import issued, issued_by_intermediate, self_signed

from lyftdata.core.errors import SettingsError
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.start_checks import check_files
from lyftdata.server.runtime.worker_ca import NeededCa, WorkerCa, check_worker_ca, read_certificates

ISSUER = "https://localhost:3000"


def ca_of(*, cert=None, key=None, given=None, proxies=None, issuer=ISSUER):
    """Return what finds it for a Server with these settings."""
    environ = {
        "LYFTDATA_TLS_CERT": cert,
        "LYFTDATA_TLS_KEY": key,
        "LYFTDATA_WORKER_TLS_CA": given,
        "LYFTDATA_TRUSTED_PROXIES": proxies,
    }
    settings = read_server_settings({name: str(value) for name, value in environ.items() if value}, {})
    return WorkerCa(settings, issuer=issuer)


def chain_with_root(directory):
    """Return a root, and the files of a Server that sends it with its certificate; its key is in the chain's file too."""
    authority, cert, key = issued(directory)
    cert.write_text(cert.read_text() + key.read_text() + "a comment\n" + authority.read_text())
    return authority.read_text(), cert, key


async def test_a_root_that_the_server_sends_is_handed_out_alone(tmp_path):
    """Neither the Server's own certificate nor what else is in that file, such as its private key."""
    root, cert, key = chain_with_root(tmp_path)

    assert await ca_of(cert=cert, key=key).find() == NeededCa(root)


async def test_a_certificate_that_signs_itself_is_handed_out(tmp_path):
    """It is its own CA."""
    cert, key = self_signed(tmp_path)

    assert await ca_of(cert=cert, key=key).find() == NeededCa(cert.read_text())


@pytest.mark.parametrize("make", [issued, issued_by_intermediate])
async def test_a_root_that_the_server_does_not_send_is_needed_and_not_known(tmp_path, make):
    """So the texts say that it is missing."""
    _, cert, key = make(tmp_path)

    assert await ca_of(cert=cert, key=key).find() == NeededCa("")


async def test_a_certificate_that_the_system_trusts_needs_nothing(tmp_path, monkeypatch):
    """A Worker that is given a CA trusts no other: it is given none without need."""
    authority, cert, key = issued(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))

    assert await ca_of(cert=cert, key=key).find() is None


async def test_a_host_that_trusts_nothing_says_nothing_about_a_certificate(tmp_path, monkeypatch):
    """A container without the system's certificates: a public chain would look like a private one."""
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
async def test_what_workers_do_not_see_is_not_handed_out(tmp_path, more):
    """Behind a proxy, over http, or with a certificate for another name, a CA of the Server's own would lock Workers out."""
    cert, key = self_signed(tmp_path)

    assert await ca_of(cert=cert, key=key, **more).find() is None


async def test_a_ca_that_is_named_is_handed_out_whatever_the_server_serves(tmp_path):
    """That of a proxy, for example; comments and keys in the file stay there."""
    root, cert, key = chain_with_root(tmp_path)
    given = tmp_path / "given.pem"
    given.write_text(f"# our CA\n{key.read_text()}{root}")

    for served in ({}, {"proxies": "10.0.0.1"}, {"cert": cert, "key": key}):
        assert await ca_of(given=given, **served).find() == NeededCa(root)
    assert await ca_of(given=given, issuer="http://localhost:3000").find() is None


async def test_a_file_that_has_changed_is_read_again(tmp_path):
    """A CA is rotated without a restart; half a file changes nothing."""
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
def test_a_file_that_cannot_be_handed_out_is_named_at_the_start(tmp_path, text, problem):
    """Also by `lyftdata config check server`."""
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


def test_a_pipe_is_not_waited_for(tmp_path):
    """Nor is anything else read that is no file: a page would hang."""
    pipe = tmp_path / "ca.pem"
    os.mkfifo(pipe)

    with pytest.raises(ValueError, match="not a file"):
        read_certificates(pipe)
    with pytest.raises(SettingsError, match="is not a file of certificates"):
        check_worker_ca(pipe)
    with pytest.raises(SettingsError, match="is not a file of certificates"):
        check_worker_ca(tmp_path)
