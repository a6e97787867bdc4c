"""A psycopg connection that records how long it has waited for the database; imported only where PostgreSQL and its driver are used."""

import time
from typing import Any

import psycopg


class TimedConnection(psycopg.Connection[Any]):
    """A connection that times every wait for an answer: of statements, commits and pings."""

    waiting_since: float | None = None
    """`time.monotonic` at the start of the exchange it is waiting for; None if it is not waiting."""

    def wait(self, *args: Any, **options: Any) -> Any:
        """Wait as psycopg does: every exchange on an open connection goes through here; the arguments differ between versions."""
        self.waiting_since = time.monotonic()
        try:
            return super().wait(*args, **options)
        finally:
            self.waiting_since = None
