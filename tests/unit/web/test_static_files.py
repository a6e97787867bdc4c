"""Static files are compressed for clients that accept it; pages, API answers and streams never are."""

import gzip

import pytest
from tests.deployment import PASSWORD
from tests.unit.web.conftest import FROM_OUR_PAGE

from lyftdata.web.render import static_url
from lyftdata.web.static_files import takes_gzip

TAKES = {"Accept-Encoding": "gzip, deflate, br, zstd"}
TAKES_NONE = {"Accept-Encoding": "identity"}


@pytest.mark.parametrize(
    ("accepted", "answer"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("x-gzip", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("gzip;q=nonsense", False),
        ("gzipped", False),
        ("br", False),
        ("*", False),
        ("", False),
    ],
)
def test_gzip_is_sent_only_to_clients_that_accept_it(accepted, answer):
    """It must be named, with a weight above zero."""
    assert takes_gzip(accepted) is answer


@pytest.mark.parametrize("name", ["app.css", "app.js", "live.js", "htmx-2.0.11.min.js", "icon.svg"])
async def test_a_compressed_file_has_the_same_content(server, name):
    """All but the smallest files shrink by half or more; each form has its own ETag, and caches keep them apart."""
    path = static_url(name)
    whole = await server.http.get(path, headers=TAKES_NONE)
    async with server.http.stream("GET", path, headers=TAKES) as answer:
        sent = b"".join([part async for part in answer.aiter_raw()])

    assert gzip.decompress(sent) == whole.content
    assert len(sent) < len(whole.content) / 2 or len(whole.content) < 1_000
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) == len(sent)
    assert answer.headers["content-type"] == whole.headers["content-type"]
    assert "content-encoding" not in whole.headers
    assert answer.headers["etag"] != whole.headers["etag"]
    for each in (answer, whole):
        assert each.headers["vary"] == "Accept-Encoding"
        assert "immutable" in each.headers["cache-control"]
        assert each.headers["cross-origin-resource-policy"] == "same-origin"


async def test_an_unchanged_file_is_answered_304(server):
    """Only for the ETag of the requested encoding: with the other one, the browser could not read what it has."""
    path = static_url("app.css")
    tags = {
        form["Accept-Encoding"]: (await server.http.get(path, headers=form)).headers["etag"]
        for form in (TAKES, TAKES_NONE)
    }
    answers = {
        (form["Accept-Encoding"], tag): await server.http.get(path, headers=form | {"If-None-Match": tag})
        for form in (TAKES, TAKES_NONE)
        for tag in tags.values()
    }

    for (form, tag), answer in answers.items():
        assert answer.status_code == (304 if tags[form] == tag else 200)
        assert answer.headers["vary"] == "Accept-Encoding"


async def test_an_answer_with_a_secret_is_never_compressed(server, browser, admin):
    """BREACH: an attacker who sees lengths and influences the request could read a secret in the same answer."""
    bearer = await server.sign_in(password="xxx " + PASSWORD)
    form = {"csrf": browser.csrf, "name": "press-01", "with": "own"}
    answers = [
        await server.http.get("/login", headers=TAKES),
        await browser.http.get("/", headers=TAKES),
        await browser.http.get("/workers?q=lyftdata", headers=TAKES),
        await browser.http.post("/add-worker", data=form, headers=FROM_OUR_PAGE | TAKES),
        await server.http.get("/api/workers", headers=bearer | TAKES),
        await server.http.post("/oauth2/token", data={"grant_type": "client_credentials"}, headers=TAKES),
        await server.http.get("/.well-known/jwks.json", headers=TAKES),
    ]

    assert [answer.headers.get("content-encoding") for answer in answers] == [None] * len(answers)
    pages = [answer for answer in answers if "text/html" in answer.headers["content-type"]]
    assert len(pages) == 4
    assert {answer.headers["cache-control"] for answer in pages} == {"no-store, no-transform"}
