"""What templates make of values."""

from datetime import UTC, datetime, timedelta

import pytest

from lyftdata.web.render import _bdi, ago, words


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


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("api_key_not_for_worker", "API key not for Worker"),
        ("unknown_worker", "unknown Worker"),
        ("never_connected", "never connected"),
        ("dpop_required", "DPoP required"),
    ],
)
def test_a_code_is_shown_in_the_words_of_the_pages(code, shown):
    """What has a name of its own is written as everywhere else."""
    assert words(code) == shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (-4, "any moment"),
        (7_199, "1 hour ago"),
        (-43_199, "in 12 hours"),
        (-86_399, "in 1 day"),
    ],
)
def test_a_session_of_twelve_hours_does_not_end_in_eleven(seconds, words):
    """What is to come is rounded to the nearest, what is over is rounded down."""
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert ago(now - timedelta(seconds=seconds), now) == words
