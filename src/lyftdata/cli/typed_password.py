"""Reads passwords and codes that an operator types, without echo."""

import sys

import click

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.secret import Secret
from lyftdata.core.secret_text import parse_typed_secret, trim

CODE_PROMPT = "Code of your app, or a recovery code (with a passkey instead: lyftdata login --device)"
"""The prompt for the second factor on a terminal, where passkeys do not work."""


def read_code(prompt: str, *, from_stdin: bool) -> Secret:
    """
    Ask for a code of the second factor without echo, or read a line of standard input.

    Raises:
        click.UsageError: There is neither a terminal nor a line (exit 2).
    """
    if from_stdin:
        text = sys.stdin.readline()
        if not text.strip():
            raise click.UsageError(
                "Standard input holds no code of the second factor: put it on the line after the password."
            )
    elif not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask for the code of the second factor.")
    else:
        text = click.prompt(prompt, hide_input=True, err=True)
    return Secret(text.strip())


def read_password(prompt: str, *, from_stdin: bool) -> Secret:
    """
    Ask for a password without echo, or read a line of standard input.

    Raises:
        click.UsageError: There is no terminal to ask on, or the text cannot be a password (exit 2).
    """
    if from_stdin:
        text = sys.stdin.readline()
        if not trim(text):
            raise click.UsageError("Standard input holds no password.")
    elif not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask for the password: use --password-stdin.")
    else:
        text = click.prompt(prompt, hide_input=True, err=True)
    try:
        return parse_typed_secret(text)
    except InvalidInputError as error:
        raise click.UsageError(f"The password {error.message}.") from error
