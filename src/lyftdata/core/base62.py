"""Base62 text: random characters, and the checksum at the end of every key that lyftdata generates."""

import zlib
from collections.abc import Callable

CHECKSUM_LENGTH = 6
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# Two digits at a time: a checksum is computed for each request with an API key.
_PAIRS = tuple(high + low for high in _BASE62 for low in _BASE62)


def generate_base62(random_bytes: Callable[[int], bytes], length: int) -> str:
    """Return that many base62 characters, each equally likely."""
    characters: list[str] = []
    while len(characters) < length:
        # Modulo bias: 248 is the largest multiple of 62 in a byte; using the bytes above it would favour some characters.
        characters += [_BASE62[byte % 62] for byte in random_bytes(length) if byte < 248]  # noqa: PLR2004
    return "".join(characters[:length])


def checksum(body: str) -> str:
    """
    Return the CRC-32 of ASCII text as six base62 characters.

    It detects a key that was cut or mistyped, and lets secret scanners tell a key from other text of the same form.
    """
    number, last = divmod(zlib.crc32(body.encode("ascii")), len(_PAIRS))
    first, middle = divmod(number, len(_PAIRS))
    return _PAIRS[first] + _PAIRS[middle] + _PAIRS[last]
