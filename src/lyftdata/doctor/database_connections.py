"""Checks whether PostgreSQL allows as many connections as the processes of all Servers open."""

import socket
from collections.abc import Iterator

from sqlalchemy import Connection

from lyftdata.core.records import ServerRecord
from lyftdata.core.text import clean_text
from lyftdata.doctor import findings
from lyftdata.doctor.findings import Finding
from lyftdata.server.cluster.membership import DEAD_AFTER
from lyftdata.server.runtime.settings import ServerSettings
from lyftdata.store.dialects import connection_limits, exposure
from lyftdata.store.dialects.connection_limits import ConnectionLimits
from lyftdata.store.direct_write import read_directly
from lyftdata.store.engine import MAX_CONNECTIONS
from lyftdata.store.errors import StoreError
from lyftdata.store.tables import servers

# For this command, a backup and someone who looks.
_SPARE = 5


def check_connections(settings: ServerSettings, url: str) -> Iterator[Finding]:
    """
    Yield what is wrong with the number of connections that the database allows; nothing for SQLite.

    Args:
        settings: Those of the Server on this host.
        url: A database with the tables of a Server.
    """
    try:
        limits = exposure.ask_postgresql(url, connection_limits.find)
        live = read_directly(url, _live_servers) if limits else []
    except StoreError:
        # The schema is of another version, or the database has gone: other checks find that.
        return
    for each in limits:
        yield from _check(each, processes=_count_processes(settings, live))


def _live_servers(conn: Connection) -> list[ServerRecord]:
    live = servers.list_live(conn, silent_for=DEAD_AFTER)
    return [server for server in servers.all_servers(conn) if server.id in live]


def _count_processes(settings: ServerSettings, live: list[ServerRecord]) -> int:
    """Return how many processes use the database once the Server of these settings runs, as it may already."""
    host, address = clean_text(socket.gethostname(), 64), str(settings.bind_address)
    own = [server for server in live if server.host == host and server.address.split(" #")[0] == address]
    return len(live) - len(own) + max(len(own), settings.processes)


def _check(limits: ConnectionLimits, *, processes: int) -> Iterator[Finding]:
    needed = processes * MAX_CONNECTIONS
    need = (
        f"{processes} Server {'process opens' if processes == 1 else 'processes open'} up to {needed} connections "
        f"({MAX_CONNECTIONS} each)"
    )
    if limits.is_pooled:
        yield Finding(
            findings.DATABASE_CONNECTIONS_NOT_CHECKED,
            f"A pooler such as PgBouncer answers in front of PostgreSQL; {need} to it.",
            f"Let it accept {needed} connections or more (PgBouncer: max_client_conn), and its pool fit into the "
            f"max_connections of PostgreSQL, {limits.max_connections}.",
        )
    elif needed > limits.allowed():
        yield Finding(
            findings.DATABASE_CONNECTIONS_TOO_FEW, f"{need}, and {_describe(limits)}.", _fix(limits, needed)
        )


def _describe(limits: ConnectionLimits) -> str:
    parts = [f"max_connections is {limits.max_connections}"]
    if limits.reserved:
        parts.append(f"{limits.reserved} of them are reserved")
    if limits.others:
        parts.append(f"{limits.others} are used by other roles or in other databases now")
    parts += [
        f"the {what} is limited to {limit}"
        for what, limit in (("role", limits.role), ("database", limits.database))
        if limit >= 0
    ]
    return f"PostgreSQL allows them {limits.allowed()}: {', '.join(parts)}"


def _fix(limits: ConnectionLimits, needed: int) -> str:
    wanted = needed + _SPARE
    steps = []
    if limits.max_connections - limits.reserved - limits.others < needed:
        least = wanted + limits.reserved + limits.others
        steps.append(f"ALTER SYSTEM SET max_connections = {least}, then restart PostgreSQL")
    if 0 <= limits.role < needed:
        steps.append(f"ALTER ROLE … CONNECTION LIMIT {wanted}")
    if 0 <= limits.database < needed:
        steps.append(f"ALTER DATABASE … CONNECTION LIMIT {wanted}")
    return f"{'; '.join(steps)}. Or run fewer processes (LYFTDATA_PROCESSES), or put PgBouncer in between."
