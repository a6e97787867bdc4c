"""An operator with a browser, as far as the Server can tell: a cookie, a form's token, the headers browsers add."""

import re
from typing import Any

import httpx2
import pytest
from tests.builders import ISSUER
from tests.deployment import PASSWORD, Deployment

FROM_OUR_PAGE = {"Sec-Fetch-Site": "same-origin", "Origin": ISSUER}


def the(pattern: str, page: httpx2.Response, flags: int = 0) -> str:
    """Return what a page holds where the pattern fits: its group, or all of it."""
    found = re.search(pattern, page.text, flags)
    assert found is not None, pattern
    return found[1] if found.re.groups else found[0]


class Browser:
    """
    A signed-in browser.

    Args:
        http: A client of its own, with its own cookies.
    """

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http
        self.csrf = ""

    async def sign_in(self, name: str, password: str, **more: str) -> httpx2.Response:
        """Post the form of the sign-in page."""
        form = {"username": name, "password": password} | more
        return await self.http.post("/login", data=form, headers=FROM_OUR_PAGE)

    async def learn_token(self) -> None:
        """Read the token that forms carry from a page."""
        page = await self.http.get("/account/password")
        self.csrf = the(r'name="csrf" value="([0-9a-f]{64})"', page)

    async def get(self, path: str, **more: Any) -> httpx2.Response:
        """Open a page."""
        return await self.http.get(path, **more)

    async def post(self, path: str, **fields: Any) -> httpx2.Response:
        """Post one of the Server's forms."""
        return await self.http.post(path, data={"csrf": self.csrf} | fields, headers=FROM_OUR_PAGE)

    async def post_shown(self, page: str, path: str, **fields: Any) -> httpx2.Response:
        """Post a form as a page shows it, with what it carries to say which state it was shown with."""
        before = the(r'name="before" value="([0-9a-f]{64})"', await self.get(page))
        return await self.post(path, before=before, **fields)


async def signed_in(server: Deployment, name: str, password: str) -> Browser:
    """Return a browser in which an operator has signed in, with a password of their own."""
    browser = Browser(server.from_address("192.0.2.50"))
    assert (await browser.sign_in(name, password)).status_code == 303
    await browser.learn_token()
    return browser


@pytest.fixture
async def browser(server: Deployment, admin: dict[str, str]) -> Any:
    """Return the browser of an admin."""
    body = {"current_password": PASSWORD, "new_password": "xxx " + PASSWORD}
    await server.http.post("/api/me/password", json=body, headers=admin)
    made = await signed_in(server, "admin", "xxx " + PASSWORD)
    yield made
    await made.http.aclose()


@pytest.fixture
async def viewer(server: Deployment, browser: Browser) -> Any:
    """Return the browser of a viewer."""
    admin = await server.sign_in(password="xxx " + PASSWORD)
    body = {"name": "vera", "role": "viewer", "password": "yyy " + PASSWORD}
    await server.http.post("/api/operators", json=body, headers=admin)
    first = await server.sign_in("vera", "yyy " + PASSWORD)
    body = {"current_password": "yyy " + PASSWORD, "new_password": "zzz " + PASSWORD}
    await server.http.post("/api/me/password", json=body, headers=first)
    made = await signed_in(server, "vera", "zzz " + PASSWORD)
    yield made
    await made.http.aclose()
