"""
Prints the random first password of `admin`, once.

It is printed before it is stored: if the output fails, nothing is stored, and the next start generates and prints another.
"""

import os
import sys

from lyftdata.core.errors import LyftdataError
from lyftdata.core.secret import Secret


class PasswordNotPrintedError(LyftdataError):
    """Standard output failed to accept the password, so it was not set."""

    code = "password_not_printed"


def print_first_password(password: Secret) -> None:
    """
    Print the first password to standard output, not to the log: it is for a person to read.

    Raises:
        PasswordNotPrintedError: Not all of it could be written.
    """
    print_once(
        f"First sign-in: lyftdata login admin   password: {password.reveal()}\n"
        "It is not shown again. Change it with: lyftdata password\n"
    )


def print_once(text: str) -> None:
    """
    Write text that contains a password to standard output, bypassing Python's buffer.

    Anything left in that buffer would be lost when the process ends, after it had been reported as printed.

    Raises:
        PasswordNotPrintedError: Not all of it could be written.
    """
    left = text.encode()
    try:
        sys.stdout.flush()
        output = sys.stdout.fileno()
        while left:
            left = left[os.write(output, left) :]
    except OSError as error:
        raise PasswordNotPrintedError(
            f"The password could not be printed ({(error.strerror or str(error)).lower()}), so it was not set.",
            hint="Run this again with a standard output that can be written.",
        ) from error
