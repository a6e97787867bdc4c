"""Logs problems of the OpenTelemetry library as events of the Server's log: a dead collector must not cause a line each second."""

import logging
import re

from lyftdata.core.log_events.server import TRACES_NOT_SENT
from lyftdata.failure_log import FailureLog
from lyftdata.log import get_logger

_log = get_logger(__name__)
# The second logger sends what the first has created, and logs each URL with its query (at DEBUG), and where a response is malformed.
_LIBRARIES = ("opentelemetry", "urllib3")
_VALUE = re.compile(r"%[-#0 +\d.]*[a-zA-Z]")


class ProblemsOfTheLibrary(logging.Handler):
    """
    Replaces the library's own log lines between `begin` and `end`.

    Secret disclosure: only the library's own words are logged. Their parameters are URLs, with anything in their query, and responses
    of the collector.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._failures = FailureLog(_log, TRACES_NOT_SENT)
        self._libraries = [logging.getLogger(name) for name in _LIBRARIES]

    def begin(self) -> None:
        """Start to intercept what the library logs."""
        for library in self._libraries:
            library.addHandler(self)
            library.propagate = False

    def end(self) -> None:
        """Stop intercepting it."""
        for library in self._libraries:
            library.removeHandler(self)
            library.propagate = True

    def emit(self, record: logging.LogRecord) -> None:
        """Log a line of the library, unless one was just logged."""
        self._failures.failed(problem=_VALUE.sub("…", str(record.msg)))
