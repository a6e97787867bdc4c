"""
Whose time a Worker signs by: its host's, or, where that is off, the Server's (docs/decisions/0012).

    clock = ServerClock(may_follow=may_follow_the_server(settings))
    clock.note(answer.headers)       # each answer tells the Server's time
    clock.now()                      # the host's time, until:
    clock.take_the_other()           # what was signed by it was refused, and the clocks differ

The host's own time comes first: whoever stands in front of the Server may have a clock that is off, too.
"""

import email.utils
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from lyftdata.core.durations import format_duration
from lyftdata.core.origins import is_loopback
from lyftdata.log import get_logger
from lyftdata.worker.settings import WorkerSettings

_log = get_logger(__name__)

# What the Server tolerates in either direction.
TOLERANCE_S = 30.0
# A clock may be off by a time zone, or by a day; what is signed for next year is signed for somebody else.
MOST_FOLLOWED_S = 48 * 3600.0


def since_boot_s() -> float:
    """Return seconds on a clock that does not jump and, where the system has one, goes on while the host sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def utc_now() -> datetime:
    """Return the host's time, aware UTC."""
    return datetime.now(UTC)


def may_follow_the_server(settings: WorkerSettings) -> bool:
    """
    Return whether what an answer says of the time comes from the Server, or from this very machine.

    Whoever could write it on the way would have the Worker sign for tomorrow, and come back with that tomorrow.
    """
    if settings.url.startswith("https:"):
        return not settings.tls_insecure
    return is_loopback(settings.url)


class ServerClock:
    """
    The time to sign by, and how far the host's is off.

    Args:
        may_follow: Whether the Server's time may be signed by at all.
        now: The host's time, aware UTC.
        steady_s: Seconds on a clock that does not jump.
    """

    def __init__(
        self,
        *,
        may_follow: bool,
        now: Callable[[], datetime] = utc_now,
        steady_s: Callable[[], float] = since_boot_s,
    ) -> None:
        self._may_follow = may_follow
        self._now = now
        self._steady_s = steady_s
        self._told: tuple[datetime, float] | None = None
        self._is_followed = False
        self._has_warned = False

    def note(self, headers: Mapping[str, str]) -> None:
        """Take the time from an answer (`Date`, RFC 9110, section 6.6.1); one that something between has kept is old."""
        date = _read_date(headers.get("date"))
        if date is None or "age" in headers:
            return
        self._told = (date, self._steady_s())
        if self.differs() and not self._has_warned:
            self._has_warned = True
            _log.warning("this host's clock is off", off=self.in_words(), mend="set it right (NTP)")

    def off_s(self) -> float | None:
        """Return by how many seconds the host's clock is ahead of the Server's; None while no answer has told."""
        if self._told is None:
            return None
        return (self._now() - self._servers_time(*self._told)).total_seconds()

    def in_words(self) -> str:
        """Return how far the host's clock is off, for people."""
        off_s = self.off_s() or 0.0
        where = "ahead of" if off_s > 0 else "behind"
        return f"{format_duration(timedelta(seconds=round(abs(off_s))))} {where} the Server's"

    def now(self) -> datetime:
        """Return the time to sign by."""
        if self._is_followed and self._told is not None and self.can_be_followed():
            return self._servers_time(*self._told)
        return self._now()

    def differs(self) -> bool:
        """Return whether the host's clock is so far off that what it signs is refused."""
        off_s = self.off_s()
        return off_s is not None and abs(off_s) > TOLERANCE_S

    def can_be_followed(self) -> bool:
        """Return whether the Server's time is known, may be believed, and is not absurd."""
        off_s = self.off_s()
        return self._may_follow and off_s is not None and abs(off_s) <= MOST_FOLLOWED_S

    def take_the_other(self) -> None:
        """Sign by the Server's time from now on, or by the host's again."""
        self._is_followed = not self._is_followed

    def _servers_time(self, date: datetime, at_s: float) -> datetime:
        return date + timedelta(seconds=self._steady_s() - at_s)


def _read_date(text: str | None) -> datetime | None:
    try:
        return email.utils.parsedate_to_datetime(text or "").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
