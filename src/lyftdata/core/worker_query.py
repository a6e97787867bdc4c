"""
Parses the search language for Workers: `host:rack1 status:offline zone=eu-1 -gpu seen:<1h`.

One parser serves the pages, the API and the command line. A search is a list of terms that must all match; a term with several values
matches if one of them does. Anything that cannot be parsed is an error, since a mistyped filter that is ignored would show too many
Workers, and the wrong ones would be changed. `docs/reference/search.md` is generated from `FIELDS`.
"""

import difflib
import ipaddress
import re
import unicodedata
from collections.abc import Callable
from enum import StrEnum
from typing import Final, Literal, TypeAlias, TypeVar, get_args

import msgspec

from lyftdata.core.durations import parse_duration
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.fleet_verdict import Presence
from lyftdata.core.networks import Network, parse_network
from lyftdata.core.query_values import (
    Age,
    Comparison,
    Generation,
    KeyPattern,
    TextPattern,
    VersionRange,
    fold,
)
from lyftdata.core.query_words import MAX_LENGTH, QueryError, Value, Word, quote, split_words
from lyftdata.core.records import KeyRotation, State, Strategy
from lyftdata.core.text import clean_text
from lyftdata.core.versions import parse_version

__all__ = [
    "EMPTY_QUERY",
    "FIELDS",
    "Field",
    "LabelMatch",
    "QueryError",
    "Term",
    "WorkerQuery",
    "parse_worker_query",
    "quote",
]

Choice = TypeVar("Choice", State, Strategy, KeyRotation, Presence)
NEVER: Final = "never"


class Field(StrEnum):
    """The fields that a term can search."""

    TEXT = "text"
    """A word without a field: matches name, ID, host, address, key or label."""
    NAME = "name"
    ID = "id"
    HOST = "host"
    ADDRESS = "address"
    KEY = "key"
    LABEL = "label"
    STATUS = "status"
    STRATEGY = "strategy"
    VERSION = "version"
    SEEN = "seen"
    CREATED = "created"
    INACTIVE = "inactive"
    ENROLLED = "enrolled"
    ROTATION = "rotation"
    PRESENCE = "presence"


class LabelMatch(msgspec.Struct, frozen=True):
    """A label with this key; `value` None matches any value. Case-sensitive, as labels are."""

    key: str
    value: TextPattern | None = None


Condition: TypeAlias = (
    TextPattern
    | LabelMatch
    | Network
    | KeyPattern
    | VersionRange
    | Age
    | State
    | Strategy
    | KeyRotation
    | Presence
    | Literal["never"]
)


class Term(msgspec.Struct, frozen=True):
    """
    One parsed word of a search: one of the `conditions` must match, or none of them if it is negated.

    `start` and `end` are its slice of the text of the search.
    """

    field: Field
    conditions: tuple[Condition, ...]
    is_negated: bool
    start: int
    end: int


class WorkerQuery(msgspec.Struct, frozen=True):
    """A parsed search; without terms it finds every Worker that is not archived."""

    text: str
    terms: tuple[Term, ...] = ()

    @property
    def wants_archived(self) -> bool:
        """Return whether only archived Workers are searched: the term `status:archived` asks for that."""
        return any(
            State.ARCHIVED in term.conditions and not term.is_negated
            for term in self.terms
            if term.field is Field.STATUS
        )


EMPTY_QUERY: Final = WorkerQuery("")


class FieldRule(msgspec.Struct, frozen=True):
    """How the values of a field are parsed, and its text in the reference."""

    read: Callable[[Value], Condition]
    values: str
    meaning: str
    example: str


def parse_worker_query(text: str) -> WorkerQuery:
    """
    Parse a search.

    Raises:
        QueryError: An unknown field, a value that its field does not accept, an unclosed quote, or too much of anything. The message
            names the position.
    """
    # Names are stored in this form.
    searched = unicodedata.normalize("NFC", text[: MAX_LENGTH * 2]).strip()
    return WorkerQuery(searched, tuple(map(_read_term, split_words(searched))))


def label_term(key: str, value: str) -> str:
    """Return the term that finds the Workers with a label."""
    return f"{key}={quote(value)}" if value else f"label:{quote(key)}"


def is_asked(query: WorkerQuery, field: Field, text: str) -> bool:
    """Return whether a search has a term for exactly this value of a field."""
    wanted = parse_worker_query(f"{field}:{text}").terms[0].conditions
    return any(
        term.field is field and term.conditions == wanted and not term.is_negated for term in query.terms
    )


def with_term(query: WorkerQuery, field: Field, text: str) -> str:
    """
    Return the text of a search in which this value of a field replaces any others.

    Args:
        query: The present search.
        field: A field with one value for each Worker, such as its status.
        text: The value as typed; "" removes the field from the search.
    """
    kept = [term for term in query.terms if term.field is not field or term.is_negated]
    rest = " ".join(query.text[term.start : term.end] for term in kept)
    return f"{rest} {field}:{text}".strip() if text else rest


