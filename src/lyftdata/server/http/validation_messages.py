"""Explains in plain words why the admin API rejects a parameter or a member of a body."""

from collections.abc import Callable, Mapping
from typing import Any

# The first element of an error's `loc` says where the value was, the others name it.
_PLACES = frozenset({"body", "query", "path", "header"})
_TIME = "must be a time in ISO 8601 with a zone, for example 2026-03-01T12:00:00Z"

# By pydantic's error type; `ctx` holds the parameters of the violated rule.
_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "is required",
    "extra_forbidden": lambda _: "is not known here",
    "timezone_aware": lambda _: _TIME,
    "datetime_parsing": lambda _: _TIME,
    "datetime_from_date_parsing": lambda _: _TIME,
    "datetime_type": lambda _: _TIME,
    "datetime_object_invalid": lambda _: _TIME,
    "int_parsing": lambda _: "must be a whole number",
    "int_type": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "int_parsing_size": lambda _: "is too large a number",
    "bool_parsing": lambda _: "must be true or false",
    "bool_type": lambda _: "must be true or false",
    "string_type": lambda _: "must be text",
    "greater_than_equal": lambda ctx: f"must be at least {ctx['ge']}",
    "greater_than": lambda ctx: f"must be more than {ctx['gt']}",
    "less_than_equal": lambda ctx: f"must be at most {ctx['le']}",
    "less_than": lambda ctx: f"must be less than {ctx['lt']}",
    "string_too_short": lambda ctx: f"must have at least {ctx['min_length']} characters",
    "string_too_long": lambda ctx: f"must have at most {ctx['max_length']} characters",
    "enum": lambda ctx: f"must be {ctx['expected']}",
    "literal_error": lambda ctx: f"must be {ctx['expected']}",
    "json_invalid": lambda _: "must be JSON",
}


def describe_invalid(error: Mapping[str, Any]) -> tuple[str, str]:
    """
    Return the name of the invalid value, empty for the body as a whole, and what it must be.

    Only the rule is quoted, never the input: it may be a password in the wrong field.

    Args:
        error: One of `ValidationError.errors()`.
    """
    parts = [str(part) for part in error["loc"]]
    if error["type"] == "json_invalid" or (parts[:1] and parts[0] in _PLACES):
        parts = [] if error["type"] == "json_invalid" else parts[1:]
    words = _WORDS.get(error["type"])
    return ".".join(parts), str(error["msg"]) if words is None else words(error.get("ctx", {}))
