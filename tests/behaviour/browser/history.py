"""Back and Reload, pressed once the page that they leave has loaded."""

import re

from playwright.sync_api import Page, expect


def go_back(page: Page, leaving: str | re.Pattern[str]) -> None:
    """
    Press Back on the page with this heading.

    A click returns before the page that it opens has committed, and until then Chromium refuses to navigate its history
    with `Not attached to an active page`.
    """
    _wait_until_loaded(page, leaving)
    page.go_back()


def reload(page: Page, heading: str | re.Pattern[str]) -> None:
    """Press Reload on the page with this heading."""
    _wait_until_loaded(page, heading)
    page.reload()


def _wait_until_loaded(page: Page, heading: str | re.Pattern[str]) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    page.wait_for_load_state("load")
