"""What a page of another site may read from the Server, in a real browser."""

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


def test_only_metadata_and_keys_can_be_read_by_other_origins(site, elsewhere):
    """So an OAuth client in a browser can discover the Server, also with a custom header; other URLs cannot be read."""
    for name in ("oauth-authorization-server", "openid-configuration", "jwks.json"):
        url = f"{site.url}/.well-known/{name}"
        assert elsewhere.evaluate(FETCH, [url, {}]) == 200
        assert elsewhere.evaluate(FETCH, [url, {"MCP-Protocol-Version": "2025-11-25"}]) == 200
        # The second time: the browser revalidates with the ETag, and may read its copy.
        assert (
            elsewhere.evaluate("url => fetch(url, {cache: 'no-cache'}).then(({status}) => status)", url)
            == 200
        )

    for path in ("/healthz", "/metrics", "/api/login", "/oauth2/token"):
        assert elsewhere.evaluate(FETCH, [site.url + path, {}]) == "TypeError"
