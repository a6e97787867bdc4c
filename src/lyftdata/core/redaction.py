"""
Hides credentials in text that a stranger sent as something else.

Whoever mixes up two variables sends a key in the place of an ID. What a refusal keeps is read by every operator and
stands in the log: it must not become a place where keys lie about.
"""

import re
from collections.abc import Iterable

from lyftdata.core.secret import Secret

HIDDEN = "***"

_PATTERNS = (
    # API keys, whole or with a bite taken out of their beginning: public id, secret and checksum.
    (re.compile(r"[a-z]{0,8}_?([0-9A-Za-z]{10})_[0-9A-Za-z]{24,}"), rf"lyftdata_\1_{HIDDEN}"),
    # Operators' sessions.
    (re.compile(r"[a-z]{0,8}_?session_[0-9A-Za-z_-]{8,}"), f"lyftdata_session_{HIDDEN}"),
    # Anything in compact JWS form: worker tokens, assertions, proofs (RFC 7515, section 3.1).
    (re.compile(r"eyJ[\w-]*\.[\w-]*\.[\w-]*"), HIDDEN),
)
_LONG_RUN = re.compile(r"[0-9A-Za-z_+/=-]{24,}")
_KEPT_OF_A_RUN = 4


def hide_credentials(text: str, *, secrets: Iterable[Secret] = ()) -> str:
    """
    Return text with every credential in it replaced by `***`.

    Args:
        text: Of ours or a stranger's.
        secrets: Secrets that we know; wherever one of them stands it is hidden, however it looks.
    """
    for secret in secrets:
        text = text.replace(secret.reveal(), HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def hide_random(text: str) -> str:
    """Return text with every long run that mixes cases and digits cut: random secrets do so, names hardly ever."""
    return _LONG_RUN.sub(_cut_random, text)


def _cut_random(match: re.Match[str]) -> str:
    run = match[0]
    if HIDDEN in run or not (re.search("[a-z]", run) and re.search("[A-Z]", run) and re.search("[0-9]", run)):
        return run
    return run[:_KEPT_OF_A_RUN] + HIDDEN
