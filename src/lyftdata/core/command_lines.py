"""
Parses the command that a Worker is to run, as an operator types it: words and quotes as in a shell, but no other shell syntax.

Units and containers start programs without a shell. Syntax that needs a shell is refused, because it would be passed on as a plain
argument: a `|` that pipes nothing, or a variable that is never expanded.
"""

import shlex
from collections.abc import Sequence

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.redaction import hide_credentials

MAX_COMMAND = 1_000
_FIELD = "command"
# What each means outside of quotes; within double quotes a shell still expands the last two.
_OF_A_SHELL = "|&;<>()$`"
_EXPANDED = "$`"


def parse_command(text: str) -> Sequence[str]:
    """
    Return a program and its arguments; empty for an empty line.

    Raises:
        InvalidInputError: Too long, not printable, an unclosed quote, shell syntax, or a credential.
    """
    text = text.strip()
    if len(text) > MAX_COMMAND:
        raise InvalidInputError(_FIELD, f"must be at most {MAX_COMMAND} characters")
    if not text.isprintable():
        raise InvalidInputError(_FIELD, "must be one line of printable characters")
    if hide_credentials(text) != text:
        raise InvalidInputError(
            _FIELD, "must not hold a credential: every user of the host sees a program's arguments"
        )
    _check_needs_no_shell(text)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidInputError(_FIELD, "has a quote, or a backslash, with nothing behind it") from error
    if words and not words[0]:
        raise InvalidInputError(_FIELD, "must begin with a program")
    return words


def _check_needs_no_shell(text: str) -> None:
    quote, escaped = "", False
    for position, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            if character == quote:
                quote = ""
            elif quote == '"' and character in _EXPANDED:
                raise _needs_shell(character)
        elif character in "\"'":
            quote = character
        elif character in _OF_A_SHELL or (character == "~" and text[position - 1 : position] in {"", " "}):
            raise _needs_shell(character)


def _needs_shell(character: str) -> InvalidInputError:
    named = "a backquote" if character == "`" else f"'{character}'"
    return InvalidInputError(
        _FIELD, f"is run without a shell, which {named} is for: put it into sh -c '…', or into single quotes"
    )
