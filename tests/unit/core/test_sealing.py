"""What is sealed opens only with its key, in its place, unchanged."""

import pytest

from lyftdata.core.sealing import UnsealError, seal, unseal

KEY, OTHER = bytes(32), bytes([1] * 32)
SEALED = seal(b"plain", key=KEY, nonce=bytes(12), context="a")


def test_what_was_sealed_opens():
    """With the same key and context."""
    assert unseal(SEALED, key=KEY, context="a") == b"plain"


@pytest.mark.parametrize(
    ("sealed", "key", "context"),
    [
        (SEALED, OTHER, "a"),
        (SEALED, KEY, "b"),
        (SEALED[:-1] + bytes([SEALED[-1] ^ 1]), KEY, "a"),
        (SEALED[:12], KEY, "a"),
        (b"", KEY, "a"),
    ],
)
def test_anything_else_does_not_open(sealed, key, context):
    """Another key, another record, a changed or a cut text."""
    with pytest.raises(UnsealError):
        unseal(sealed, key=key, context=context)
