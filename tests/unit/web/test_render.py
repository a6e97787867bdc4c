"""The filters of templates."""

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
def test_text_that_may_run_right_to_left_is_isolated(text, shown):
    """ASCII needs no isolation, and is escaped like all other text."""
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
def test_a_code_is_shown_in_words(code, shown):
    """Names such as API, Worker and DPoP are spelled as everywhere else."""
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
def test_future_times_are_rounded_and_past_times_rounded_down(seconds, words):
    """So a new session of twelve hours does not end "in 11 hours"."""
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert ago(now - timedelta(seconds=seconds), now) == words
