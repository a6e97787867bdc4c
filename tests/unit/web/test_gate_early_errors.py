"""Errors that are answered before a page is reached are pages too, for a browser."""

from typing import Any, cast

import httpx2
import pytest

from lyftdata.server.http.freshness import FreshnessMiddleware
from lyftdata.store import StoreError
from lyftdata.web.gate import early_error_page


class Unreadable:
    """A store whose database cannot be read."""

    def is_current(self):
        """Say that the changes of other Servers have not been read lately."""
        return False

    async def refresh(self):
        """Fail to read them."""
        raise StoreError("no connection")


@pytest.mark.parametrize(
    ("path", "accept", "kind"),
    [
        ("/workers", "text/html,*/*;q=0.8", "text/html"),
        ("/workers", "*/*", "application/json"),
        ("/api/workers", "text/html", "application/json"),
        ("/oauth2/token", "application/json", "application/json"),
    ],
)
async def test_a_server_without_its_state_answers_503_in_the_callers_format(path, accept, kind):
    """With Retry-After: a page for a browser, JSON for programs."""
    app = FreshnessMiddleware(cast("Any", None), cast("Any", Unreadable()), error_page=early_error_page)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="https://lyft.example"
    ) as client:
        answer = await client.get(path, headers={"Accept": accept})

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.headers["content-type"].startswith(kind)
    assert "The Server cannot read its state." in answer.text
