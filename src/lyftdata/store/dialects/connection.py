"""
A dedicated connection to PostgreSQL that another thread can abort, so that no caller blocks for ever.

A database, or a pooler or proxy in between, may accept a request and never answer; the network reports no error, and the driver
waits for ever. A watching thread aborts the connection, and the next query uses a new one.
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
    One connection, opened on demand and kept; used by one thread at a time.

    Args:
        engine: Used by this connection alone, without a pool.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._conn: Connection | None = None
        self._socket: socket.socket | None = None
        self._mutex = threading.Lock()
        # Before SQLAlchemy's own first queries, which may never be answered either.
        event.listen(engine, "connect", self._note, insert=True)

    @property
    def is_open(self) -> bool:
        """Return whether a connection is open; the database may have closed it since."""
        return self._conn is not None

    @contextlib.contextmanager
    def use(self) -> Iterator[Connection]:
        """Yield the connection in a transaction; it is closed on any error."""
        try:
            if self._conn is None:
                self._conn = self._engine.connect()
            with self._conn.begin():
                yield self._conn
        except BaseException:
            self.close()
            raise

    def abort(self) -> None:
        """Abort the connection, so that pending callers get an error; callable from any thread."""
        with self._mutex:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; call it in the thread that uses it."""
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
            # A duplicate of the descriptor: by the time of an abort, the driver's number may belong to another connection.
            self._socket = socket.socket(fileno=os.dup(connection.fileno()))
