"""
Computes once what every Server computes at its start with the same result, for Servers in this process or forked from it.

The real code computes each of these the first time. The migrations, the assessment of secrets and the admin API's routes took
four fifths of the CPU time of a start, and hundreds of tests start a Server each.
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
    Keep and reuse what Servers in this process need at each start.

    Args:
        replace: Sets an attribute as `setattr` does.
    """
    share_migrations(replace)
    share_compiled_statements(replace)
    replace(secret_strength, "_estimate", _estimate_once(secret_strength._estimate))
    stretch_once = functools.lru_cache(1_000)(enrollment_secrets._stretch)
    replace(enrollment_secrets, "_stretch", stretch_once)
    # Private to FastAPI: without it the tests are slower, but do not fail.
    context = getattr(fastapi.routing, "_EffectiveRouteContext", None)
    if context is not None:
        replace(context, "from_api_route", _build_route_once(context.from_api_route))


def prepare_starts(replace: Replace) -> None:
    """
    Compute now what the Servers forked from this process need at each start.

    They hash passwords with Argon2's lowest costs. A Server started as a new interpreter uses the real ones.

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
    Give each empty database the tables that the migrations made in the first one of its kind.

    Args:
        replace: Sets an attribute as `setattr` does.
    """
    replace(migrate, "upgrade", _upgrade_by_repeating(migrate.upgrade))


def share_compiled_statements(replace: Replace) -> None:
    """
    Compile each statement to SQL once per kind of database, not once per Server: SQLAlchemy caches compiled statements per engine.

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
        # Compiled statements are cached by dialect, which all databases of one kind share.
        engine.dialect, engine._compiled_cache = _shared_dialects[kind]
    else:
        # Not before the dialect knows the database's features, which it asks at the first connection.
        event.listen(
            engine.pool,
            "first_connect",
            lambda *_: _shared_dialects.setdefault(kind, (engine.dialect, engine._compiled_cache)),
        )
    return engine


@functools.cache
def _upgrade_by_repeating(upgrade: Upgrade) -> Upgrade:
    """Return an `upgrade` that repeats what the migrations executed in the first empty database of the same kind."""
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
            # Directly with the driver: SQLAlchemy's overhead takes longer than the statement.
            for statement, parameters in statements:
                sqlite.raw(conn).execute(statement, parameters)
        else:
            for statement, parameters in statements:
                conn.exec_driver_sql(statement, parameters)
        return True

    return upgrade_by_repeating


def _what_is_there(conn: Connection) -> list[tuple[str, Any]]:
    """Return statements that make the tables and rows of an SQLite database: half as many as the migrations'."""
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
    """Record the executed statements that change something, with their parameters."""
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
    """Return a builder of the admin API's routes that builds each once; for a request they are the same in every Server."""
    made: dict[int, tuple[object, Any]] = {}

    def build_once(*, original_route: Any, include_context: Any) -> Any:
        # The route is kept, so that no other object gets the same id.
        if id(original_route) not in made:
            route = build(original_route=original_route, include_context=include_context)
            made[id(original_route)] = original_route, route
        return made[id(original_route)][1]

    return build_once
