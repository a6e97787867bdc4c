"""`lyftdata doctor server` beside a real Server: what it finds in set-ups that are wrong, and nothing in one that is right."""

import json
from datetime import timedelta

import pytest
from tests.certificates import issued
from tests.processes import Site

DAY = timedelta(days=1)


def examined(host, *options, **environ):
    """Return exit code and findings by code."""
    result = host.run("doctor", "server", "--json", *options, **environ)
    found = json.loads(result.stdout)
    assert found["ok"] == (result.returncode == 0), result.stderr
    return result.returncode, {finding["code"]: finding for finding in found["findings"]}


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
    # So it is where Workers are given the CA by the Server's own setting.
    site.server_host.environ["LYFTDATA_WORKER_TLS_CA"] = str(authority)
    assert set(examined(site.server_host)[1]) == set(found)
