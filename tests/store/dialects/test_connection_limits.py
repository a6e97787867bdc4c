"""How many connections PostgreSQL allows to the Servers."""

import psycopg
import pytest
from psycopg import sql

from lyftdata.store.dialects import connection_limits, exposure
from lyftdata.store.dialects.connection_limits import ConnectionLimits


def limits_of(url):
    """Return the limits as the role of this URL sees them."""
    [found] = exposure.ask_postgresql(url, connection_limits.find)
    return found


@pytest.fixture
def role(cluster):
    """Return a URL with a role that may only connect, and the name of the database."""
    url = cluster.new_database()
    cluster.execute("CREATE ROLE counted LOGIN PASSWORD 'x'")
    yield url.replace("owner:not-a-secret", "counted:x"), url.rpartition("/")[2]
    cluster.execute("DROP ROLE counted")


def test_limits_are_those_of_the_server_the_role_and_the_database(role, cluster):
    """As PostgreSQL reports them; -1 means no limit."""
    url, name = role
    most = int(cluster.ask("SHOW max_connections"))

    without = limits_of(url)
    cluster.execute("ALTER ROLE counted CONNECTION LIMIT 12")
    cluster.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 11").format(sql.Identifier(name)))
    limited = limits_of(url)

    assert (without.max_connections, without.reserved, without.is_pooled) == (most, 3, False)
    assert (without.role, without.database, limited.role, limited.database) == (-1, -1, 12, 11)


def test_only_sessions_of_other_roles_are_counted(role, cluster):
    """Even if the role may see little of other roles' sessions."""
    url, name = role
    before = limits_of(url).others
    with psycopg.connect(url), psycopg.connect(cluster.url(name)), psycopg.connect(cluster.url("postgres")):
        assert limits_of(url).others == before + 2


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        ({}, 100 - 3 - 7),
        ({"role": 50}, 50),
        ({"role": 50, "database": 40}, 40),
        ({"role": 95}, 90),
        ({"role": 0}, 0),
        ({"others": 200}, 0),
    ],
)
def test_the_lowest_limit_applies(limits, allowed):
    """The role's, the database's, or what other sessions and the reserve leave; a limit of 0 is a limit."""
    given = {"role": -1, "database": -1, "others": 7} | limits

    found = ConnectionLimits(is_pooled=False, max_connections=100, reserved=3, **given)

    assert found.allowed() == allowed
