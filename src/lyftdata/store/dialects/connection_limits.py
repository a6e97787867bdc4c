"""
Finds how many connections a PostgreSQL database allows to the Servers.

Through a pooler such as PgBouncer the Servers' connections are the pooler's own affair: its limits cannot be read from here.
"""

from typing import TYPE_CHECKING, Any, cast

import msgspec
from sqlalchemy import Connection

if TYPE_CHECKING:
    import psycopg

# Of other roles' sessions PostgreSQL shows everyone the role and the database. Those without one of the two are the server's own
# processes and do not count.
_LIMITS = """
SELECT pg_backend_pid(),
       current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int
           + coalesce(current_setting('reserved_connections', true), '0')::int,
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
       (SELECT datconnlimit FROM pg_database WHERE datname = current_database()),
       (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL AND usesysid IS NOT NULL
            AND (datname, usename) IS DISTINCT FROM (current_database(), current_user))
"""


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What PostgreSQL allows; -1 where there is no limit."""

    is_pooled: bool
    """Whether a pooler stands between, so that the limits are not those of the Servers' connections."""
    max_connections: int
    reserved: int
    """How many of them are kept for superusers and for roles with pg_use_reserved_connections."""
    others: int
    """How many are used now by other roles, or in other databases."""
    role: int
    database: int

    def allowed(self) -> int:
        """Return how many connections the Servers can have together, as long as others use no more than now."""
        limits = [limit for limit in (self.role, self.database) if limit >= 0]
        return max(0, min([self.max_connections - self.reserved - self.others, *limits]))


def find(conn: Connection) -> list[ConnectionLimits]:
    """Return the limits of this connection's role and database, as the only item; of PostgreSQL alone."""
    driver = cast("psycopg.Connection[Any]", conn.connection.dbapi_connection)
    pid, most, reserved, role, database, others = conn.exec_driver_sql(_LIMITS).one()
    return [
        ConnectionLimits(
            # A pooler makes up the process ID that it tells its clients, since their connections have none.
            is_pooled=pid != driver.info.backend_pid,
            max_connections=most,
            reserved=reserved,
            others=others,
            role=role,
            database=database,
        )
    ]
