"""`lyftdata doctor server` beside a real Server: what it finds in set-ups that are wrong, and nothing in one that is right."""

import json
from datetime import timedelta

import pytest
from tests.certificates import issued
from tests.processes import Site, free_port

DAY = timedelta(days=1)


def examined(host, *options, **environ):
    """Return exit code and findings by code."""
    result = host.run("doctor", "server", "--json", *options, **environ)
    found = json.loads(result.stdout)
    assert found["ok"] == (result.returncode == 0), result.stderr
    return result.returncode, {finding["code"]: finding for finding in found["findings"]}


def test_nothing_is_wrong_with_a_server_that_is_right(shared_site):
    """It says so, and exits with 0."""
    result = shared_site.server_host.run("doctor", "server")

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "Nothing is wrong.\n")


def test_an_invalid_setting_is_found(shared_site):
    """As a start would find it."""
    code, found = examined(shared_site.server_host, LYFTDATA_TLS_CERT="/nowhere/cert.pem")

    assert (code, list(found)) == (1, ["setting_invalid"])


def test_a_file_without_certificates_is_an_error_of_the_command(shared_site, tmp_path):
    """In words, and with the exit code of wrong usage: nothing was examined."""
    (tmp_path / "ca.pem").touch()

    result = shared_site.server_host.run("doctor", "server", "--tls-ca", str(tmp_path / "ca.pem"))

    assert result.returncode == 2
    assert "ca.pem holds no certificates (PEM)" in result.stderr


def test_a_published_secret_is_found(shared_site):
    """Anyone can read it in the documentation."""
    published = {"LYFTDATA_AUTO_ENROLLMENT_KEY": "c3s3R0s1T5QAQr7lz1KsT00pKh3adnma"}

    code, found = examined(shared_site.server_host, **published)

    assert (code, list(found)) == (0, ["setting_suspicious"])
    assert "published" in found["setting_suspicious"]["what"]


def test_a_server_that_does_not_run_is_found(shared_site):
    """Nothing listens at its address."""
    port = free_port()
    elsewhere = {
        "LYFTDATA_BIND_ADDRESS": f"127.0.0.1:{port}",
        "LYFTDATA_PUBLIC_URL": f"http://127.0.0.1:{port}",
    }

    assert examined(shared_site.server_host, **elsewhere)[1].keys() == {"connection_failed"}


def test_an_address_of_another_server_is_found(tmp_path):
    """Workers that are sent there are refused: what they sign is for another name."""
    site = Site(
        tmp_path / "site",
        LYFTDATA_PUBLIC_URL="https://lyftdata.example.com",
        LYFTDATA_TRUSTED_PROXIES="127.0.0.1",
    )

    _, found = examined(site.server_host, LYFTDATA_PUBLIC_URL=site.url)

    assert list(found) == ["another_server"]
    assert "https://lyftdata.example.com" in found["another_server"]["what"]


def test_a_database_that_is_gone_is_found(shared_site):
    """Without its password in the finding."""
    database = f"postgresql://lyftdata:hush-hush@127.0.0.1:{free_port()}/lyftdata"
    settings = {
        "LYFTDATA_DATABASE_URL": database,
        "LYFTDATA_ALLOW_UNVERIFIED_DATABASE": "yes",
        "LYFTDATA_SECRET_KEY": "Zt8qYw3nV5rKc1xLm7Pb2Hd9Gf4Js6Ua",
    }

    code, found = examined(shared_site.server_host, **settings)

    assert code == 1
    assert "database_unusable" in found
    assert "hush-hush" not in str(found)


@pytest.mark.parametrize(
    ("valid", "code"),
    [((-DAY, 30 * DAY), None), ((-DAY, 9 * DAY), "certificate_expires_soon")],
)
def test_what_workers_will_see_of_the_certificate_is_found(tmp_path, valid, code):
    """Before it has expired; its key is closed to others."""
    authority, certificate, key = issued(tmp_path, valid=valid)
    key.chmod(0o600)
    site = Site(tmp_path / "site", LYFTDATA_TLS_CERT=str(certificate), LYFTDATA_TLS_KEY=str(key))

    _, found = examined(site.server_host, "--tls-ca", str(authority))

    assert set(found) == ({code} if code else set())
