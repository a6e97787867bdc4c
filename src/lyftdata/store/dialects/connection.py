"""
A dedicated connection to PostgreSQL that another thread can abort, so that no caller blocks for ever.

A database, or what stands between (a pooler, a proxy), may take what it is sent and never answer; the network sees
nothing wrong then. The driver waits for ever. The watching thread aborts the connection, and the next question goes
by a new connection.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    import psycopg


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
