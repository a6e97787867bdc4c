"""Operators are warned about what their database lets other roles do, before the start and at each start."""

import json

from tests.builders import SECRET_KEY
from tests.processes import Host

OPEN = "every role of this PostgreSQL server may connect"
DOWN = "postgresql://owner:pass-word@127.0.0.1:1/x"


def environ(url):
    """Return the settings that a Server on a database needs."""
    return {
        "LYFTDATA_DATABASE_URL": url,
        "LYFTDATA_SECRET_KEY": SECRET_KEY,
        "LYFTDATA_PUBLIC_URL": "https://lyft.example",
    }


async def test_a_start_warns_about_an_open_database(start_server):
    """The warning is among those that the log and the pages show."""
    async with start_server() as server:
        assert [warning for warning in server.services.warnings if OPEN in warning]


def test_config_check_reports_an_open_database(tmp_path, database_url):
    """With --connect an open database is a warning, in JSON too, and one that is down an error; without it no connection is made."""
    host = Host(tmp_path)
    checked = host.run("config", "check", "server", "--connect", **environ(database_url))
    as_json = host.run("config", "check", "server", "--connect", "--json", **environ(database_url))
    down = host.run("config", "check", "server", "--connect", **environ(DOWN))

    not_asked = host.run("config", "check", "server", **environ(DOWN))

    assert (checked.returncode, as_json.returncode, down.returncode, not_asked.returncode) == (0, 0, 1, 0)
    assert f"Warning: LYFTDATA_DATABASE_URL: {OPEN}" in checked.stderr
    assert any(OPEN in warning for warning in json.loads(as_json.stdout)["warnings"])
    assert "Error: LYFTDATA_DATABASE_URL: the database cannot be used" in down.stderr
    assert "pass-word" not in down.stdout + down.stderr