def search_terms(
    q: str | None,
    *,
    status: State | None = None,
    strategy: Strategy | None = None,
    label: str | None = None,
    key: str | None = None,
    enrolled: str | None = None,
    inactive: str | None = None,
    rotation: KeyRotation | None = None,
    presence: Presence | None = None,
) -> WorkerQuery:
    """
    Return a search combined with filters, each of which is short for one term; None for no filter.

    Args:
        q: The search; not blank.
        status: As `status:`.
        strategy: As `strategy:`.
        label: A key, or `key=value`.
        key: The whole name of an API key.
        enrolled: The whole fingerprint or name of an enrollment key.
        inactive: A duration, such as `30d`.
        rotation: As `rotation:`.
        presence: As `presence:`.

    Raises:
        QueryError: The search cannot be understood, or is blank.
        InvalidInputError: `inactive` is not a duration.
    """
    if q is not None and not q.strip():
        raise QueryError(1, "it is blank.")
    if inactive is not None:
        parse_duration(inactive)
    given = (
        (Field.STATUS, "", status),
        (Field.STRATEGY, "", strategy),
        (Field.LABEL, "", label),
        (Field.KEY, "=", key),
        (Field.ENROLLED, "=", enrolled),
        (Field.INACTIVE, ">", inactive),
        (Field.ROTATION, "", rotation),
        (Field.PRESENCE, "", presence),
    )
    short = [f"{field}:{operator}{quote(text)}" for field, operator, text in given if text is not None]
    searched = parse_worker_query(q or "")
    return WorkerQuery(searched.text, searched.terms + parse_worker_query(" ".join(short)).terms)


def _read_term(word: Word) -> Term:
    field, conditions = _read_conditions(word)
    return Term(field, conditions, word.is_negated, word.start, word.end)


def _read_conditions(word: Word) -> tuple[Field, tuple[Condition, ...]]:
    if word.separator == "=":
        return Field.LABEL, tuple(_read_label_value(word, value) for value in word.values)
    if word.separator:
        field = _find_field(word)
        return field, tuple(FIELDS[field].read(value) for value in word.values)
    return Field.TEXT, (_read_part(word.values[0]),)


def _find_field(word: Word) -> Field:
    name = word.name.lower()
    if name in FIELDS:
        return Field(name)
    near = difflib.get_close_matches(name, FIELDS, n=1, cutoff=0.5)
    advice = f"Did you mean '{near[0]}:'?" if near else f"There are: {', '.join(FIELDS)}."
    raise QueryError(
        word.position + word.is_negated,
        f"there is no field '{clean_text(word.name, 40)}'. {advice} A text with a colon is searched for in quotes.",
    )


def _without_operator(value: Value) -> None:
    if value.operator:
        raise QueryError(value.position, f"'{value.operator}' cannot be used here.")


def _read_part(value: Value) -> TextPattern:
    return TextPattern(tuple(map(fold, value.parts)), is_whole=False)


def _read_text(value: Value) -> TextPattern:
    """Parse a text: it matches a part of the searched text, or with `=` or a wildcard the whole."""
    if value.operator not in {"", "="}:
        raise QueryError(value.position, f"'{value.operator}' cannot be used with a text.")
    if value.parts == ("",) and not value.operator:
        raise QueryError(value.position, 'the text is empty. Nothing at all is found by :="".')
    is_whole = bool(value.operator) or len(value.parts) > 1
    return TextPattern(tuple(map(fold, value.parts)), is_whole=is_whole)


def _read_label_value(word: Word, value: Value) -> LabelMatch:
    if not word.name:
        raise QueryError(word.position + word.is_negated, "the key of a label is missing before '='.")
    return LabelMatch(word.name, TextPattern(value.parts, is_whole=True))


def _read_label(value: Value) -> LabelMatch:
    """Parse a label: its key, or `key=value` in quotes."""
    _without_operator(value)
    key, separator, rest = value.text.partition("=")
    if not key or "*" in key:
        raise QueryError(value.position, "the key of a label is expected, such as label:gpu.")
    return LabelMatch(key, TextPattern((rest,), is_whole=True) if separator else None)


def _read_network(value: Value) -> Network:
    _without_operator(value)
    try:
        network = parse_network(value.text)
    except ValueError:
        raise QueryError(
            value.position,
            f"'{clean_text(value.text, 60)}' is not an address or a network, such as 10.4.0.7 or 10.4.0.0/16. "
            "A part of an address is found without 'address:'.",
        ) from None
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= 96:  # noqa: PLR2004 - the bits before the IPv4 address
        return ipaddress.ip_network((mapped, network.prefixlen - 96), strict=False)
    return network


def _read_key(value: Value) -> KeyPattern:
    if value.operator not in {"", "="}:
        raise QueryError(value.position, f"'{value.operator}' cannot be used with a key.")
    *before, last = value.parts
    name, separator, generation = last.partition("@")
    if not separator:
        return KeyPattern(TextPattern(value.parts, is_whole=True))
    return KeyPattern(
        TextPattern((*before, name), is_whole=True), _read_generation(generation.lower(), value.position)
    )


