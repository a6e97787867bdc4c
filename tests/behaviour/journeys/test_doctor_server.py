"""`lyftdata doctor server` next to a real Server: its findings in wrong setups, and none in a correct one."""

import json
from datetime import timedelta

import pytest
from tests.certificates import issued
from tests.processes import Site

DAY = timedelta(days=1)


def examined(host, *options, **environ):
    """Return the exit code, and the findings by code."""
    result = host.run("doctor", "server", "--json", *options, **environ)
    found = json.loads(result.stdout)
    assert found["ok"] == (result.returncode == 0), result.stderr
    return result.returncode, {finding["code"]: finding for finding in found["findings"]}


@pytest.mark.parametrize(
    ("valid", "code"),
    [((-DAY, 30 * DAY), None), ((-DAY, 9 * DAY), "certificate_expires_soon")],
)
def test_a_certificate_that_expires_soon_is_found(tmp_path, valid, code):
    """With the CA given as an option or by a setting; there is no finding for one that is valid for long."""
    authority, certificate, key = issued(tmp_path, valid=valid)
    key.chmod(0o600)
    site = Site(tmp_path / "site", LYFTDATA_TLS_CERT=str(certificate), LYFTDATA_TLS_KEY=str(key))

    _, found = examined(site.server_host, "--tls-ca", str(authority))

    assert set(found) == ({code} if code else set())
    # The same with the CA from the Server's own setting for Workers.
    site.server_host.environ["LYFTDATA_WORKER_TLS_CA"] = str(authority)
    assert set(examined(site.server_host)[1]) == set(found)
