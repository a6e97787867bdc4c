"""
Logging of lyftdata.verify and lyftdata.client: registered events, to loggers of the standard library.

A line reads `event: message field=value …`; handlers find the same in the record's attributes `event` and `fields`.
"""

import logging

from lyftdata.core.log_events import LogEvent
from lyftdata.core.text import clean_text

_MAX_FIELD_LENGTH = 1000


def emit(log: logging.Logger, event: LogEvent, /, *, traceback: str = "", **fields: str) -> None:
    """
    Log an event.

    Args:
        log: The library's logger.
        event: A registered event.
        traceback: Further lines, without the text of an exception, which may hold a token.
        fields: Fields of the event. They may hold what an unproven caller sent: control characters are removed.
    """
    known = {name: clean_text(value, _MAX_FIELD_LENGTH) for name, value in fields.items()}
    line = " ".join(
        [f"{event.name}: {event.message}", *(f"{name}={value!r}" for name, value in known.items())]
    )
    level = logging.getLevelNamesMapping()[event.level.upper()]
    log.log(
        level,
        "%s",
        f"{line}\n{traceback}" if traceback else line,
        extra={"event": event.name, "fields": known},
    )
