"""New Worker with a range: the confirmation, the keys in one download, and which Workers are still missing."""

import base64
import html
import io
import zipfile

import pytest
from sqlalchemy import select
from tests.certificates import self_signed
from tests.deployment import PASSWORD
from tests.unit.web.conftest import get_match, signed_in

from lyftdata.store.schema import metadata

OWN = {"name": "press-[01-20]", "id": "press-[01-20]", "labels": "zone=eu-1", "with": "own", "key_name": ""}


def files_of(page):
    """Return the files of the archive that a page offers, by name."""
    packed = base64.b64decode(
        get_match(r'href="data:application/zip;base64,([A-Za-z0-9+/=]+)" download="', page)
    )
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


async def test_a_range_asks_for_confirmation(server, browser):
    """It lists the Workers and says which keys they get; nothing is added yet, and the form repeats all values."""
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


async def test_the_download_has_a_file_for_each_worker(server, browser):
    """A Worker gets a token with its file. The page shows no key outside the archive, and *back* leads to another page."""
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


async def test_a_shared_key_is_shown_and_in_each_file(browser):
    """It can be copied, as for a single Worker."""
    made = await browser.post("/add-worker", **OWN | {"with": "one"}, confirmed="yes")

    key = get_match(r"<code>(lyftdata_\w+)</code>", made)
    assert all(f"LYFTDATA_WORKER_API_KEY={key}\n" in text for text in files_of(made).values())


async def test_snippets_include_the_ca_that_workers_need(opened, tmp_path):
    """On every page with snippets: for one Worker, for many, with an existing key, and for enrollment."""
    ca = self_signed(tmp_path)[0]
    async with opened(LYFTDATA_WORKER_TLS_CA=str(ca)) as server:
        admin = await server.sign_in()
        body = {"current_password": PASSWORD, "new_password": "xxx " + PASSWORD}
        await server.http.post("/api/me/password", json=body, headers=admin)
        browser = await signed_in(server, "admin", "xxx " + PASSWORD)
        await browser.post("/issue-api-key", name="old-keys", **{"for": "all"}, workers="", life="")
        many = await browser.post("/add-worker", **OWN, confirmed="yes")
        others = [
            await browser.post("/add-worker", name="press", labels="", id="", **{"with": "own"}),
            await browser.post(
                "/add-worker",
                **OWN | {"name": "b-[1-2]", "id": "", "with": "existing", "key_name": "old-keys"},
                confirmed="yes",
            ),
            await browser.get("/enrollment"),
        ]
        await browser.http.aclose()

    assert files_of(many)["ca.pem"] == ca.read_text()
    assert "export LYFTDATA_TLS_CA=" in html.unescape(many.text)
    for page in others:
        assert html.unescape(page.text).count(ca.read_text().splitlines()[1]) == 4


async def test_an_existing_key_is_not_in_a_download(browser):
    """The Server no longer knows it."""
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
async def test_an_input_error_is_shown_at_its_field_before_anything_is_added(server, browser, wrong, said):
    """The form is shown again with the typed values."""
    again = await browser.post("/add-worker", **OWN | wrong)

    assert again.status_code == 422
    assert said in again.text
    assert 'aria-invalid="true"' in again.text
    assert list(server.services.directory.workers()) == []


async def test_a_resent_form_adds_no_worker_twice(server, browser):
    """The names are already taken."""
    await browser.post("/add-worker", **OWN, confirmed="yes")

    again = await browser.post("/add-worker", **OWN, confirmed="yes")

    assert again.status_code == 409
    assert "&#39;press-01&#39;, &#39;press-02&#39;" in again.text
    assert len(list(server.services.directory.workers())) == 20


async def test_the_panel_counts_online_missing_and_refused_workers(server, browser):
    """Refusals count from the time at which the Workers were added."""
    made = await browser.post("/add-worker", **OWN | {"name": "p-[1-3]", "id": "p-[1-3]"}, confirmed="yes")
    path = get_match(r'hx-get="(/added-workers/\d+/waiting)"', made)
    await server.http.post(
        "/oauth2/token", data={"grant_type": "client_credentials"}, auth=("p-2", "lyftdata_wrong")
    )

    panel = (await browser.get(path)).text

    assert "<b>0 of 3 Workers are online.</b>" in panel
    assert "1 Worker was refused:" in panel
    assert (await browser.get("/added-workers/1/waiting")).status_code == 404
    assert (await browser.get("/added-workers/x/waiting")).status_code == 404


COMMAND = "python '/opt/my press/run.py' --zone=eu-1"


async def everything_stored(server):
    """Return all rows of all tables as text."""

    def read(conn):
        return [str(list(conn.execute(select(table)))) for table in metadata.sorted_tables]

    return "\n".join(await server.services.store.read(read))


async def test_snippets_run_the_typed_command_which_the_server_does_not_store(server, browser):
    """In each of the four snippets for one Worker; for many, in what is pasted on each host, and the confirmation names it."""
    one = OWN | {"name": "binder-01", "id": "binder-01", "command": COMMAND}
    made = html.unescape((await browser.post("/add-worker", **one)).text)
    assert f"lyftdata run worker -- {COMMAND}" in made
    assert 'run worker --restart on-failure -- python "/opt/my press/run.py" --zone=eu-1' in made
    assert '["lyftdata", "run", "worker", "--", "python", "/opt/my press/run.py", "--zone=eu-1"]' in made

    many = OWN | {"command": COMMAND}
    asked = await browser.post("/add-worker", **many)
    assert f"runs <code>{html.escape(COMMAND).replace('&#x27;', '&#39;')}</code>" in asked.text
    assert f'name="command" value="{html.escape(COMMAND).replace("&#x27;", "&#39;")}"' in asked.text
    added = html.unescape((await browser.post("/add-worker", **many, confirmed="yes")).text)
    assert f"lyftdata run worker -- {COMMAND}" in added

    assert "my press" not in await everything_stored(server)


@pytest.mark.parametrize("command", ["run | tee log", "run 'x", "curl -H lyftdata_4dGhbYmBk1_" + "a" * 30])
@pytest.mark.parametrize("name", ["binder-01", "press-[01-20]"])
async def test_a_command_that_would_not_run_adds_no_worker(server, browser, name, command):
    """The error is next to the field, also after the confirmation; the typed command is kept."""
    for confirmed in ("", "yes"):
        form = OWN | {"name": name, "id": "", "command": command, "confirmed": confirmed}
        answer = await browser.post("/add-worker", **form)

        assert answer.status_code == 422
        assert 'id="error-command"' in answer.text
        assert f'value="{html.escape(command).replace("&#x27;", "&#39;")}"' in answer.text
    assert list(server.services.directory.workers()) == []
