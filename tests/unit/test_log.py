"""The log: for people on a terminal, JSON elsewhere, and never a secret."""

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
    """Leave logging as it was."""
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def logged(action, *, stream=None, **options):
    """Return the lines that an action logs."""
    stream = stream or io.StringIO()
    configure_logging(**({"format": None, "level": "info"} | options), stream=stream)
    action(get_logger("test"))
    return stream.getvalue()


def test_elsewhere_than_on_a_terminal_it_is_json():
    """A line an event, with time, level and fields."""
    entry = json.loads(logged(lambda log: log.info("online", worker_id="w-1")))

    assert (entry["event"], entry["level"], entry["worker_id"]) == ("online", "info", "w-1")
    assert entry["timestamp"].endswith("Z")


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_secret_handed_to_the_log_shows_as_stars(format):
    """In either form, as a field or inside one, and in a traceback's locals."""

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


def test_levels_count_for_libraries_too():
    """Below the level nothing is logged; a library's lines come in the same form."""

    def action(log):
        log.debug("quiet")
        logging.getLogger("some.library").warning("loud %s", "one")

    (line,) = logged(action).splitlines()
    assert json.loads(line)["event"] == "loud one"


def test_what_unknown_callers_send_fills_no_log():
    """A line for each malformed request would let anybody fill the disk; the Server's own failures are still logged."""
    configure_logging(format="json", level="debug", stream=io.StringIO())

    assert logging.getLogger("uvicorn.error").level == logging.ERROR


# What a terminal obeys, or takes for a new line: C0, C1 (as one character), bidi controls, and every line break of Unicode.
HOSTILE = "\x00\x07\x08\x1b[2J\x1b]0;pwned\x07\x7f\x9b31m\u202e\u2066\u2028\u2029\x85\x0b\x0c\r\n2026-01-01 forged\ud800"


class Strange:
    """Calls itself what it likes."""

    def __repr__(self) -> str:
        return HOSTILE


def raise_hostile():
    """Raise an error with hostile words, for another."""
    try:
        raise KeyError(Strange())
    except KeyError as error:
        raise ValueError(HOSTILE) from error


def log_everywhere(log):
    """Log hostile text wherever a line can hold it."""
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
def test_nothing_that_unknown_callers_say_is_obeyed_by_a_terminal(stream):
    """In names and values, nested, in errors and tracebacks, from libraries: on lines and with colours that the program makes."""
    # The program's own colours: digits alone, and the letter m.
    text = re.sub(r"\x1b\[[0-9;]*m", "", logged(log_everywhere, stream=stream(), format="console"))

    assert [character for character in text if not character.isprintable() and character != "\n"] == []
    # Between two tracebacks of one event stands a rule of the library's.
    lines = [line for line in text.split("\n") if line.strip("=")]
    events = [line for line in lines if not line.startswith("    ")]
    assert len(events) == 7
    assert all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[", line) for line in events)
    assert "ValueError" in text
    assert "KeyError" in text


def test_json_lines_are_ascii_and_json_to_every_reader():
    """One object a line, with halves of surrogate pairs replaced, which a strict reader would refuse."""
    text = logged(log_everywhere, format="json")

    assert text.isascii()
    lines = text.splitlines()
    assert len(lines) == 7
    for line in lines:
        assert msgspec.json.decode(line)["timestamp"]
    assert text.count("\x1b") == 0
