"""The log: for people on a terminal, JSON elsewhere, and never a secret."""

import io
import json
import logging

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


def logged(action, **options):
    """Return the lines that an action logs."""
    stream = io.StringIO()
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


def test_what_strangers_send_fills_no_log():
    """A line for every request that is none would let anybody fill the disk; failures of ours are still told."""
    configure_logging(format="json", level="debug", stream=io.StringIO())

    assert logging.getLogger("uvicorn.error").level == logging.ERROR
