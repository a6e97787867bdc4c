"""
The connections of a pool, none of which waits for ever for an answer.

A database, or a pooler or proxy in between, may accept a request and never answer; the network reports no error, and the driver waits for
ever. A watching thread aborts the connection: its caller gets an error, and the pool opens a new one.
"""

import contextlib
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Engine, event

# No statement of a running Server takes that long; the database ends those that write much sooner.
_ANSWERED_WITHIN_S = 120.0
_WATCH_EVERY_S = 5.0
# Longer than connecting may take.
_ABORT_EVERY_S = 10.0


class PooledConnections:
    """
    The connections of an engine's pool.

    Args:
        engine: Before its first connection. SQLite connections are files, which never get stuck.
    """

    def __init__(self, engine: Engine) -> None:
        self._sockets = weakref.WeakKeyDictionary[Any, socket.socket]()
        # The pool closes a dropped connection when Python collects it, which may happen inside this very class.
        self._mutex = threading.RLock()
        # Before SQLAlchemy's own first queries, which may never be answered either.
        event.listen(engine, "connect", self._note, insert=True)
        event.listen(engine, "close", self._forget)

    def watched(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which a caller that has waited two minutes for the database gets an error."""
        return _repeating(self._abort_unanswered, first_after_s=_WATCH_EVERY_S, every_s=_WATCH_EVERY_S)

    def aborted_after(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        """Return a context in which every connection is aborted after `seconds`, and then again: a new one may get stuck too."""
        return _repeating(self._abort_all, first_after_s=seconds, every_s=min(seconds, _ABORT_EVERY_S))

    def _abort_all(self) -> None:
        with self._mutex:
            for each in list(self._sockets.values()):
                _abort(each)

    def _abort_unanswered(self) -> None:
        latest = time.monotonic() - _ANSWERED_WITHIN_S
        with self._mutex:
            for connection, each in list(self._sockets.items()):
                # Connections made by another engine may have another class.
                since = getattr(connection, "waiting_since", None)
                if since is not None and since < latest:
                    _abort(each)

    def _note(self, connection: Any, _record: object) -> None:
        if not hasattr(connection, "fileno"):
            return
        # A duplicate of the descriptor: by the time of an abort, the driver's number may belong to another connection.
        handle = socket.socket(fileno=os.dup(connection.fileno()))
        # A connection whose first queries go unanswered is dropped without being closed.
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


def _abort(handle: socket.socket) -> None:
    with contextlib.suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _repeating(action: Callable[[], None], *, first_after_s: float, every_s: float) -> Iterator[None]:
    """Call a function in a thread repeatedly until the end of the block."""
    ended = threading.Event()

    def repeat() -> None:
        wait_s = first_after_s
        while not ended.wait(wait_s):
            action()
            wait_s = every_s

    thread = threading.Thread(target=repeat, name="store-abort", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
