"""A signed-in operator's browser as the Server sees it: session cookie, CSRF token and the headers that browsers add."""

import re
from typing import Any

import httpx2
import pytest
from tests.builders import ISSUER
from tests.deployment import PASSWORD, Deployment

FROM_OUR_PAGE = {"Sec-Fetch-Site": "same-origin", "Origin": ISSUER}


def get_match(pattern: str, page: httpx2.Response, flags: int = 0) -> str:
    """Return the group of the pattern's first match in a page, or the whole match if there is no group."""
    found = re.search(pattern, page.text, flags)
    assert found is not None, pattern
    return found[1] if found.re.groups else found[0]


class Browser:
    """
    A signed-in browser.

    Args:
        http: A client that no other browser uses, with its own cookies.
    """

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http
        self.csrf = ""

    async def sign_in(self, name: str, password: str, **more: str) -> httpx2.Response:
        """Post the form of the sign-in page."""
        form = {"username": name, "password": password} | more
        return await self.http.post("/login", data=form, headers=FROM_OUR_PAGE)

    async def learn_token(self) -> None:
        """Read the CSRF token from the form of a page."""
        page = await self.http.get("/account/password")
        self.csrf = get_match(r'name="csrf" value="([0-9a-f]{64})"', page)

    async def get(self, path: str, **more: Any) -> httpx2.Response:
        """Open a page."""
        return await self.http.get(path, **more)

    async def post(self, path: str, **fields: Any) -> httpx2.Response:
        """Post one of the Server's forms."""
        return await self.http.post(path, data={"csrf": self.csrf} | fields, headers=FROM_OUR_PAGE)

    async def post_shown(self, page: str, path: str, **fields: Any) -> httpx2.Response:
        """Post a form with the `before` value that its page shows, which identifies the state it was rendered with."""
        before = get_match(r'name="before" value="([0-9a-f]{64})"', await self.get(page))
        return await self.post(path, before=before, **fields)


async def signed_in(server: Deployment, name: str, password: str) -> Browser:
    """Sign in an operator who has already replaced the first password, and return the browser."""
    browser = Browser(server.from_address("192.0.2.50"))
    assert (await browser.sign_in(name, password)).status_code == 303
    await browser.learn_token()
    return browser


@pytest.fixture
async def browser(server: Deployment, admin: dict[str, str]) -> Any:
    """Yield an admin's browser."""
    body = {"current_password": PASSWORD, "new_password": "xxx " + PASSWORD}
    await server.http.post("/api/me/password", json=body, headers=admin)
    made = await signed_in(server, "admin", "xxx " + PASSWORD)
    yield made
    await made.http.aclose()


@pytest.fixture
async def viewer(server: Deployment, browser: Browser) -> Any:
    """Yield a viewer's browser."""
    admin = await server.sign_in(password="xxx " + PASSWORD)
    body = {"name": "vera", "role": "viewer", "password": "yyy " + PASSWORD}
    await server.http.post("/api/operators", json=body, headers=admin)
    first = await server.sign_in("vera", "yyy " + PASSWORD)
    body = {"current_password": "yyy " + PASSWORD, "new_password": "zzz " + PASSWORD}
    await server.http.post("/api/me/password", json=body, headers=first)
    made = await signed_in(server, "vera", "zzz " + PASSWORD)
    yield made
    await made.http.aclose()
