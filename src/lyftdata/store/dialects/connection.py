"""
Connections to PostgreSQL that another thread can abort, so that no caller blocks for ever: a dedicated one, and those of a pool.

A database, or what stands between (a pooler, a proxy), may take what it is sent and never answer; the network sees
nothing wrong then. The driver waits for ever. The watching thread aborts the connection, and the next question goes
by a new connection.
"""

import contextlib
import os
import socket
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    import psycopg


# Longer than making a connection may take.
_ABORT_EVERY_S = 10.0


class PooledConnections:
    """
    The connections of an engine's pool, for a Server that stops: it waits for those who use them.

    Args:
        engine: Before its first connection. Those of SQLite are files, and never stuck.
    """

    def __init__(self, engine: Engine) -> None:
        self._sockets = weakref.WeakKeyDictionary[Any, socket.socket]()
        # The pool closes a connection that was dropped when Python collects it, which may be within this very class.
        self._mutex = threading.RLock()
        # Before SQLAlchemy asks its first questions, which may go unanswered as well.
        event.listen(engine, "connect", self._note, insert=True)
        event.listen(engine, "close", self._forget)

    @contextlib.contextmanager
    def aborted_after(self, seconds: float) -> Iterator[None]:
        """Abort every connection after so many seconds within the block, and then again: one that is made meanwhile may be stuck too."""
        ended = threading.Event()

        def watch() -> None:
            wait_s = seconds
            while not ended.wait(wait_s):
                self.abort()
                wait_s = min(seconds, _ABORT_EVERY_S)

        watching = threading.Thread(target=watch, name="store-abort", daemon=True)
        watching.start()
        try:
            yield
        finally:
            ended.set()
            watching.join()

    def abort(self) -> None:
        """Abort every connection, so that pending callers get an error; from any thread."""
        with self._mutex:
            for each in list(self._sockets.values()):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _note(self, connection: Any, _record: object) -> None:
        if not hasattr(connection, "fileno"):
            return
        # A handle of its own: the driver's number may mean another connection by the time somebody hangs up.
        handle = socket.socket(fileno=os.dup(connection.fileno()))
        # One whose first questions go unanswered is dropped without being closed.
        weakref.finalize(connection, handle.close)
        with self._mutex:
            self._sockets[connection] = handle

    def _forget(self, connection: Any, _record: object) -> None:
        if not hasattr(connection, "fileno"):
            return
        with self._mutex:
            handle = self._sockets.pop(connection, None)
        if handle is not None:
            handle.close()


class DedicatedConnection:
    """
    One connection, opened when it is needed and kept; used in one thread at a time.

    Args:
        engine: Of this line alone, without a pool.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._conn: Connection | None = None
        self._socket: socket.socket | None = None
        self._mutex = threading.Lock()
        # Before SQLAlchemy asks its first questions, which may go unanswered as well.
        event.listen(engine, "connect", self._note, insert=True)

    @property
    def is_open(self) -> bool:
        """Return whether there is a connection; it may have ended meanwhile."""
        return self._conn is not None

    @contextlib.contextmanager
    def use(self) -> Iterator[Connection]:
        """Give the connection; it is closed if anything goes wrong with it."""
        try:
            if self._conn is None:
                self._conn = self._engine.connect()
            with self._conn.begin():
                yield self._conn
        except BaseException:
            self.close()
            raise

    def abort(self) -> None:
        """Break the connection off, so that pending callers get an error; from any thread."""
        with self._mutex:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; in the thread that uses it."""
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(SQLAlchemyError):
                conn.close()
        with self._mutex:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _note(self, connection: "psycopg.Connection[Any]", _record: object) -> None:
        with self._mutex:
            if self._socket is not None:
                self._socket.close()
            # A handle of its own: the driver's number may mean another connection by the time somebody hangs up.
            self._socket = socket.socket(fileno=os.dup(connection.fileno()))
