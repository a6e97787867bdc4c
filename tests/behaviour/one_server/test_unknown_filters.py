"""A mistyped filter is an error and does not list everything: on the pages and in the API."""

import html
import re

import pytest
from tests.deployment import PASSWORD
from tests.unit.web.test_pages import text_of


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/workers?q=status:bogus", "at character 8: 'bogus' is not one of: online, offline"),
        (
            "/workers?q=press+stauts:offline",
            "at character 7: there is no field 'stauts'. Did you mean 'status:'?",
        ),
        ("/workers?q=%22press", "at character 1: a quote is not closed."),
        ("/workers?sort=bogus", "There is no sort 'bogus'."),
        ("/workers?stauts=offline", "There is no filter 'stauts'."),
        ("/workers?status=offline", "There is no filter 'status'."),
        ("/workers?q=press&q=binder", "The filter 'q' is given twice."),
        ("/workers?q=status:%3Cscript%3E", "'<' cannot be used here."),
        ("/workers?q=status:%22%3Cscript%3E%22", "'<script>' is not one of"),
        ("/change-workers?action=disable&q=status:online", "Tick at least one Worker first."),
        ("/refusals?code=bogus", "There is no code 'bogus'."),
        ("/refusals?cause=wrong_api_key", "There is no filter 'cause'."),
        ("/audit?acton=worker.disabled", "There is no filter 'acton'."),
        ("/audit/export?format=xml", "There is no format 'xml'. There are: "),
        ("/api-keys?name=press", "There is no filter 'name'."),
        ("/?period=year", "There is no period 'year'. There are: hour, day, week."),
        ("/?perod=week", "There is no filter 'perod'."),
        ("/operators?role=admin", "There is no filter 'role'."),
        ("/resources?name=orders", "There is no filter 'name'."),
    ],
)
async def test_a_page_reports_an_unknown_filter_and_lists_nothing(browser, press, path, message):
    """There is no row that could be ticked."""
    page = await browser.get(path)

    assert (page.status_code, message in html.unescape(text_of(page))) == (422, True)
    assert 'name="id"' not in page.text
    assert not re.search(r'hx-get="[^"]*bogus', page.text)
    assert "<script>" not in page.text


@pytest.mark.parametrize(
    "query",
    ["", "?q=&sort=", "?page=7", "?q=+press+", "?id=press-01&labels=gpu"],
)
async def test_an_empty_form_field_does_not_filter(browser, press, query):
    """The form sends fields that were left empty; everything is listed."""
    page = await browser.get(f"/workers{query}")

    assert (page.status_code, 'value="press-01"' in page.text) == (200, True)


@pytest.mark.parametrize(
    "path",
    [
        "/api/workers?status=bogus",
        "/api/workers?state=offline",
        "/api/workers?label=",
        "/api/workers?q=",
        "/api/workers?q=status:bogus",
        "/api/workers?api_key=",
        "/api/refusals?code=bogus",
        "/api/refusals?code=",
        "/api/refusals?cause=wrong_api_key",
        "/api/audit?acton=worker.disabled",
        "/api/audit?action=",
        "/api/api-keys?q=press",
        "/api/history?period=year",
        "/api/audit/export?format=xml",
    ],
)
async def test_the_api_rejects_an_unknown_or_empty_filter(server, browser, press, path):
    """The answer is 422, and nothing is listed."""
    admin = await server.sign_in(password="xxx " + PASSWORD)

    answer = await server.http.get(path, headers=admin)

    assert answer.status_code == 422, answer.text
    assert "press-01" not in answer.text