def _read_generation(text: str, position: int) -> Generation:
    match text:
        case "current":
            return "current"
        case "old":
            return "old"
    if text.isascii() and text.isdigit() and 0 < len(text) <= 6 and int(text) > 0:  # noqa: PLR2004
        return int(text)
    raise QueryError(position, "after '@' there must be the number of a generation, 'current' or 'old'.")


def _read_version(value: Value) -> VersionRange:
    version = parse_version(value.text)
    if version is None or len(value.parts) > 1:
        raise QueryError(
            value.position, f"'{clean_text(value.text, 40)}' is not a version, such as 1.4 or <1.4.2."
        )
    # A pre-release has no series.
    comparison = value.operator or ("" if version.is_release else "=")
    known: tuple[Comparison | Literal["=", ""], ...] = ("", "=", *get_args(Comparison))
    given = tuple(map(int, re.findall(r"[0-9]+", value.text)))
    return VersionRange(next(each for each in known if each == comparison), version, given)


def _read_age(value: Value) -> Age:
    if value.operator not in {"<", ">"}:
        raise QueryError(value.position, "an age begins with '<' or '>', such as <1h or >7d.")
    try:
        span = parse_duration(value.text)
    except InvalidInputError as error:
        raise QueryError(
            value.position, f"'{clean_text(value.text, 40)}' is not a duration: it {error.message}."
        ) from None
    return Age("<" if value.operator == "<" else ">", span)


def _read_seen(value: Value) -> Condition:
    return NEVER if not value.operator and value.text.lower() == NEVER else _read_age(value)


def _read_inactivity(value: Value) -> Age:
    if value.operator != ">":
        raise QueryError(value.position, "it begins with '>', such as inactive:>30d.")
    return _read_age(value)


def _choice_of(kind: type[Choice]) -> Callable[[Value], Choice]:
    def read(value: Value) -> Choice:
        _without_operator(value)
        wanted = value.text.lower().replace("-", "_")
        for each in kind:
            if each.value == wanted:
                return each
        near = difflib.get_close_matches(wanted, [each.value for each in kind], n=1)
        advice = f" Did you mean '{near[0]}'?" if near else ""
        raise QueryError(
            value.position, f"'{clean_text(value.text, 40)}' is not one of: {', '.join(kind)}.{advice}"
        )

    return read


FIELDS: Final[dict[str, FieldRule]] = {
    Field.NAME: FieldRule(_read_text, "text", "Its name.", "name:press"),
    Field.ID: FieldRule(_read_text, "text", "Its ID.", "id:=press-01"),
    Field.HOST: FieldRule(
        _read_text,
        "text",
        "The host name that it reports, or reported when it was last connected.",
        "host:rack1",
    ),
    Field.ADDRESS: FieldRule(
        _read_network,
        "address or network",
        "The address it is or was last connected from.",
        "address:10.4.0.0/16",
    ),
    Field.KEY: FieldRule(
        _read_key,
        "name, or `name@generation`",
        "The API key that it is or was last connected with. A generation is a number, `current`, or `old` for all before the "
        "current one.",
        "key:press-keys@old",
    ),
    Field.LABEL: FieldRule(
        _read_label,
        "key",
        "It has a label with this key, whatever its value. `key=value` asks for a value.",
        "label:gpu",
    ),
    Field.STATUS: FieldRule(
        _choice_of(State),
        ", ".join(f"`{state}`" for state in State),
        "Its state, in one word.",
        "status:offline",
    ),
    Field.STRATEGY: FieldRule(
        _choice_of(Strategy),
        ", ".join(f"`{strategy}`" for strategy in Strategy),
        "How it proves who it is.",
        "strategy:api_key",
    ),
    Field.VERSION: FieldRule(
        _read_version,
        "version",
        "The version of its agent. `1.4` is that and every version below it, `=1.4` that one alone.",
        "version:<1.4",
    ),
    Field.SEEN: FieldRule(
        _read_seen,
        "`<` or `>` and a duration, or `never`",
        "When it was last connected. One that is connected is seen now.",
        "seen:>7d",
    ),
    Field.CREATED: FieldRule(
        _read_age, "`<` or `>` and a duration", "When its entry was made.", "created:<1d"
    ),
    Field.INACTIVE: FieldRule(
        _read_inactivity,
        "`>` and a duration",
        "It has neither been connected, nor got a token, nor been added for so long.",
        "inactive:>30d",
    ),
    Field.ENROLLED: FieldRule(
        _read_text,
        "text",
        "The enrollment key that it came with: its name, or its fingerprint.",
        "enrolled:=partner-hosts",
    ),
    Field.ROTATION: FieldRule(
        _choice_of(KeyRotation),
        ", ".join(f"`{rotation}`" for rotation in KeyRotation),
        "Whether it was asked to rotate its identity key, has done so, or never was.",
        "rotation:asked",
    ),
    Field.PRESENCE: FieldRule(
        _choice_of(Presence),
        ", ".join(f"`{presence}`" for presence in Presence),
        "How it stands if it is expected to be connected: `missing` is not connected, `lost` went offline within the last hour without "
        "signing off, `returning` may still reconnect after a restart of the Server, `away` is missing for another reason.",
        "presence:lost",
    ),
}
