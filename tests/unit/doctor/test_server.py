"""Tests of what the doctor finds on a Server's host."""

import asyncio
import shutil
from datetime import timedelta

from tests.certificates import issued

from lyftdata.doctor.server import examine_server


def test_a_disk_that_is_nearly_full_is_found(tmp_path, monkeypatch):
    """The nearest directory that exists counts, before the Server has made its own."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=5 * 1024 * 1024))

    found = asyncio.run(
        examine_server(
            {"LYFTDATA_STAGING_DIR": str(tmp_path / "staging"), "LYFTDATA_BIND_ADDRESS": "127.0.0.1:1"}
        )
    )

    (finding,) = [finding for finding in found if finding.check.code == "disk_nearly_full"]
    assert "5 MiB left" in finding.what


def test_an_expired_certificate_in_the_file_is_found_before_the_next_start(tmp_path):
    """Whatever a running Server still shows."""
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
