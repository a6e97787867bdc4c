"""What templates make of values."""

import pytest

from lyftdata.web.render import _bdi


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\u05d0\u05d1\u05d2 7", "<bdi>\u05d0\u05d1\u05d2 7</bdi>"),
        ("m\u00fcller <b>", "<bdi>m\u00fcller &lt;b&gt;</bdi>"),
        ("press-01 <b>", "press-01 &lt;b&gt;"),
        ("", ""),
        (None, ""),
    ],
)
def test_text_that_may_have_another_direction_is_isolated(text, shown):
    """ASCII has none of its own, and is escaped like all else."""
    assert str(_bdi(text)) == shown
