"""Sealed data can only be opened with its key, in its context, and unchanged."""

import pytest

from lyftdata.core.sealing import UnsealError, seal, unseal

KEY, OTHER = bytes(32), bytes([1] * 32)
SEALED = seal(b"plain", key=KEY, nonce=bytes(12), context="a")


def test_sealed_data_can_be_opened():
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
def test_changed_data_or_another_key_or_context_is_rejected(sealed, key, context):
    """Truncated data too."""
    with pytest.raises(UnsealError):
        unseal(sealed, key=key, context=context)
