"""New Worker with a range: what it asks, the keys in one download, and who is still awaited."""

import base64
import io
import zipfile

import pytest
from tests.unit.web.conftest import the

OWN = {"name": "press-[01-20]", "id": "press-[01-20]", "labels": "zone=eu-1", "with": "own", "key_name": ""}


def files_of(page):
    """Return the files of the download that a page offers, by name."""
    packed = base64.b64decode(the(r'href="data:application/zip;base64,([A-Za-z0-9+/=]+)" download="', page))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


async def test_a_range_asks_first(server, browser):
    """Which Workers it stands for, and which keys they get; nothing is added yet, and the form carries all of it."""
    asked = await browser.post("/add-worker", **OWN)

    assert "<h1>Add 20 Workers?</h1>" in asked.text
    assert all(f"press-{number:02}" in asked.text for number in (1, 8, 20))
    assert "press-09" not in asked.text
    assert "and 12 more" in asked.text
    assert "A new key is made for each of them." in asked.text
    assert "zone=eu-1" in asked.text
    assert list(server.services.directory.workers()) == []
    for name, value in OWN.items():
        assert f'name="{name}" value="{value}"' in asked.text


async def test_the_download_has_a_file_for_each(server, browser):
    """A Worker gets a token by its file. The page shows no key besides, and its history is another page."""
    made = await browser.post("/add-worker", **OWN, confirmed="yes")

    files = files_of(made)
    assert list(files) == [f"press-{number:02}.env" for number in range(1, 21)]
    assert 'download="press-01-to-press-20.zip"' in made.text
    assert "lyftdata_" not in made.text
    assert made.headers["cache-control"].startswith("no-store")
    values = dict(line.split("=", 1) for line in files["press-20.env"].splitlines())
    token = await server.http.post(
        "/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=(values["LYFTDATA_WORKER_ID"], values["LYFTDATA_WORKER_API_KEY"]),
    )
    assert token.status_code == 200
    assert "The secret is not shown again" in (await browser.get("/workers")).text


async def test_one_key_for_all_is_shown_and_in_each_file(browser):
    """As for a single Worker, it can be copied."""
    made = await browser.post("/add-worker", **OWN | {"with": "one"}, confirmed="yes")

    key = the(r"<code>(lyftdata_\w+)</code>", made)
    assert all(f"LYFTDATA_WORKER_API_KEY={key}\n" in text for text in files_of(made).values())


async def test_a_key_that_there_is_is_not_in_a_download(browser):
    """It is not known any more."""
    await browser.post("/issue-api-key", name="old-keys", **{"for": "all"}, workers="", life="")

    made = await browser.post(
        "/add-worker", **OWN | {"with": "existing", "key_name": "old-keys"}, confirmed="yes"
    )

    assert "20 Workers may connect" in made.text
    assert "data:application/zip" not in made.text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "press-[20-01]"}, "goes backwards"),
        ({"name": "press-[001-999]"}, "at most 500 Workers"),
        ({"id": "press-[01-21]"}, "stands for 21 Workers"),
        ({"labels": "a,a"}, "a key comes twice"),
    ],
)
async def test_what_is_wrong_is_said_by_its_field_before_anything_is_added(server, browser, wrong, said):
    """The form is shown again with what was typed."""
    again = await browser.post("/add-worker", **OWN | wrong)

    assert again.status_code == 422
    assert said in again.text
    assert 'aria-invalid="true"' in again.text
    assert list(server.services.directory.workers()) == []


async def test_sent_again_nothing_is_added_twice(server, browser):
    """The names are taken then."""
    await browser.post("/add-worker", **OWN, confirmed="yes")

    again = await browser.post("/add-worker", **OWN, confirmed="yes")

    assert again.status_code == 409
    assert "&#39;press-01&#39;, &#39;press-02&#39;" in again.text
    assert len(list(server.services.directory.workers())) == 20


async def test_the_panel_counts_who_is_there(server, browser):
    """Those who connect, those who are awaited, and those who were refused since."""
    made = await browser.post("/add-worker", **OWN | {"name": "p-[1-3]", "id": "p-[1-3]"}, confirmed="yes")
    path = the(r'hx-get="(/added-workers/\d+/waiting)"', made)
    await server.http.post(
        "/oauth2/token", data={"grant_type": "client_credentials"}, auth=("p-2", "lyftdata_wrong")
    )

    panel = (await browser.get(path)).text

    assert "<b>0 of 3 Workers are online.</b>" in panel
    assert "1 Worker was refused:" in panel
    assert (await browser.get("/added-workers/1/waiting")).status_code == 404
    assert (await browser.get("/added-workers/x/waiting")).status_code == 404
