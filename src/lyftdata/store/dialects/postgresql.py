"""
PostgreSQL, for several Servers that share their state.

Writers take turns, by the lock on one table: the audit chain is written in order, what was checked before a change still holds when
it is made, and published changes are numbered in commit order. A turn commits everything queued at a Server since its last one, so
that taking turns costs little (docs/decisions/0011).

Other roles may connect to the same database. They must not be able to stop or mislead the Servers (docs/decisions/0018): taking the lock
needs a right on the table, and a notification only makes Servers query, on a channel whose name other roles do not know.

Nothing here spans transactions, so it works through PgBouncer in transaction mode, except LISTEN: there changes are found by
polling (`store.change_feed`).
"""

import os
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from lyftdata.core.installation import INSTALL_SERVER
from lyftdata.store.dialects.connection import DedicatedConnection
from lyftdata.store.errors import StoreError
from lyftdata.store.schema import writer_lock

if TYPE_CHECKING:
    import psycopg

_DRIVERS = {"postgres", "postgresql", "postgresql+psycopg"}
_CONNECT_WITHIN_S = 5
# A Server that was suspended or cut off during its turn must not block the others for ever: the database ends its
# transaction. A writer that waits longer gives up, and its callers are asked to retry.
_TURN_LASTS_S = 5
WAIT_FOR_TURN_S = 15
_STATEMENT_LASTS_S = 30
# PostgreSQL keeps the notifications of all databases in one queue until the slowest listener has read them. When it is full,
# every commit that notifies fails, and any role can fill it.
MAX_NOTIFY_QUEUE_USAGE = 0.5
# libpq would ask for the passphrase of an encrypted `sslkey` on the terminal, which blocks every answer, unless it is given one.
_NO_PASSPHRASE = "-"  # noqa: S105 - what is given where there is none
# A peer that vanished is noticed after about five seconds, not after the two hours that most systems allow.
_NOTICE_A_DEAD_PEER = {
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
}


def is_postgresql_url(url: URL) -> bool:
    """Return whether this is a PostgreSQL URL."""
    return url.drivername in _DRIVERS


def make_engine(url: URL) -> Engine:
    """
    Return an engine.

    Args:
        url: `postgresql://user:password@host/database`, with libpq's parameters as its query.

    Raises:
        StoreError: The driver is not installed.
    """
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args=_connect_args(url),
            # Whatever the database's default is: a turn must see what the turns before it committed, and a transaction with one snapshot
            # would see the state from before it waited.
            isolation_level="READ COMMITTED",
            pool_size=4,
            max_overflow=2,
            # Detects a connection that ended, for example by a restart of the database, before an operation fails on it.
            pool_pre_ping=True,
            pool_timeout=_CONNECT_WITHIN_S,
            hide_parameters=True,
        )
    except ImportError as error:
        raise StoreError("The driver for PostgreSQL is not installed.", hint=INSTALL_SERVER) from error
    event.listen(engine, "do_connect", _connect)
    return engine


def _connect(_dialect: object, _record: object, args: tuple[Any, ...], options: dict[str, Any]) -> object:
    from lyftdata.store.dialects.timed_connection import TimedConnection

    return TimedConnection.connect(*args, **options)


def _connect_args(url: URL) -> dict[str, Any]:
    ours: dict[str, Any] = {
        "connect_timeout": _CONNECT_WITHIN_S,
        "application_name": "lyftdata",
        **_NOTICE_A_DEAD_PEER,
    }
    if "service" not in url.query and "PGSERVICE" not in os.environ:
        # A service file may set the passphrase, and this would override it.
        ours["sslpassword"] = _NO_PASSPHRASE
    # Connection arguments override the URL: leave out those that the URL sets.
    given: dict[str, Any] = {name: value for name, value in ours.items() if name not in url.query}
    # Behind PgBouncer, a statement prepared on one connection is not known on the next.
    return {**given, "prepare_threshold": None}


def _unpooled_engine(engine: Engine, **options: Any) -> Engine:
    """Return an engine for the same database without a pool."""
    return create_engine(
        engine.url,
        connect_args=_connect_args(engine.url),
        poolclass=NullPool,
        hide_parameters=True,
        execution_options=options,
    )


def dedicated_query_connection(engine: Engine) -> DedicatedConnection:
    """Return a dedicated connection to the same database for transactions like those of `for_reading`."""
    return DedicatedConnection(
        _unpooled_engine(engine, isolation_level="REPEATABLE READ", postgresql_readonly=True)
    )


