"""
What every Server works out at its start with the same result: worked out once, for Servers in this process or forked from it.

The real code makes each of these the first time. The migrations, the assessment of secrets and the admin API's routes took four
fifths of the CPU time of a start, and hundreds of tests start a Server each.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import fastapi.routing
from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event
from tests.builders import ENROLLMENT_KEY, SECRET_KEY
from tests.deployment import CHEAP, PASSWORD

from lyftdata.core import enrollment_secrets
from lyftdata.core.secret import Secret
from lyftdata.server.admin import passwords, secret_strength
from lyftdata.store import migrate
from lyftdata.store.dialects import postgresql, sqlite

Replace = Callable[[Any, str, Any], None]
Upgrade = Callable[[Connection], bool]
Estimate = Callable[..., dict[str, Any]]


def share_starts(replace: Replace) -> None:
    """
    Keep what Servers in this process need at each start.

    Args:
        replace: Sets an attribute as `setattr` does.
    """
    share_migrations(replace)
    share_compiled_statements(replace)
    replace(secret_strength, "_estimate", _estimate_once(secret_strength._estimate))
    stretch_once = functools.lru_cache(1_000)(enrollment_secrets._stretch)
    replace(enrollment_secrets, "_stretch", stretch_once)
    # Private to FastAPI: without it the tests are slower, and do not fail.
    context = getattr(fastapi.routing, "_EffectiveRouteContext", None)
    if context is not None:
        replace(context, "from_api_route", _build_route_once(context.from_api_route))


def prepare_starts(replace: Replace) -> None:
    """
    Do now, for the Servers that this process will be forked into, what they need at each start.

    Their passwords have Argon2's smallest costs. A Server that is started by itself has the real ones.

    Args:
        replace: Sets an attribute as `setattr` does.
    """
    share_starts(replace)
    replace(passwords, "PasswordHasher", lambda: CHEAP)
    engine = create_engine("sqlite://")
    with engine.begin() as conn:
        migrate.upgrade(conn)
    engine.dispose()
    passwords.check_new_password(Secret(PASSWORD), operator="admin")
    for key in (ENROLLMENT_KEY, SECRET_KEY):
        secret_strength.assess_key(Secret(key))


def share_migrations(replace: Replace) -> None:
    """
    Give an empty database the tables that the migrations have made in the first one of its kind.

    Args:
        replace: Sets an attribute as `setattr` does.
    """
    replace(migrate, "upgrade", _upgrade_by_repeating(migrate.upgrade))


def share_compiled_statements(replace: Replace) -> None:
    """
    Compile each statement to SQL once for all databases of a kind, and not once a Server: SQLAlchemy keeps what it compiles by engine.

    Args:
        replace: Sets an attribute as `setattr` does.
    """
    for module in (sqlite, postgresql):
        replace(module, "create_engine", _create_with_shared_dialect)


_shared_dialects: dict[tuple[type[Dialect], object], tuple[Dialect, Any]] = {}


def _create_with_shared_dialect(url: URL, **options: Any) -> Engine:
    engine = create_engine(url, **options)
    kind = type(engine.dialect), options.get("isolation_level")
    if kind in _shared_dialects:
        # What was compiled is found by its dialect, which is the same for all databases of one kind.
        engine.dialect, engine._compiled_cache = _shared_dialects[kind]
    else:
        # Not before it knows what the database can do, which it asks at the first connection.
        event.listen(
            engine.pool,
            "first_connect",
            lambda *_: _shared_dialects.setdefault(kind, (engine.dialect, engine._compiled_cache)),
        )
    return engine


@functools.cache
def _upgrade_by_repeating(upgrade: Upgrade) -> Upgrade:
    """Return an `upgrade` that repeats what the migrations have executed in the first empty database of the same kind."""
    executed: dict[str, list[tuple[str, Any]]] = {}

    def upgrade_by_repeating(conn: Connection) -> bool:
        if migrate.current_version(conn) is not None:
            return upgrade(conn)
        statements = executed.get(conn.dialect.name)
        is_sqlite = conn.dialect.name == "sqlite"
        if statements is None:
            with _recorded(conn) as statements:
                upgrade(conn)
            executed[conn.dialect.name] = _what_is_there(conn) if is_sqlite else statements
        elif is_sqlite:
            # By the driver itself: what SQLAlchemy does around a statement takes longer than the statement.
            for statement, parameters in statements:
                sqlite.raw(conn).execute(statement, parameters)
        else:
            for statement, parameters in statements:
                conn.exec_driver_sql(statement, parameters)
        return True

    return upgrade_by_repeating


def _what_is_there(conn: Connection) -> list[tuple[str, Any]]:
    """Return statements that make the tables and rows of an SQLite database: half as many as led to them."""
    statements: list[tuple[str, Any]] = []
    found = conn.exec_driver_sql("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").all()
    for kind, name, sql in found:
        statements.append((sql, ()))
        if kind == "table":
            rows = conn.exec_driver_sql(f"SELECT * FROM {name}").all()
            statements += [
                (f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})", tuple(row)) for row in rows
            ]
    return statements


@contextlib.contextmanager
def _recorded(conn: Connection) -> Iterator[list[tuple[str, Any]]]:
    """Give the statements that change something, with their parameters, as they are executed."""
    statements: list[tuple[str, Any]] = []

    def record(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA")):
            statements.append((statement, parameters))

    event.listen(conn, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(conn, "before_cursor_execute", record)


@functools.cache
def _estimate_once(estimate: Estimate) -> Estimate:
    @functools.lru_cache(10_000)
    def remembered(text: str, known: tuple[str, ...]) -> dict[str, Any]:
        return estimate(text, known=known)

    def estimate_once(text: str, *, known: Sequence[str] = ()) -> dict[str, Any]:
        return remembered(text, tuple(known))

    return estimate_once


@functools.cache
def _build_route_once(build: Callable[..., Any]) -> Callable[..., Any]:
    """Return a builder of the admin API's routes; they differ from Server to Server by nothing that a request meets."""
    made: dict[int, tuple[object, Any]] = {}

    def build_once(*, original_route: Any, include_context: Any) -> Any:
        # The route is kept, so that no other has its identity.
        if id(original_route) not in made:
            route = build(original_route=original_route, include_context=include_context)
            made[id(original_route)] = original_route, route
        return made[id(original_route)][1]

    return build_once
