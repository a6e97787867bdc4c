"""
PostgreSQL: several Servers on one state.

Those that write take turns, by one lock in the database: the audit chain is written in order, what is checked before a
change still holds when it is made, and what one Server tells the others is numbered in the order of the commits. A turn
commits whatever has queued at a Server meanwhile, so that taking turns costs little (docs/decisions/0011).

Nothing here needs more than a transaction of its own: it works through PgBouncer in transaction mode too, but that
LISTEN is heard of by nobody there, so that changes are found by asking (`store.hearing`).
"""

from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.engine import URL

from lyftdata.store.errors import StoreError
from lyftdata.store.line import Line

if TYPE_CHECKING:
    import psycopg

CHANNEL = "lyftdata"

# Any number that is always the same; transactions that hold it stand in nobody's way who does not ask for it.
_TURN = 0x6C79667464617461
_DRIVERS = {"postgres", "postgresql", "postgresql+psycopg"}
_CONNECT_WITHIN_S = 5
# A Server that was stopped or cut off in the middle of its turn must not hold up the others for ever: the database ends
# its transaction. Whoever waits for longer than that gives up, and its callers are told to come back.
_TURN_LASTS_S = 5
_WAIT_FOR_TURN_S = 15
# A peer that is gone without a word is given up after some five seconds, not after the two hours of most systems.
_NOTICE_A_DEAD_PEER = {
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
}


def is_ours(url: URL) -> bool:
    """Return whether a URL means PostgreSQL."""
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
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args=_connect_args(url),
            # Whatever the database's own default is: what is read in a turn must be what the turns before have committed,
            # and a transaction that sees one state throughout would see that of before it waited.
            isolation_level="READ COMMITTED",
            pool_size=4,
            max_overflow=2,
            # The database may have been restarted since: found before an operation fails for it.
            pool_pre_ping=True,
            pool_timeout=_CONNECT_WITHIN_S,
            hide_parameters=True,
        )
    except ImportError as error:
        raise StoreError(
            "The driver for PostgreSQL is not installed.", hint="pip install 'lyftdata[server]'"
        ) from error


def _connect_args(url: URL) -> dict[str, Any]:
    ours = {"connect_timeout": _CONNECT_WITHIN_S, "application_name": "lyftdata", **_NOTICE_A_DEAD_PEER}
    # What is given here goes over the URL: of what that sets itself nothing may be.
    given: dict[str, Any] = {name: value for name, value in ours.items() if name not in url.query}
    # A statement that was prepared at one connection is not known at the next behind PgBouncer.
    return {**given, "prepare_threshold": None}


def _of_its_own(engine: Engine, **options: Any) -> Engine:
    """Return an engine for the same database without a pool."""
    return create_engine(
        engine.url,
        connect_args=_connect_args(engine.url),
        poolclass=NullPool,
        hide_parameters=True,
        execution_options=options,
    )


def line_for_asking(engine: Engine) -> Line:
    """Return a line to the same database for transactions as those of `for_reading`."""
    return Line(_of_its_own(engine, isolation_level="REPEATABLE READ", postgresql_readonly=True))


def line_for_listening(engine: Engine) -> Line:
    """Return a line to the same database outside of transactions, which hears notifications as they come."""
    return Line(_of_its_own(engine, isolation_level="AUTOCOMMIT"))


def for_reading(engine: Engine) -> Engine:
    """Return the same engine for transactions that change nothing, and see one state of the database throughout."""
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def take_turn(conn: Connection) -> None:
    """
    Wait until no other Server writes, in a transaction that has just begun; until its end this one may.

    Raises:
        DBAPIError: It took too long.
    """
    conn.exec_driver_sql(
        f"SET LOCAL lock_timeout = '{_WAIT_FOR_TURN_S}s'; "
        f"SET LOCAL idle_in_transaction_session_timeout = '{_TURN_LASTS_S}s'; "
        f"SELECT pg_advisory_xact_lock({_TURN})"
    )


def keep_turn(conn: Connection) -> None:
    """Let the turn that was taken last for as long as it takes; for what no Server waits for."""
    conn.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")


def tell_others(conn: Connection) -> None:
    """Wake whoever listens, once this transaction is committed."""
    conn.exec_driver_sql(f"NOTIFY {CHANNEL}")


def listen(conn: Connection) -> None:
    """Be told of what others change, at a connection of `line_for_listening`."""
    conn.exec_driver_sql(f"LISTEN {CHANNEL}")


def wait_until_told(conn: Connection, *, at_most_s: float) -> None:
    """
    Return once somebody has told of a change, or after so many seconds.

    Raises:
        StoreError: The connection is gone.
    """
    import psycopg

    driver = cast("psycopg.Connection[Any]", conn.connection.dbapi_connection)
    try:
        for _ in driver.notifies(timeout=at_most_s, stop_after=1):
            pass
    except psycopg.Error as error:
        raise StoreError(f"The database no longer tells of changes: {error}.") from error
