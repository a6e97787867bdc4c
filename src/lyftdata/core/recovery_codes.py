"""
Recovery codes: each signs an operator in once, instead of a lost second factor.

80 random bits each, so that a fast digest is enough (docs/decisions/0003-api-keys-are-hashed-fast.md).
"""

import base64
import hashlib
from collections.abc import Callable

CODES = 10
_BYTES = 10
_GROUP = 4


def make_recovery_codes(random_bytes: Callable[[int], bytes]) -> list[str]:
    """Return new codes, such as `K7QX-2MPL-9D4T-WZ3A`; only their digests are stored."""
    return [_grouped(base64.b32encode(random_bytes(_BYTES)).decode()) for _ in range(CODES)]


def recovery_code_digest(unverified_code: str, *, operator: str) -> bytes:
    """Return the digest under which an operator's code is stored; case, spaces and dashes are ignored."""
    plain = "".join(unverified_code.split()).replace("-", "").upper()
    return hashlib.sha256(f"{operator}\0{plain}".encode("utf-8", "surrogatepass")).digest()


def _grouped(text: str) -> str:
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))
