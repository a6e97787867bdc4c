"""Tests of what the doctor finds on a Server's host."""

import asyncio
import shutil

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
