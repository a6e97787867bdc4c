"""The numbers in docs/explanation/limits.md are those in the code."""

from pathlib import Path

import pytest

from lyftdata.core import bulk_changes, device_login, name_patterns
from lyftdata.server.admin import new_sessions
from lyftdata.server.runtime.settings_table import TABLE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "limits.md").read_text(encoding="utf-8")
WORDS = {4: "four", 10: "ten", 12: "twelve"}
DEFAULTS = {setting.name: setting.default for setting in TABLE}


def minutes(life):
    """Return a time in minutes."""
    return int(life.total_seconds()) // 60


def hours(life):
    """Return a time in hours, as a word."""
    return WORDS[minutes(life) // 60]


@pytest.mark.parametrize(
    "stated",
    [
        f"**{bulk_changes.MAX_BY_SEARCH:,} Workers in one bulk change**",
        f"**{name_patterns.MAX_NAMES} Workers added by one range**",
        f"after {minutes(bulk_changes.UNDO_WITHIN)} minutes; by another operator",
        f"all {device_login.MAX_PENDING:,} places: for up to {WORDS[minutes(device_login.LIFE)]} minutes",
        f"until its token ends: {DEFAULTS['LYFTDATA_WORKER_TOKEN_TTL'] // 60} minutes by default",
        f"idle for {hours(DEFAULTS['LYFTDATA_OPERATOR_IDLE_LIMIT'])} hours or {hours(new_sessions.SESSION_LIFE)} hours old",
        f"up to {hours(new_sessions.SESSION_LIFE)} hours, unless the issuer calls back",
    ],
)
def test_the_page_states_the_limits_in_the_code(stated):
    """A limit that is changed in the code fails here until the page is updated."""
    assert stated in PAGE
