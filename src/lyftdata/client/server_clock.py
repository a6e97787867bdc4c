"""
Decides which time a Worker signs for: its host's, or, if that clock is wrong, the time of the Server's nonce (docs/decisions/0012).

    clock = ServerClock()
    clock.note(answer.headers)             # each answer names the Server's time: `on_skew` is called once if the host's is off
    clock.needs_nonce                      # whether what is signed for the host's time is refused

The host's own time is tried first, and without a nonce nothing is signed for another time: a signature with a nonce is valid for
two minutes after the Server made the nonce, whatever time an answer named.
"""

import email.utils
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from lyftdata.core.durations import format_duration

# The skew that the Server tolerates in either direction.
TOLERANCE_S = 30.0


def since_boot_s() -> float:
    """Return seconds on a clock that does not jump and, if the system has one, that also counts while the host sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def utc_now() -> datetime:
    """Return the host's time, aware UTC."""
    return datetime.now(UTC)


class ServerClock:
    """
    The host's time, and how far it differs from the Server's.

    Args:
        now: Returns the host's time, aware UTC.
        steady_s: Returns seconds on a clock that does not jump.
        on_skew: Called once when the host's clock is found to be off, with a description of how far.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = utc_now,
        steady_s: Callable[[], float] = since_boot_s,
        on_skew: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._now = now
        self._steady_s = steady_s
        self._on_skew = on_skew
        self._server_date: tuple[datetime, float] | None = None
        self._has_warned = False
        self.needs_nonce = False
        """Whether the Server has accepted only signatures for the time of a nonce."""

    def note(self, headers: Mapping[str, str]) -> None:
        """Take the Server's time from an answer (`Date`, RFC 9110, section 6.6.1); an answer from a cache (`Age`) is ignored."""
        date = _read_date(headers.get("date"))
        if date is None or "age" in headers:
            return
        self._server_date = (date, self._steady_s())
        if self.is_skewed() and not self._has_warned:
            self._has_warned = True
            self._on_skew(self.describe_skew())

    def note_accepted(self, nonce_time: datetime) -> None:
        """Remember that a signature for a nonce's time was accepted after one for the host's time was refused."""
        self.needs_nonce = abs((self._now() - nonce_time).total_seconds()) > TOLERANCE_S

    def off_s(self) -> float | None:
        """Return by how many seconds the host's clock is ahead of the Server's; None until an answer has named a time."""
        if self._server_date is None:
            return None
        date, at_s = self._server_date
        servers_time = date + timedelta(seconds=self._steady_s() - at_s)
        return (self._now() - servers_time).total_seconds()

    def describe_skew(self) -> str:
        """Describe how far the host's clock is off."""
        off_s = self.off_s() or 0.0
        where = "ahead of" if off_s > 0 else "behind"
        return f"{format_duration(timedelta(seconds=round(abs(off_s))))} {where} the Server's"

    def now(self) -> datetime:
        """Return the host's time."""
        return self._now()

    def is_skewed(self) -> bool:
        """Return whether the host's clock is so far off that signatures for its time are refused."""
        off_s = self.off_s()
        return off_s is not None and abs(off_s) > TOLERANCE_S


def _read_date(text: str | None) -> datetime | None:
    try:
        return email.utils.parsedate_to_datetime(text or "").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
