"""
Splits the text of a search into words: `host:rack1 -gpu name:="press 1"`.

This is only the grammar. The fields and their meanings are in `worker_query`.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from lyftdata.core.errors import InvalidInputError

MAX_LENGTH = 500
MAX_WORDS = 20
MAX_VALUES = 50
_MAX_WILDCARDS = 4

# A mistyped field is an error, so everything that looks like a field counts as one. An IPv6 address such as `2001:db8::1` does not.
_FIELD = re.compile(r"[A-Za-z][A-Za-z_-]*")
_OPERATORS = ("<=", ">=", "<", ">", "=")


class QueryError(InvalidInputError):
    """
    The text of a search is invalid; nothing is searched for.

    Args:
        position: The position of the character at fault, from 1.
        message: What is wrong with it, as a sentence.
    """

    def __init__(self, position: int, message: str) -> None:
        super().__init__("q", f"The search is not understood at character {position}: {message}")
        self.position: Final = position


class Value(msgspec.Struct, frozen=True):
    """
    One value of a word.

    `parts` is its text, split at its wildcards: without a wildcard there is one part. `operator` is `<`, `>`, `<=`, `>=`, `=` or "".
    """

    position: int
    operator: str
    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        """Return the text as it was typed, without quotes."""
        return "*".join(self.parts)


class Word(msgspec.Struct, frozen=True):
    """
    One word of a search: `name:VALUE,VALUE` (separator `:`), `name=VALUE,VALUE` (separator `=`), or a text without a name.

    `start` and `end` are its slice of the text of the search.
    """

    start: int
    end: int
    is_negated: bool
    name: str
    separator: str
    values: tuple[Value, ...]

    @property
    def position(self) -> int:
        """Return the position of its first character, from 1."""
        return self.start + 1


class _Character(NamedTuple):
    text: str
    is_quoted: bool
    place: int


def split_words(text: str) -> list[Word]:
    """
    Return the words of a search.

    Raises:
        QueryError: It is too long, has too many words or values, a quote is not closed, or a word has no value.
    """
    if len(text) > MAX_LENGTH:
        raise QueryError(MAX_LENGTH + 1, f"it must have at most {MAX_LENGTH} characters.")
    words = [_read_word(word, end) for word, end in _cut(text)]
    if len(words) > MAX_WORDS:
        raise QueryError(words[MAX_WORDS].position, f"it must have at most {MAX_WORDS} words.")
    if sum(len(word.values) for word in words) > MAX_VALUES:
        raise QueryError(1, f"it must have at most {MAX_VALUES} values.")
    return words


def quote(text: str) -> str:
    """Return a text as a literal value: quoted, unless no character needs quotes."""
    if re.fullmatch(r"[\w.@/-]+", text) and not text.startswith("-"):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _cut(text: str) -> Iterator[tuple[list[_Character], int]]:
    """Yield the characters of each word without its quotes, and where it ends."""
    word: list[_Character] = []
    opened: int | None = None
    was_quoted = False
    index = 0
    while index < len(text):
        character = text[index]
        if opened is None and character.isspace():
            if word or was_quoted:
                yield word, index
            word, was_quoted = [], False
        elif character == '"':
            opened = index if opened is None else None
            # Marks the position of quotes, so that `name:""` has a value.
            word.append(_Character("", True, index))
            was_quoted = True
        elif not character.isprintable() and character != "\t":
            raise QueryError(index + 1, "it must be printable text.")
        else:
            if opened is not None and character == "\\" and text[index + 1 : index + 2] in {'"', "\\"}:
                index += 1
                character = text[index]
            word.append(_Character(character, opened is not None, index))
        index += 1
    if opened is not None:
        raise QueryError(opened + 1, "a quote is not closed.")
    if word:
        yield word, index


def _read_word(word: list[_Character], end: int) -> Word:
    start = word[0].place
    rest = word
    is_negated = _is(word[0], "-")
    if is_negated:
        rest = word[1:]
        if not rest:
            raise QueryError(start + 1, "a word must follow '-'.")
    name, separator, rest = _split_name(rest)
    values = tuple(_read_values(rest, separator, end)) if separator else (_read_text(rest, end),)
    return Word(start=start, end=end, is_negated=is_negated, name=name, separator=separator, values=values)


def _is(character: _Character, *texts: str) -> bool:
    return not character.is_quoted and character.text in texts


def _split_name(word: list[_Character]) -> tuple[str, str, list[_Character]]:
    """Return name, separator and the rest; name and separator are empty if the word has no name."""
    place = next((place for place, character in enumerate(word) if _is(character, ":", "=")), None)
    if place is None or any(character.is_quoted for character in word[:place]):
        return "", "", word
    name = "".join(character.text for character in word[:place])
    separator = word[place].text
    if separator == ":" and (not _FIELD.fullmatch(name) or _looks_like_an_address(word)):
        return "", "", word
    return name, separator, word[place + 1 :]


def _looks_like_an_address(word: list[_Character]) -> bool:
    # For example `fe80::1`; no field's value begins with a colon.
    text = "".join(character.text for character in word)
    return "::" in text and re.fullmatch(r"[0-9A-Fa-f:.]+", text) is not None


def _read_values(rest: list[_Character], separator: str, end: int) -> Iterator[Value]:
    begin = 0
    for place, character in enumerate([*rest, _Character(",", False, end)]):
        if _is(character, ","):
            value = rest[begin:place]
            yield _read_value(value, separator, value[0].place if value else character.place)
            begin = place + 1


def _read_value(value: list[_Character], separator: str, index: int) -> Value:
    operator = ""
    if separator == ":":
        head = "".join(character.text for character in value[:2] if not character.is_quoted)
        operator = next((each for each in _OPERATORS if head.startswith(each)), "")
        value = value[len(operator) :]
        if not value:
            raise QueryError(index + 1, 'a value is missing. An empty one is written as "".')
    return Value(index + 1, operator, _parts(value, index))


def _read_text(word: list[_Character], end: int) -> Value:
    index = word[0].place if word else end
    parts = _parts(word, index)
    if not any(parts):
        raise QueryError(index + 1, "a text to search for is missing.")
    return Value(index + 1, "", parts)


def _parts(value: list[_Character], index: int) -> tuple[str, ...]:
    parts = [""]
    for character in value:
        if _is(character, "*"):
            parts.append("")
        else:
            parts[-1] += character.text
    # Denial of service: each wildcard multiplies the work of a database that compares a pattern.
    if len(parts) > _MAX_WILDCARDS + 1:
        raise QueryError(index + 1, f"a value must have at most {_MAX_WILDCARDS} wildcards (*).")
    return tuple(parts)