def dedicated_listen_connection(engine: Engine) -> DedicatedConnection:
    """Return a dedicated connection in autocommit mode, which receives notifications as they arrive."""
    return DedicatedConnection(_unpooled_engine(engine, isolation_level="AUTOCOMMIT"))


def for_reading(engine: Engine) -> Engine:
    """Return the same engine for read-only transactions, each with one snapshot of the database."""
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def make_writer_lock(conn: Connection) -> None:
    """
    Create the table whose lock the Servers take in turn, unless it exists; call it at the beginning of a transaction.

    If two create it at once, the second waits for the first to commit and then finds it.

    Raises:
        DBAPIError: It cannot be created.
    """
    conn.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT_FOR_TURN_S}s'")
    if _has_writer_lock(conn):
        return
    savepoint = conn.begin_nested()
    try:
        writer_lock.create(conn, checkfirst=False)
        savepoint.commit()
    except DBAPIError:
        if conn.invalidated:
            raise
        savepoint.rollback()
        if not _has_writer_lock(conn):
            raise


def _has_writer_lock(conn: Connection) -> bool:
    # Not by querying the catalog for a table of that name: another role may have one in another schema.
    found = conn.exec_driver_sql(f"SELECT to_regclass('{writer_lock.name}')").scalar()
    return found is not None


def lock_out_other_writers(conn: Connection) -> None:
    """
    Wait for the writer lock, which only one Server can hold, at the start of a transaction; released at its end.

    Unlike an advisory lock, which any role that can connect can hold, a lock that conflicts with this one needs UPDATE,
    DELETE or TRUNCATE on the table. Reading it, as pg_dump does, and inserting do not conflict.

    Raises:
        DBAPIError: The wait took too long.
    """
    conn.exec_driver_sql(
        f"SET LOCAL lock_timeout = '{WAIT_FOR_TURN_S}s'; "
        f"SET LOCAL idle_in_transaction_session_timeout = '{_TURN_LASTS_S}s'; "
        f"SET LOCAL statement_timeout = '{_STATEMENT_LASTS_S}s'; "
        f"LOCK TABLE {writer_lock.name} IN SHARE UPDATE EXCLUSIVE MODE"
    )


def try_to_lock_out_other_writers(conn: Connection, *, within_s: float) -> None:
    """Take the lock of `lock_out_other_writers` within some seconds; raises DBAPIError if it is not free."""
    conn.exec_driver_sql(
        f"SET LOCAL lock_timeout = '{int(within_s * 1000)}ms'; "
        f"LOCK TABLE {writer_lock.name} IN SHARE UPDATE EXCLUSIVE MODE"
    )


def allow_long_write(conn: Connection) -> None:
    """Lift the time limits of the transaction that holds the writer lock; only for work that no Server waits for."""
    conn.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0")


def allow_long_statements(conn: Connection) -> None:
    """Lift the time limit of a statement in the current turn: rewriting a table may take long."""
    conn.exec_driver_sql("SET LOCAL statement_timeout = 0")


def notify(conn: Connection, channel: str) -> None:
    """
    Wake the listening Servers once this transaction is committed; they also poll, a little later.

    So nothing is lost if no notification is sent, and none is sent while the notification queue is filling up: if it were full, the
    commit would fail.
    """
    conn.exec_driver_sql(
        "SELECT pg_notify(%(channel)s, '') WHERE pg_notification_queue_usage() < %(limit)s",
        {"channel": channel, "limit": MAX_NOTIFY_QUEUE_USAGE},
    )


def listen(conn: Connection, channel: str) -> None:
    """Subscribe to other Servers' changes, on a connection of `dedicated_listen_connection`."""
    conn.exec_driver_sql(f"LISTEN {channel}")


def wait_for_notification(conn: Connection, *, at_most_s: float) -> None:
    """
    Return at the next notification, or after `at_most_s` seconds.

    The content of a notification is ignored.

    Raises:
        StoreError: The connection is gone.
    """
    import psycopg

    driver = cast("psycopg.Connection[Any]", conn.connection.dbapi_connection)
    try:
        for _ in driver.notifies(timeout=at_most_s, stop_after=1):
            pass
    except psycopg.Error as error:
        raise StoreError(f"The database no longer sends notifications: {error}.") from error
