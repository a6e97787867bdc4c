"""Operators are told what their database lets other roles do, before the start and at each start."""

import json

from tests.builders import SECRET_KEY
from tests.processes import Host

OPEN = "every role of this PostgreSQL server may connect"
DOWN = "postgresql://owner:pass-word@127.0.0.1:1/x"


def environ(url):
    """Return what a Server on a database must be given."""
    return {
        "LYFTDATA_DATABASE_URL": url,
        "LYFTDATA_SECRET_KEY": SECRET_KEY,
        "LYFTDATA_PUBLIC_URL": "https://lyft.example",
    }


async def test_a_start_warns_of_a_database_that_is_open(start_server):
    """What the log and the pages show as warnings has it."""
    async with start_server() as server:
        assert [warning for warning in server.services.warnings if OPEN in warning]


def test_config_check_asks_the_database(tmp_path, database_url):
    """With --connect what is open is a warning, in JSON too, and a database that is down is an error; without it nothing is asked."""
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
