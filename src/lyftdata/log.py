"""
Logging for Server and Worker: a line an event, for people on a terminal, JSON elsewhere, to standard error.

What a stranger sent is cleaned before it gets here. Secrets have a type that prints as `***`, and tracebacks
never show local variables.
"""

import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from lyftdata.core.secret import Secret


def configure_logging(*, format: str | None, level: str, stream: TextIO | None = None) -> None:  # noqa: A002
    """
    Set logging up, once, at the start of a program.

    Args:
        format: `console` or `json`; None chooses by whether the stream is a terminal.
        level: `debug`, `info`, `warning` or `error`.
        stream: Where to; standard error unless given.
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
                structlog.processors.format_exc_info,
                _renderer(as_json=as_json, colors=out.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    # Libraries say at INFO what they do, request by request: a line a poll, for thousands of Workers.
    for chatty in ("httpx2", "httpcore2", "httpx", "httpcore", "uvicorn", "alembic", "asyncio"):
        logging.getLogger(chatty).setLevel(max(threshold, logging.WARNING))
    # It warns of every request that is none: a stranger could fill the disk with that.
    logging.getLogger("uvicorn.error").setLevel(max(threshold, logging.ERROR))


def get_logger(name: str) -> FilteringBoundLogger:
    """Return a logger; its first argument is the event, the rest are its fields."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


def _renderer(*, as_json: bool, colors: bool) -> Processor:
    if as_json:
        return structlog.processors.JSONRenderer()
    # The plain traceback formatter: the rich one would show local variables, and with them secrets.
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)


def _hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Make sure that a Secret handed to the log by mistake shows as `***`, in JSON too."""
    hidden: dict[str, Any] = {
        key: "***" if isinstance(value, Secret) else value for key, value in event.items()
    }
    return hidden
