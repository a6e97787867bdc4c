"""
Reads secrets from variables, files and arguments: the same rules for Server, Worker, command line and library.

Variables and files carry more than the secret itself: the line end of the tool that wrote the file, the carriage return
of an environment file from Windows, the byte order mark of an editor, the quotes that `docker --env-file` keeps.

    white space and byte order marks around it    removed: they never belong to a secret
    quotes around it, `NAME=` before it           rejected: a mistake, which two programs would treat differently
    invisible characters inside                   rejected, with their name and position

A fault that is rejected here can be named. Otherwise the other side would refuse the secret, and no log could say why.
"""

import unicodedata

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.secret import Secret

BYTE_ORDER_MARK = "\ufeff"
_QUOTES = (('"', '"'), ("'", "'"), ("`", "`"), ("\u201c", "\u201d"), ("\u2018", "\u2019"))
# Control and format characters, lone surrogates, line and paragraph separators.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def trim(text: str) -> str:
    """Remove white space and byte order marks from both ends, in any order."""
    before = None
    while before != text:
        before, text = text, text.strip().strip(BYTE_ORDER_MARK)
    return text


def parse_secret(text: str) -> Secret:
    """
    Read a secret from a variable or a file.

    Raises:
        InvalidInputError: It is empty, is in quotes, or contains an invisible character. The message never repeats it.
    """
    secret = parse_typed_secret(text)
    kept = secret.reveal()
    for opening, closing in _QUOTES:
        if len(kept) > 1 and kept.startswith(opening) and kept.endswith(closing):
            raise InvalidInputError(
                "secret",
                "must not be in quotes: they would be part of the secret (docker --env-file keeps them); remove them",
            )
    if kept.startswith("LYFTDATA_") and "=" in kept:
        raise InvalidInputError("secret", "must be the value alone, without NAME= before it")
    return secret


def parse_typed_secret(text: str) -> Secret:
    """
    Read a secret that a person types or pipes in: like `parse_secret`, but a password may be in quotes.

    Raises:
        InvalidInputError: It is empty, or contains an invisible character. The message never repeats it.
    """
    kept = trim(text)
    if not kept:
        raise InvalidInputError("secret", "must not be empty")
    for position, character in enumerate(kept, 1):
        if _is_invisible(character):
            raise InvalidInputError(
                "secret",
                f"must not contain {_name(character)} at position {position}; copy it again",
            )
    return Secret(kept)


def _is_invisible(character: str) -> bool:
    # White space other than the plain space looks like one.
    return unicodedata.category(character) in _INVISIBLE or (character.isspace() and character != " ")


def _name(character: str) -> str:
    if character in "\r\n":
        return "a line break"
    unnamed = "a control character" if unicodedata.category(character) == "Cc" else "not a character"
    return f"U+{ord(character):04X} ({unicodedata.name(character, unnamed).lower()})"


def secret_argument(name: str, text: str) -> Secret:
    """
    Read a secret that a program passes to the library.

    Raises:
        InvalidInputError: Like `parse_secret`; the message begins with the argument's name.
    """
    try:
        return parse_secret(text)
    except InvalidInputError as error:
        raise InvalidInputError(name, f"{name} {error.message}.") from error
