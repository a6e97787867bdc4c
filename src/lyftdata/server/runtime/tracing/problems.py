"""What the OpenTelemetry library complains of, as an event of the Server's log: a dead collector is no reason for a line each second."""

import logging
import re

from lyftdata.core.log_events.server import TRACES_NOT_SENT
from lyftdata.failure_log import FailureLog
from lyftdata.log import get_logger

_log = get_logger(__name__)
# The second sends what the first has made, and logs each address with its query (at DEBUG), and where an answer is malformed.
_LIBRARIES = ("opentelemetry", "urllib3")
_VALUE = re.compile(r"%[-#0 +\d.]*[a-zA-Z]")


class ProblemsOfTheLibrary(logging.Handler):
    """
    Takes the place of the library's own lines between `begin` and `end`.

    Secret disclosure: only the library's own words are logged. What it puts into them are addresses, with whatever stands in their query,
    and answers of the collector.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._failures = FailureLog(_log, TRACES_NOT_SENT)
        self._libraries = [logging.getLogger(name) for name in _LIBRARIES]

    def begin(self) -> None:
        """Take what the library logs from here on."""
        for library in self._libraries:
            library.addHandler(self)
            library.propagate = False

    def end(self) -> None:
        """Leave it to others again."""
        for library in self._libraries:
            library.removeHandler(self)
            library.propagate = True

    def emit(self, record: logging.LogRecord) -> None:
        """Log a line of the library, unless one was logged just now."""
        self._failures.failed(problem=_VALUE.sub("…", str(record.msg)))
