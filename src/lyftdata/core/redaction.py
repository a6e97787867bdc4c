"""
Removes credentials from text of untrusted callers before it is stored or logged.

Secret disclosure through logs: someone who mixes up two variables sends a key instead of an ID. Every operator can read what a
refusal stores, and it is written to the log, so it must not contain keys.
"""

import re
from collections.abc import Iterable

from lyftdata.core.api_keys import holds_api_key
from lyftdata.core.api_tokens import holds_api_token
from lyftdata.core.enrollment_secrets import holds_enrollment_key
from lyftdata.core.secret import Secret

HIDDEN = "***"

_PATTERNS = (
    # Registration access tokens. Before the API keys, whose pattern matches a part of them.
    (re.compile(r"[a-z]{0,8}_?registration_[0-9A-Za-z_-]{8,}"), f"lyftdata_registration_{HIDDEN}"),
    # Enrollment keys. Before the API keys, whose pattern matches a part of them.
    (
        re.compile(r"[a-z]{0,8}_?enroll_([0-9A-Za-z]{10})_[0-9A-Za-z]{24,}"),
        rf"lyftdata_enroll_\1_{HIDDEN}",
    ),
    # API tokens. Before the API keys, whose pattern matches a part of them.
    (re.compile(r"[a-z]{0,8}_?token_([0-9A-Za-z]{10})_[0-9A-Za-z]{24,}"), rf"lyftdata_token_\1_{HIDDEN}"),
    # API keys, whole or without their first characters: public id, secret and checksum.
    (re.compile(r"[a-z]{0,8}_?([0-9A-Za-z]{10})_[0-9A-Za-z]{24,}"), rf"lyftdata_\1_{HIDDEN}"),
    # Operators' sessions, and their device marks.
    (re.compile(r"[a-z]{0,8}_?session_[0-9A-Za-z_-]{8,}"), f"lyftdata_session_{HIDDEN}"),
    (
        re.compile(r"[a-z]{0,8}_?device_[0-9A-Za-z_-]{8,}\.[0-9]+\.[0-9A-Za-z_-]+"),
        f"lyftdata_device_{HIDDEN}",
    ),
    # Anything in compact JWS form: worker tokens, assertions, proofs (RFC 7515, section 3.1).
    (re.compile(r"eyJ[\w-]*\.[\w-]*\.[\w-]*"), HIDDEN),
)
# Operators' sessions, their device marks, and Workers' registration access tokens.
_TOKEN = re.compile(r"lyftdata_(?:session|registration|device)_[0-9A-Za-z_.-]{32,}")
_LONG_RUN = re.compile(r"[0-9A-Za-z_+/=-]{24,}")
# Hexadecimal and base32, in one case. A name of that length has separators, or few distinct characters.
_ONE_CASE_RUN = re.compile(r"[0-9a-z]{26,}|[0-9A-Z]{26,}")
_FEW = 10
_KEPT_OF_A_RUN = 4


def hide_credentials(text: str, *, secrets: Iterable[Secret] = ()) -> str:
    """
    Return text with every credential in it replaced by `***`.

    Args:
        text: From the program or from an untrusted caller.
        secrets: Known secrets, replaced wherever they occur, whatever their form.
    """
    for secret in secrets:
        text = text.replace(secret.reveal(), HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def holds_credential(text: str) -> bool:
    """Return whether a text contains a complete credential of a lyftdata form."""
    return (
        holds_api_key(text)
        or holds_enrollment_key(text)
        or holds_api_token(text)
        or _TOKEN.search(text) is not None
    )


def hide_random(text: str) -> str:
    """Return text in which every long run that looks like a random secret (mixed case with digits, hexadecimal, base32) is shortened."""
    return _ONE_CASE_RUN.sub(_redact_one_case, _LONG_RUN.sub(_redact_mixed, text))


def _redact_mixed(match: re.Match[str]) -> str:
    run = match[0]
    is_mixed = re.search("[a-z]", run) and re.search("[A-Z]", run) and re.search("[0-9]", run)
    return run[:_KEPT_OF_A_RUN] + HIDDEN if is_mixed else run


def _redact_one_case(match: re.Match[str]) -> str:
    run = match[0]
    is_random = len(set(run)) >= _FEW and re.search("[0-9]", run)
    return run[:_KEPT_OF_A_RUN] + HIDDEN if is_random else run
