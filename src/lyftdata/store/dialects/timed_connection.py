"""A connection of psycopg that says since when it waits for its database; imported where PostgreSQL is used, and there is a driver."""

import time
from typing import Any

import psycopg


class TimedConnection(psycopg.Connection[Any]):
    """A connection whose every wait for an answer is timed: of statements, commits and pings alike."""

    waiting_since: float | None = None
    """When the exchange that it waits for began, by `time.monotonic`; None between two."""

    def wait(self, *args: Any, **options: Any) -> Any:
        """Wait as psycopg does: every exchange on an open connection goes through here, whatever the arguments of this version."""
        self.waiting_since = time.monotonic()
        try:
            return super().wait(*args, **options)
        finally:
            self.waiting_since = None
