"""Every log line of the program is a registered event."""

import ast
import functools
import io
import json
import logging
import re
from pathlib import Path

import pytest
import structlog

from lyftdata.core.log_events import LogEvent, client, common, events_of, server, verifier, worker
from lyftdata.log import configure_logging, emit, get_logger

SOURCE = Path(__file__).parents[2] / "src" / "lyftdata"
REGISTRIES = {
    module.__name__.rpartition(".")[2]: module for module in (client, common, server, verifier, worker)
}
EVENTS = [event for module in REGISTRIES.values() for event in events_of(vars(module))]
LOGGERS = re.compile(r"\b_?log(ger)?\.(debug|info|warning|error|exception|critical|log)\(")
# The only modules that write events.
WRITERS = {SOURCE / "log.py", SOURCE / "library_log.py"}


class Call:
    """A call that logs an event."""

    def __init__(self, path, event, keywords):
        self.path, self.event, self.keywords = path, event, keywords

    @property
    def is_of_the_library(self):
        """Whether it logs for a program that uses lyftdata.client or lyftdata.verify."""
        return self.path.relative_to(SOURCE).parts[0] in {"client", "verify"}


def _imported_events(tree):
    """Return the events that a module imports, by their name in it."""
    found: dict[str, LogEvent] = {}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.startswith("lyftdata.core.log_events.")
        ):
            registry = REGISTRIES[node.module.rpartition(".")[2]]
            found |= {alias.asname or alias.name: getattr(registry, alias.name) for alias in node.names}
    return found


@functools.cache
def _calls():
    return list(_find_calls())


def _find_calls():
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        events = _imported_events(tree)
        if not events and path.name != "failure_log.py":
            continue  # the command line has another `emit`, which prints
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"emit", "FailureLog"}:
                names = [a.id for a in node.args if isinstance(a, ast.Name) and a.id in events]
                keywords = {k.arg: k.value for k in node.keywords}
                yield Call(path, events[names[0]] if names else None, keywords)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_an_event_has_an_identifier_a_sentence_and_a_remedy(event):
    """The name is snake_case, the message a sentence, and a warning or an error has a remedy."""
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", event.name)
    assert event.message[0].isupper()
    assert event.message.endswith(".")
    assert bool(event.also_level) == bool(event.also_when)
    if {event.level, event.also_level} & {"warning", "error"} and event.name != "used_assertions_unreadable":
        assert event.remedy.endswith(".")


@pytest.mark.parametrize("program", [(common, server), (common, worker), (client,), (verifier,)])
def test_no_two_events_of_a_program_have_the_same_name(program):
    """So an identifier in a log is unambiguous."""
    names = [event.name for module in program for event in events_of(vars(module))]

    assert len(names) == len(set(names))


def test_each_registered_event_is_logged():
    """So the reference lists no event that no code logs."""
    logged = {id(call.event) for call in _calls()}

    assert [event.name for event in EVENTS if id(event) not in logged] == []


def test_each_call_logs_a_registered_event_with_fields_it_declares():
    """So no log line has an event or a field that is not in the reference."""
    wrong = []
    for call in _calls():
        if call.event is None:
            # FailureLog itself, which passes its event on.
            assert call.path.name == "failure_log.py", call.path
            continue
        options = {"traceback"} if call.is_of_the_library else {"level", "exc_info", "remedy", "monotonic"}
        wrong += [
            (call.path.name, call.event.name, name)
            for name in call.keywords
            if name is not None and name not in {*call.event.fields, *options}
        ]
        level = call.keywords.get("level")
        for text in (
            (node.value for node in ast.walk(level) if isinstance(node, ast.Constant)) if level else ()
        ):
            if isinstance(text, str) and text not in {call.event.level, call.event.also_level}:
                wrong.append((call.path.name, call.event.name, text))

    assert wrong == []


def test_repeated_failures_have_the_fields_of_their_event():
    """FailureLog.failed gets only fields that an event with `left_out` declares."""
    declared = {field for event in EVENTS if "left_out" in event.fields for field in event.fields}
    passed = {
        keyword.arg
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", "") == "failed"
        and "failures" in ast.unparse(node.func)
        for keyword in node.keywords
    }

    assert {"problem", "work"} <= passed <= declared | {"level", "exception"}


def test_only_events_are_logged():
    """No module calls a logger directly with an undocumented text."""
    found = [
        f"{path.relative_to(SOURCE)}:{number}"
        for path in SOURCE.rglob("*.py")
        if path not in WRITERS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if LOGGERS.search(line)
    ]

    assert found == []


# The Redis guard has its own log.
QUOTED = re.compile(r"(?<!guard )\b(?:log (?:says|has)|logs)\s`([^`]+)`")


def test_the_docs_quote_registered_events():
    """What a page says to look for in a log can occur there."""
    pages = [path.read_text(encoding="utf-8") for path in (SOURCE.parents[1] / "docs").rglob("*.md")]
    quoted = {name for page in pages for name in QUOTED.findall(page)}

    assert {"refused", "retrying", "write_lock_wait"} <= quoted <= {event.name for event in EVENTS}


EXAMPLE = LogEvent(
    name="example_failed",
    level="info",
    also_level="warning",
    also_when="it repeats",
    message="It failed.",
    fields={"problem": "what"},
    remedy="Do this.",
)


@pytest.fixture
def written():
    """Return a function that logs in a format and returns the text; logging is restored afterwards."""
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level

    def write(log_format, **options):
        stream = io.StringIO()
        configure_logging(format=log_format, level="info", stream=stream)
        emit(get_logger("test"), EXAMPLE, **options)
        return stream.getvalue()

    yield write
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


def test_a_json_line_has_the_identifier_the_sentence_and_the_fields(written):
    """Machines match on `event`; a field that is None is left out."""
    line = json.loads(written("json", problem="p", other=None))

    assert {key: line[key] for key in line.keys() - {"timestamp", "logger"}} == {
        "event": "example_failed",
        "level": "info",
        "message": "It failed.",
        "problem": "p",
    }


def test_a_warning_has_a_remedy(written):
    """At level `warning` and above, a line has the event's remedy, unless the call gives a better one."""
    assert json.loads(written("json", level="warning"))["remedy"] == "Do this."
    assert json.loads(written("json", level="warning", remedy="Do that."))["remedy"] == "Do that."


def test_on_a_console_the_sentence_follows_the_identifier(written):
    """So people need not look the identifier up."""
    assert "example_failed: It failed." in written("console", problem="p")


def test_log_lines_on_the_pages_are_those_of_the_program():
    """README and docs show a line as a terminal does: the event, and its sentence."""
    root = SOURCE.parents[1]
    pages = [root / "README.md", *(root / "docs").rglob("*.md")]
    shown = [
        line
        for page in pages
        for line in page.read_text(encoding="utf-8").splitlines()
        if re.match(r"… (\[|[a-z_]+: )", line)
    ]

    assert shown
    beginnings = tuple(f"… {event.name}: {event.message}" for event in EVENTS)
    assert [line for line in shown if not line.startswith(beginnings)] == []
