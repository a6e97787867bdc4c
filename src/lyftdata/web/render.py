"""Renders templates: escaped by default, with a policy that allows only our own scripts."""

import functools
import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response

import lyftdata
from lyftdata.core.durations import largest_unit, nearest_unit
from lyftdata.core.errors import InvalidInputError, LyftdataError
from lyftdata.core.names import format_labels
from lyftdata.core.query_words import quote as quote_value
from lyftdata.core.text import count
from lyftdata.core.worker_query import label_term
from lyftdata.web import faults, zones
from lyftdata.web.wording import describe_details, describe_program

# What a page may do (Content Security Policy Level 3): our own files, our own server, nothing inline, no frames.
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # A page may contain a key that is shown once: neither a disk nor the back button may keep it.
    # A proxy must not compress it either (docs/decisions/0049-only-static-files-are-compressed.md).
    "Cache-Control": "no-store, no-transform",
}

_NOW_S = 5
_UNITS = {"d": "day", "h": "hour", "m": "minute", "s": "second"}


def render(template: str, *, status: int = 200, **context: Any) -> Response:
    """Return a template as a response."""
    text = _environment().get_template(template).render({"fault": None} | context)
    return HTMLResponse(text, status, headers=HEADERS)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("lyftdata.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "field": faults.field,
        "error_of": faults.error_of,
        "version": lyftdata.__version__,
        "static": static_url,
        "query": _query,
        "dom_id": _dom_id,
        "label_term": label_term,
        "quoted": quote_value,
    }
    environment.filters |= {
        "ago": ago,
        "short": zones.short,
        "clock": zones.clock,
        "minute": zones.minute,
        "in_column": zones.in_column,
        "in_feed": zones.in_feed,
        "zone": lambda now: zones.zone_name(now.tzinfo),
        "iso": _iso,
        "labels": format_labels,
        "path": lambda text: quote(str(text), safe=""),
        "words": words,
        "heading": lambda code: words(code)[:1].upper() + words(code)[1:],
        "problem": _problem,
        "count": count,
        "described": describe_details,
        "program": describe_program,
        "code": faults.code,
        "local_times": zones.local_times,
        "hint": faults.hint,
        "bdi": _bdi,
        "breakable": _breakable,
    }
    return environment


# How a rule about a field begins: the field is its subject.
_OF_A_FIELD = ("must ", "cannot ", "is ", "has ", "do ", "or ", "needs ")


def _problem(error: LyftdataError) -> str:
    """Return an error as a sentence; a notice is not next to the field, and so names it."""
    if not isinstance(error, InvalidInputError) or not error.message[:1].islower():
        return error.message
    field = words(error.field)
    colon = "" if error.message.startswith(_OF_A_FIELD) else ":"
    return f"{field[:1].upper()}{field[1:]}{colon} {faults.in_words(error.message)}"


@functools.cache
def static_url(name: str) -> str:
    """Return the URL of a static file; it changes with its content, so that browsers may cache it."""
    content = (resources.files("lyftdata.web") / "static" / name).read_bytes()
    return f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"


def ago(then: datetime, now: datetime) -> str:
    """Return how long ago a time is, or how far in the future, for people."""
    seconds = (now - then).total_seconds()
    if abs(seconds) < _NOW_S:
        return "just now" if seconds >= 0 else "any moment"
    number, unit = largest_unit(seconds) if seconds >= 0 else nearest_unit(-seconds)
    span = count(number, _UNITS[unit])
    return f"{span} ago" if seconds >= 0 else f"in {span}"


_NAMES = {"api key": "API key", "dpop": "DPoP", "worker": "Worker"}


def words(code: object) -> str:
    """Return a code such as `api_key_revoked` as words for people."""
    text = str(code).replace("_", " ")
    for written, name in _NAMES.items():
        text = text.replace(written, name)
    return text


def _bdi(text: str) -> Markup:
    """
    Return untrusted text isolated from the direction of the text around it (Unicode UAX #9; HTML, `bdi`).

    Names may be Hebrew or Arabic, and digits after such a name would be moved before it. Characters that override the direction
    are rejected earlier (`core.names`). ASCII is left-to-right like the page, and is not wrapped: a long table has hundreds.
    """
    if not text:
        return Markup("")
    return escape(text) if str(text).isascii() else Markup("<bdi>{}</bdi>").format(text)


def _breakable(text: str) -> Markup:
    """Return a code such as `worker.enrolled` that may be wrapped after a dot, colon or underscore, rather than within a word."""
    return Markup("<wbr>").join(re.split(r"(?<=[.:_])", str(text)))


def _iso(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _dom_id(*parts: object) -> str:
    """Return an element ID made of any texts: an update recognizes the same row, message or link by it."""
    return "-".join(quote(str(part), safe="") for part in parts)


def _query(**parameters: object) -> str:
    """Return a query string of the non-empty parameters."""
    given = {key: str(value) for key, value in parameters.items() if value not in (None, "")}
    return f"?{urlencode(given)}" if given else "?"
