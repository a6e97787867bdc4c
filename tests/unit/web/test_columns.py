"""The columns that an operator chooses for the list of Workers, kept in the browser."""

import re

from tests.builders import worker
from tests.unit.web.conftest import get_match

from lyftdata.store.tables import workers

MENU = r'(?s)<nav aria-label="Main">(.*?)</nav>'


def headings(page):
    """Return the column headings of the list."""
    head = get_match(r'(?s)<table class="fleet">\s*<thead>(.*?)</thead>', page)
    titles = re.findall(r"<th[^>]*>(?:<a[^>]*>)?([^<]+)", head)
    return [title for title in titles if title.strip()]


async def test_an_operator_chooses_columns(server, browser, viewer):
    """
    Without scripts, and the filter is kept. Name and state stay; another operator in the same browser gets the default columns.
    """
    await server.services.store.write(
        lambda tx: workers.insert_worker(tx, worker("w-1", labels={"zone": "eu-1"}), unique_name=False)
    )
    usual = ["Name", "Status", "Host", "Address", "Version", "Labels", "Key or secret", "Last seen"]
    assert headings(await browser.get("/workers")) == usual

    chosen = await browser.post(
        "/choose-columns", q="id:w-1", sort="-created", column=["created", "host", "nonsense"]
    )

    assert chosen.headers["location"] == "/workers?q=id%3Aw-1&sort=-created"
    page = await browser.get(chosen.headers["location"])
    assert headings(page) == ["Name", "Status", "Host", "Created"]
    assert 'value="created" autocomplete="off" checked' in page.text
    assert "httponly" in chosen.headers["set-cookie"].lower()
    await browser.post("/choose-columns")
    assert headings(await browser.get("/workers")) == ["Name", "Status"]
    assert (await viewer.post("/choose-columns", column="seen")).status_code == 303
    assert headings(await viewer.get("/workers")) == ["Name", "Status", "Last seen"]


async def test_unknown_columns_in_the_cookie_are_ignored(server, browser):
    """A forged cookie adds no other column and no markup."""
    await server.services.store.write(lambda tx: workers.insert_worker(tx, worker("w-1"), unique_name=False))
    chosen = await browser.post("/choose-columns", column="host")
    name = chosen.headers["set-cookie"].partition("=")[0]
    browser.http.cookies.clear()
    cookies = {"session": chosen.request.headers["cookie"]}
    for value in ("<b>.host", "", "....", "\xff", "x" * 3000):
        header = f"{cookies['session'].partition(f'{name}=')[0].rstrip('; ')}; {name}={value}"
        page = await browser.get("/workers", headers={"Cookie": header.encode("latin-1")})
        assert page.status_code == 200
        assert set(headings(page)) <= {"Name", "Status", "Host"}
        assert "<b>" not in page.text


async def test_a_search_error_is_shown_once(browser):
    """It is shown in place of the result, so that it disappears when the search is corrected."""
    page = await browser.get("/workers?q=hsot%3Ax")
    assert page.status_code == 422
    assert page.text.count("Did you mean") == 1
    assert re.search(
        r'<div id="wrong" role="alert"><p class="empty">Nothing is listed\. .*Did you mean', page.text
    )


async def test_the_menu_has_api_tokens_and_event_destinations(browser, viewer):
    """Only for operators who may open these pages."""
    menu = get_match(MENU, await browser.get("/audit"))
    assert ('href="/api-tokens"' in menu, 'href="/event-destinations"' in menu) == (True, True)
    menu = get_match(MENU, await viewer.get("/audit"))
    assert ('href="/api-tokens"' in menu, 'href="/event-destinations"' in menu) == (True, False)
    tokens = await browser.get("/issue-api-token")
    assert '<a href="/api-tokens" aria-current="page">' in tokens.text
