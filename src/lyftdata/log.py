"""
Logging of Server and Worker: one line for each event to standard error, for people on a terminal, otherwise as JSON.

Every event is registered in lyftdata.core.log_events and logged with `emit`. Any part of a line may come from an
untrusted caller, and terminals obey control characters: on the console every text is cleaned, and each event is one
line, with the lines of a traceback indented below it. Secrets have a type that prints as `***`, and tracebacks never
show local variables.
"""

import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from lyftdata.core.log_events import Level, LogEvent
from lyftdata.core.secret import Secret
from lyftdata.core.text import clean_line, clean_lines


def configure_logging(
    *,
    format: str | None,  # noqa: A002
    level: str,
    stream: TextIO | None = None,
    process: int | None = None,
) -> None:
    """
    Set logging up, once, at the start of a program.

    Args:
        format: `console` or `json`; None chooses by whether the stream is a terminal.
        level: `debug`, `info`, `warning` or `error`.
        stream: Where to; standard error unless given.
        process: The number of this process, for each line, where several write to one log.
    """
    out = stream or sys.stderr
    as_json = format == "json" or (format is None and not out.isatty())
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _hide_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([] if process is None else [_NumberOf(process)]),
                structlog.processors.format_exc_info,
                *_renderers(as_json=as_json, colors=out.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    # Libraries say at INFO what they do, request by request: a line a poll, for thousands of Workers.
    for chatty in ("httpx2", "httpcore2", "httpx", "httpcore", "uvicorn", "alembic", "asyncio"):
        logging.getLogger(chatty).setLevel(max(threshold, logging.WARNING))
    # It warns of every malformed request: anyone could fill the disk with that.
    logging.getLogger("uvicorn.error").setLevel(max(threshold, logging.ERROR))


def get_logger(name: str) -> FilteringBoundLogger:
    """Return a logger for `emit`."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


def emit(
    log: FilteringBoundLogger,
    event: LogEvent,
    /,
    *,
    level: Level | None = None,
    exc_info: bool | BaseException = False,
    **fields: object,
) -> None:
    """
    Log an event.

    Args:
        log: The logger of the module.
        event: A registered event; tests/repository/test_log_events.py checks that each call has the fields that it declares.
        level: `event.also_level`, where that applies.
        exc_info: True for the exception being handled, or an exception: its traceback is logged.
        fields: Of the event; one that is None is left out. From `warning` on, a line without a `remedy` has the event's.
    """
    known = {name: value for name, value in fields.items() if value is not None}
    if exc_info:
        known["exc_info"] = exc_info
    number = logging.getLevelNamesMapping()[(level or event.level).upper()]
    if event.remedy and number >= logging.WARNING:
        known.setdefault("remedy", event.remedy)
    log.log(number, event.name, message=event.message, **known)


class _NumberOf:
    """Adds the number of this process; at the very end, since loggers that were used before the fork keep their other steps."""

    def __init__(self, process: int) -> None:
        self._process = process

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = self._process
        return event


def _renderers(*, as_json: bool, colors: bool) -> list[Processor]:
    if as_json:
        # ASCII: what a terminal would obey is escaped.
        return [_replace_half_surrogates, structlog.processors.JSONRenderer(default=_described)]
    # The plain traceback formatter: the rich one would show local variables, and with them secrets.
    console = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
    return [_clean_for_console, console]


# Of many lines: `format_exc_info` makes the first, structlog's own the second.
_OF_MANY_LINES = frozenset({"exception", "stack"})


def _clean_for_console(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Remove control characters and line breaks from names and values; the message follows the event's name."""
    cleaned = {clean_line(str(key)): _for_console(key, value) for key, value in event.items()}
    if "message" in cleaned:
        cleaned["event"] = f"{cleaned['event']}: {cleaned.pop('message')}"
    return cleaned


def _for_console(key: str, value: Any) -> Any:
    if key in _OF_MANY_LINES:
        return clean_lines(str(value), indent="    ")
    if value is None or isinstance(value, bool | int | float):
        return value
    # Of anything else, what it calls itself: the texts in a list or a table are escaped there.
    return clean_line((value if isinstance(value, str) else repr(value)).rstrip())


def _replace_half_surrogates(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Make sure that each line is JSON to every reader: JSON escapes halves of surrogate pairs, and most readers refuse them."""
    cleaned: dict[str, Any] = _whole_characters(event)
    return cleaned


def _described(value: Any) -> str:
    """Return what something that JSON has no form for calls itself."""
    return str(_whole_characters(repr(value)))


def _whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_whole_characters(key): _whole_characters(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_whole_characters(inner) for inner in value]
    return value


def _hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Make sure that a Secret handed to the log by mistake shows as `***`, in JSON too."""
    hidden: dict[str, Any] = {
        key: "***" if isinstance(value, Secret) else value for key, value in event.items()
    }
    return hidden
