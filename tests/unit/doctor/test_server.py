"""What the doctor finds on a Server's host."""

import asyncio
import shutil
from datetime import timedelta

from tests.certificates import issued

from lyftdata.bounded_http import Answer
from lyftdata.doctor.server import _check_jwks, examine_server


def test_a_disk_that_is_nearly_full_is_found(tmp_path, monkeypatch):
    """Before the first start, the nearest existing parent directory counts."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=5 * 1024 * 1024))

    found = asyncio.run(
        examine_server(
            {"LYFTDATA_STAGING_DIR": str(tmp_path / "staging"), "LYFTDATA_BIND_ADDRESS": "127.0.0.1:1"}
        )
    )

    (finding,) = [finding for finding in found if finding.check.code == "disk_nearly_full"]
    assert "5 MiB left" in finding.what


def test_an_expired_certificate_file_is_found_before_the_next_start(tmp_path):
    """Whatever certificate a running Server still uses."""
    _, certificate, key = issued(tmp_path, valid=(timedelta(days=-9), timedelta(days=-1)))
    key.chmod(0o600)
    settings = {
        "LYFTDATA_STAGING_DIR": str(tmp_path / "staging"),
        "LYFTDATA_BIND_ADDRESS": "127.0.0.1:1",
        "LYFTDATA_TLS_CERT": str(certificate),
        "LYFTDATA_TLS_KEY": str(key),
    }

    found = {finding.check.code: finding for finding in asyncio.run(examine_server(settings))}

    assert str(certificate) in found["certificate_expired"].what


def test_a_proxy_that_is_not_configured_is_found(tmp_path):
    """TLS ends at the proxy, and the setting that names it is not set."""
    settings = {
        "LYFTDATA_STAGING_DIR": str(tmp_path / "staging"),
        "LYFTDATA_BIND_ADDRESS": "127.0.0.1:1",
        "LYFTDATA_PUBLIC_URL": "https://lyftdata.invalid",
    }

    def codes(**more):
        return [finding.check.code for finding in asyncio.run(examine_server(settings | more))]

    assert codes() == ["proxy_not_named", "name_not_resolved"]
    assert codes(LYFTDATA_TRUSTED_PROXIES="127.0.0.1") == ["name_not_resolved"]


def test_a_signing_key_that_is_missing_from_the_jwks_is_found():
    """A cache may have an old list of keys, or the URL is another Server's."""
    answer = Answer(200, {}, b'{"keys": [{"kid": "old"}, 7]}')

    found = _check_jwks("https://lyftdata.example.com", answer, "new")

    assert found is not None
    assert found.check.code == "signing_key_not_published"
    assert _check_jwks("https://lyftdata.example.com", answer, "old") is None
