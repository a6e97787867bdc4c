"""What a page of another site may read here, as a real browser has it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page
from tests.behaviour.browser.conftest import WITHIN_MS
from tests.peers.proxies import Service

FETCH = """async ([url, headers]) => {
    try { return (await fetch(url, {headers})).status } catch (error) { return error.name }
}"""


@pytest.fixture
def elsewhere(chromium: Browser) -> Iterator[Page]:
    """Return a page of another origin."""
    service = Service()
    service.answer_headers = {"Content-Type": "text/html"}
    page = chromium.new_page()
    page.set_default_timeout(WITHIN_MS)
    page.goto(f"http://127.0.0.1:{service.port}/")
    yield page
    page.close()
    service.close()


def test_metadata_and_keys_are_for_every_page(site, elsewhere):
    """An OAuth client in a browser finds the Server, with a header of its own too; nothing else answers it."""
    for name in ("oauth-authorization-server", "openid-configuration", "jwks.json"):
        url = f"{site.url}/.well-known/{name}"
        assert elsewhere.evaluate(FETCH, [url, {}]) == 200
        assert elsewhere.evaluate(FETCH, [url, {"MCP-Protocol-Version": "2025-11-25"}]) == 200
        # A second time: the browser asks again with the tag, and may read what it has.
        assert (
            elsewhere.evaluate("url => fetch(url, {cache: 'no-cache'}).then(({status}) => status)", url)
            == 200
        )

    for path in ("/healthz", "/metrics", "/api/login", "/oauth2/token"):
        assert elsewhere.evaluate(FETCH, [site.url + path, {}]) == "TypeError"
