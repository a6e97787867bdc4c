"""`lyftdata config`."""

import json

from tests.unit.cli.conftest import CommandHost

from lyftdata.server.runtime.settings_table import TABLE


def test_config_check_reports_all_errors_at_once(tmp_path):
    """Of either program, with exit code 2; valid settings are shown without secrets, with exit code 0."""
    host = CommandHost(tmp_path)
    bad = host.run(
        "config",
        "check",
        "server",
        "--json",
        LYFTDATA_BIND_ADDRESS="x",
        LYFTDATA_AUTO_ENROLLMENT_KEY="short-one",
    )
    assert bad.exit_code == 2
    report = json.loads(bad.output)
    assert (report["ok"], len(report["problems"])) == (False, 2)
    assert "short-one" not in bad.output + bad.errors
    good = host.run(
        "config", "check", "worker", LYFTDATA_WORKER_ID="w", LYFTDATA_WORKER_API_KEY="very-secret"
    )
    assert good.exit_code == 0
    assert "***" in good.output
    assert "very-secret" not in good.output + good.errors


def test_config_check_masks_every_secret(tmp_path):
    """Including the database's URL, which has a password."""
    given = {
        "LYFTDATA_AUTO_ENROLLMENT_KEY": "very-secret-1-Zt8qYw3nV5rKc1xLm7Pb",
        "LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS": "very-secret-2-Zt8qYw3nV5rKc1xLm7Pb",
        "LYFTDATA_DATABASE_URL": "postgresql://lyftdata:very-secret@127.0.0.1:1/lyftdata",
        "LYFTDATA_ADMIN_INIT_PASSWORD": "very-secret password",
        "LYFTDATA_SECRET_KEY": "very-secret-3-Zt8qYw3nV5rKc1xLm7Pb",
        "LYFTDATA_SECRET_KEY_NEXT": "very-secret-4-Zt8qYw3nV5rKc1xLm7Pb",
        "LYFTDATA_OIDC_CLIENT_SECRET": "very-secret at the issuer",
    }
    assert given.keys() == {setting.name for setting in TABLE if setting.secret}

    plain = {
        "LYFTDATA_PUBLIC_URL": "https://lyft.example",
        "LYFTDATA_OIDC_ISSUER": "https://id.example",
        "LYFTDATA_OIDC_CLIENT_ID": "lyftdata",
        "LYFTDATA_OIDC_ROLES": "admin: groups=ops",
    }
    for form in ((), ("--json",)):
        shown = CommandHost(tmp_path, **plain, **given).run("config", "check", "server", *form)
        assert shown.exit_code == 0, shown.errors
        assert shown.output.count("***") == len(given)
        assert "very-secret" not in shown.output + shown.errors
