"""The log is readable on a terminal, JSON elsewhere, and never contains a secret."""

import io
import json
import logging
import re

import msgspec
import pytest
import structlog

from lyftdata.core.secret import Secret
from lyftdata.log import configure_logging, get_logger


@pytest.fixture(autouse=True)
def restored():
    """Restore the logging configuration."""
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def logged(action, *, stream=None, **options):
    """Return what an action logs."""
    stream = stream or io.StringIO()
    configure_logging(**({"format": None, "level": "info"} | options), stream=stream)
    action(get_logger("test"))
    return stream.getvalue()


def test_the_log_is_json_if_it_is_not_on_a_terminal():
    """One event per line, with time, level and fields."""
    entry = json.loads(logged(lambda log: log.info("online", worker_id="w-1")))

    assert (entry["event"], entry["level"], entry["worker_id"]) == ("online", "info", "w-1")
    assert entry["timestamp"].endswith("Z")


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_secret_is_logged_as_stars(format):
    """In either format, as a field or nested in one, and with a traceback."""

    def action(log):
        password = Secret("hunter2")
        log.info("x", password=password, inside={"a": [password]})
        try:
            raise ValueError("no")
        except ValueError:
            log.exception("failed", password=password)

    text = logged(action, format=format)
    assert "hunter2" not in text
    assert "***" in text
    assert "ValueError" in text


def test_the_log_level_applies_to_libraries_too():
    """Their lines have the same format as ours."""

    def action(log):
        log.debug("quiet")
        logging.getLogger("some.library").warning("loud %s", "one")

    (line,) = logged(action).splitlines()
    assert json.loads(line)["event"] == "loud one"


def test_malformed_requests_do_not_flood_the_log():
    """A line for each would let anyone fill the disk; the Server's own failures are still logged."""
    configure_logging(format="json", level="debug", stream=io.StringIO())

    assert logging.getLogger("uvicorn.error").level == logging.ERROR


# What a terminal interprets, or displays as a new line: C0, C1 (as one character), bidi controls, and every Unicode line break.
HOSTILE = "\x00\x07\x08\x1b[2J\x1b]0;pwned\x07\x7f\x9b31m\u202e\u2066\u2028\u2029\x85\x0b\x0c\r\n2026-01-01 forged\ud800"


class Strange:
    """An object with a hostile `repr`."""

    def __repr__(self) -> str:
        return HOSTILE


def raise_hostile():
    """Raise an error with hostile text, caused by another."""
    try:
        raise KeyError(Strange())
    except KeyError as error:
        raise ValueError(HOSTILE) from error


def log_everywhere(log):
    """Log hostile text wherever a line can contain it."""
    log.info(HOSTILE, path=HOSTILE, **{HOSTILE: 1})
    log.info(
        "nested",
        inside={HOSTILE: [HOSTILE, (HOSTILE, {HOSTILE})]},
        strange=Strange(),
        raw=HOSTILE.encode("utf-8", "replace"),
    )
    log.info("error as a field", problem=ValueError(HOSTILE))
    log.info("other keys", exception=HOSTILE, stack=HOSTILE, logger=HOSTILE, level=HOSTILE)
    logging.getLogger(f"library.{HOSTILE}").warning("says %s", HOSTILE)
    try:
        raise_hostile()
    except ValueError:
        log.exception(HOSTILE)
        logging.getLogger("library").exception("failed: %s", HOSTILE)


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_hostile_text_cannot_control_a_terminal(stream):
    """Names and values, nested, in errors and tracebacks, from libraries: only the program's own line breaks and colours remain."""
    # The program's own colours: only digits and the letter m.
    text = re.sub(r"\x1b\[[0-9;]*m", "", logged(log_everywhere, stream=stream(), format="console"))

    assert [character for character in text if not character.isprintable() and character != "\n"] == []
    # The library prints a ruler between two tracebacks of one event.
    lines = [line for line in text.split("\n") if line.strip("=")]
    events = [line for line in lines if not line.startswith("    ")]
    assert len(events) == 7
    assert all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[", line) for line in events)
    assert "ValueError" in text
    assert "KeyError" in text


def test_json_lines_are_ascii_and_valid_for_strict_parsers():
    """One object per line, with lone surrogates replaced."""
    text = logged(log_everywhere, format="json")

    assert text.isascii()
    lines = text.splitlines()
    assert len(lines) == 7
    for line in lines:
        assert msgspec.json.decode(line)["timestamp"]
    assert text.count("\x1b") == 0
