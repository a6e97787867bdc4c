"""
Estimates how hard it is to guess a secret that a person may have chosen: keys in settings, and passwords.

zxcvbn estimates the guesses of an attacker who tries words, names, dates, keyboard patterns and repeats first. For a
password that is enough. A key can be guessed offline, without a limit, by an attacker who knows that it may be a phrase,
so a key must also look random.

Nothing here runs while a Worker's request is answered: keys are checked when the Server starts, passwords when they are
set.
"""

import itertools
import re
import threading
from collections.abc import Sequence
from typing import Any

from lyftdata.core.enrollment_secrets import find_flaw
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.secret import Secret

PUBLISHED_EXAMPLE = "c3s3R0s1T5QAQr7lz1KsT00pKh3adnma"

MIN_PASSWORD_GUESSES = 10**10
"""zxcvbn's highest class: safe even if the hashes are stolen."""
MIN_FIRST_PASSWORD_GUESSES = 10**7
"""For a password that must be changed at the first sign-in: guessing is limited until then."""

_GENERATE = "Make one with: lyftdata enrollment generate-key"
_MIN_KEY_GUESSES = 10**22
# Random keys of 32 characters never repeat a piece this long; in 64 hexadecimal digits it happens once in 10,000.
_REPEATED_LENGTH = 6
# The maximum share of a key that may be words, names, dates and patterns. Of 10,000 random keys hardly one reaches a third.
_MAX_SHARE_OF_PATTERNS = 0.4
_MIN_PATTERN_LENGTH = 3
# How often adjacent characters differ in class (lower case, upper case, digit): 0.6 in base62, 0.2 in a phrase.
_MIN_SHARE_OF_CHANGES = {3: 0.22, 2: 0.17}
# Digits and a to f sometimes look like dates.
_HEXADECIMAL = re.compile(r"[0-9a-fA-F-]+")
# zxcvbn's time grows with the square of the length.
_MAX_ASSESSED_LENGTH = 72
# zxcvbn tries every combination of the symbols that may replace a letter, which takes seconds if all of them occur.
_ONE_SYMBOL_A_LETTER = str.maketrans("@{[<9!|$+", "4(((61157")
_PRODUCT_WORDS = ("lyftdata", "worker", "server", "enrollment", "operator")
_one_at_a_time = threading.Lock()


def assess_key(secret: Secret) -> str | None:
    """
    Return the weakness of a key and what to do about it; None for a key that looks random.

    Args:
        secret: An enrollment key or a secret key, of 32 characters or more.
    """
    text = secret.reveal()
    if text == PUBLISHED_EXAMPLE:
        return f"This is the example in the documentation. Everyone knows it. {_GENERATE}"
    flaw = find_flaw(secret)
    if flaw is not None:
        return f"This is not a complete generated key: {flaw}. Copy it again"
    text = text[:_MAX_ASSESSED_LENGTH]
    if _is_guessable(text):
        return f"This can be guessed. It is made of words, names, dates, patterns or repeats. {_GENERATE}"
    if not _is_mixed(text):
        return f"This does not look random: it can be guessed. {_GENERATE}"
    return None


def check_secret_key(secret: Secret) -> None:
    """
    Reject a secret key that can be guessed: an attacker with a copy of the database could then sign tokens.

    Raises:
        InvalidInputError: It can be guessed.
    """
    if secret.reveal() == PUBLISHED_EXAMPLE or _is_guessable(secret.reveal()[:_MAX_ASSESSED_LENGTH]):
        raise InvalidInputError(
            "secret_key",
            "must be random: this one is made of words, names, dates, patterns or repeats, and could be guessed from a "
            f"copy of the database. {_GENERATE}",
        )


def check_password(password: Secret, *, min_guesses: int, known: Sequence[str] = ()) -> None:
    """
    Reject a password that is easy to guess.

    Args:
        password: One that follows the other rules.
        min_guesses: The minimum number of guesses that it must take.
        known: What others know about its owner, such as the name.

    Raises:
        InvalidInputError: It takes fewer; the message says why.
    """
    estimate = _estimate(password.reveal(), known=known)
    if estimate["guesses"] >= min_guesses:
        return
    reason = str(estimate["feedback"]["warning"] or "Words, names, dates and patterns are tried first.")
    raise InvalidInputError(
        "password",
        f"is too easy to guess. {reason} Use four or more unrelated words, or a random password from a password manager",
    )


def _estimate(text: str, *, known: Sequence[str] = ()) -> dict[str, Any]:
    # zxcvbn loads 12 MB of dictionaries, so it is imported when first used. It keeps `user_inputs` in a global
    # variable: two concurrent checks would mix up their operators' names.
    with _one_at_a_time:
        from zxcvbn import zxcvbn

        estimate: dict[str, Any] = zxcvbn(
            text[:_MAX_ASSESSED_LENGTH].translate(_ONE_SYMBOL_A_LETTER),
            user_inputs=[*_PRODUCT_WORDS, *known],
            max_length=_MAX_ASSESSED_LENGTH,
        )
    return estimate


def _is_guessable(text: str) -> bool:
    estimate = _estimate(text)
    if estimate["guesses"] < _MIN_KEY_GUESSES or _repeats_itself(text):
        return True
    tokens = [match["token"] for match in estimate["sequence"] if match["pattern"] != "bruteforce"]
    in_patterns = sum(len(token) for token in tokens if len(token) >= _MIN_PATTERN_LENGTH)
    return not _HEXADECIMAL.fullmatch(text) and in_patterns > _MAX_SHARE_OF_PATTERNS * len(text)


def _repeats_itself(text: str) -> bool:
    pieces = [text[start : start + _REPEATED_LENGTH] for start in range(len(text) - _REPEATED_LENGTH + 1)]
    return len(set(pieces)) < len(pieces)


def _is_mixed(text: str) -> bool:
    """Return whether upper case, lower case and digits alternate as they do by chance, which words in any language do not."""
    classes = [0 if c.islower() else 1 if c.isupper() else 2 if c.isdigit() else 3 for c in text]
    used = set(classes) & {0, 1, 2}
    if not {0, 1} <= used:
        return True
    changes = sum(one != other for one, other in itertools.pairwise(classes))
    return changes >= _MIN_SHARE_OF_CHANGES[len(used)] * (len(text) - 1)
