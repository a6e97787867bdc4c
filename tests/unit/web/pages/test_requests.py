"""The pages of requests that wait for a second operator: requesters see them, only another admin decides."""

import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from markupsafe import escape
from tests.deployment import PASSWORD
from tests.second_operator import add_operator, add_workers, turn_on, worker_ids
from tests.unit.web.conftest import signed_in
from tests.unit.web.pages.test_agent_versions import FIELDS, query
from tests.unit.web.test_pages import text_of

OWN = "yyy " + PASSWORD


@pytest.fixture
async def ben(server, browser):
    """Yield the browser of a second admin, with rules that require both for every action."""
    admin = await server.sign_in(password="xxx " + PASSWORD)
    body = {"name": "ben", "role": "admin", "password": PASSWORD}
    assert (await server.http.post("/api/operators", json=body, headers=admin)).status_code == 201
    own = {"current_password": PASSWORD, "new_password": OWN}
    await server.http.post("/api/me/password", json=own, headers=await server.sign_in("ben"))
    made = await signed_in(server, "ben", OWN)
    await turn_on(server, admin)
    await add_workers(server, "w-1", "w-2")
    yield made
    await made.http.aclose()


async def ask(browser):
    """Request the deletion of both Workers with the list's form; return the path of the request."""
    answer = await browser.post("/workers", action="delete", id=["w-1", "w-2"], confirmed="yes")
    assert answer.status_code == 303, answer.text
    path = answer.headers["location"]
    assert path.startswith("/requests/")
    return path


MUST_CONFIRM = "Another operator must confirm it: until then nothing is done."
ASKING = {
    "/change-workers?action=delete&id=w-1&id=w-2": True,
    "/change-workers?action=disable&id=w-1&id=w-2": True,
    "/change-workers?action=enable&id=w-1&id=w-2": False,
    "/workers/w-1/enable": False,
    "/agent-versions/policy?warn_below=2&refuse_below=1&from=": True,
    "/agent-versions/policy?warn_below=2&refuse_below=&from=": False,
    "/incident/cut-off?subject=worker:w-1&since=&whom=all&action=disable": False,
}


async def test_a_confirmation_says_that_another_operator_must_confirm(browser, ben, subtests):
    """Only for the actions that the rules name."""
    for path, must in ASKING.items():
        with subtests.test(path):
            assert (MUST_CONFIRM in text_of(await browser.get(path))) is must


async def test_without_rules_no_second_operator_is_mentioned(server, admin, browser, subtests):
    """Each admin can do everything alone."""
    await add_workers(server, "w-1", "w-2")
    for path in ASKING:
        with subtests.test(path):
            page = await browser.get(path)
            assert (page.status_code, MUST_CONFIRM in text_of(page)) == (200, False)


async def test_a_form_leads_to_a_request_that_another_operator_confirms(server, browser, ben):
    """The requester sees who can confirm it and adds a reason; the other admin reads that, confirms, and the action is done."""
    path = await ask(browser)
    shown = text_of(await browser.get(path))
    assert "Nothing was done yet: another operator must confirm it." in shown
    assert "Delete 2 Workers." in shown
    assert "Can confirm it ben" in shown
    assert f'href="{path}/confirm"' not in (await browser.get(path)).text
    assert (await browser.post(f"{path}/reason", reason="rack 7 was sold")).headers["location"] == path
    assert worker_ids(server) == ["w-1", "w-2"]

    alert = re.compile(rf'<a class="button" href="{path}">(\w+)<')
    assert [alert.findall((await of.get("/")).text) for of in (browser, ben)] == [["Show"], ["Decide"]]
    for overview in ("/", "/requests"):
        assert f'href="{path}"' in (await ben.get(overview)).text, overview
    asked = await ben.get(f"{path}/confirm")
    assert "rack 7 was sold" in asked.text
    assert 'href="/workers/w-1"' in asked.text
    done = await ben.post(f"{path}/confirm", note="seen")

    assert (done.status_code, done.headers["location"], worker_ids(server)) == (303, path, [])
    assert "Confirmed, and done." in text_of(await ben.get(path))
    shown = text_of(await browser.get(path))
    assert "confirmed by ben" in shown
    assert "seen" in shown


async def test_a_requester_cannot_confirm_their_own_request(server, browser, ben):
    """They get no form, and posting it has no effect; neither does a form of another session (CSRF)."""
    path = await ask(browser)
    assert "another operator must confirm it" in text_of(await browser.get(f"{path}/confirm"))

    assert (await browser.post(f"{path}/confirm")).status_code == 403
    forged = await ben.post(f"{path}/confirm", csrf=browser.csrf)
    assert forged.status_code == 403
    assert worker_ids(server) == ["w-1", "w-2"]


async def test_confirming_a_request_asks_for_the_password_again(server, browser, ben):
    """From fifteen minutes after the sign-in."""
    path = await ask(browser)
    server.clock.forward(minutes=15)

    answer = await ben.post(f"{path}/confirm")

    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/account/confirm")
    assert worker_ids(server) == ["w-1", "w-2"]


async def test_a_note_typed_on_the_request_is_kept_in_the_confirmation(server, browser, ben):
    """Also if the password is asked for in between. It is escaped, and one that is too long is rejected, not cut."""
    path = await ask(browser)
    shown = await ben.get(path)
    assert f'<form method="get" action="{path}/confirm"' in shown.text
    # Only the button that declines sends the session's token, which must never be in a URL.
    assert '<input type="hidden" name="csrf"' not in shown.text.partition(f'action="{path}/confirm"')[2]

    note = 'talked to "Ada" <b>&amp; Eve'
    asked = await ben.get(f"{path}/confirm?{urlencode({'note': note})}")
    assert f'name="note" value="{escape(note)}"' in asked.text
    too_long = await ben.get(f"{path}/confirm?note={'x' * 900}")
    assert f'value="{"x" * 501}"' in too_long.text
    assert (await ben.post(f"{path}/confirm", note="x" * 501)).status_code == 422
    server.clock.forward(minutes=15)
    later = await ben.get(f"{path}/confirm?{urlencode({'note': note})}")
    came_back = parse_qs(urlsplit(later.headers["location"]).query)["next"][0]
    assert came_back == f"{path}/confirm?{urlencode({'note': note})}"


async def test_requests_can_be_declined_and_withdrawn(server, browser, ben):
    """The requester reads why it was declined; a withdrawn one is no longer listed as waiting."""
    declined, answer = await ask(browser), None
    await ben.post(f"{declined}/decline", note="they are in use")
    shown = text_of(await browser.get(declined))
    assert "declined by ben" in shown
    assert "they are in use" in shown

    withdrawn = await ask(browser)
    assert withdrawn != declined
    answer = await browser.post(f"{withdrawn}/withdraw")
    assert answer.headers["location"] == withdrawn
    assert "Nothing waits for a second operator." in text_of(await ben.get("/requests"))
    again = await ben.post(f"{withdrawn}/confirm")
    assert again.status_code == 409
    assert worker_ids(server) == ["w-1", "w-2"]


async def test_a_request_that_was_done_does_not_link_to_deleted_workers(server, browser, ben):
    """Before, each name links to its Worker; afterwards the page says "was done", not "will be done"."""
    path = await ask(browser)
    before = await ben.get(path)
    await ben.post(f"{path}/confirm")

    after = await ben.get(path)

    assert ("Will be done" in before.text, before.text.count('href="/workers/w-')) == (True, 2)
    assert ("Was done" in after.text, after.text.count('href="/workers/w-')) == (True, 0)
    assert "w-1" in text_of(after)


async def test_a_first_password_is_shown_once_to_the_confirming_operator(server, browser, ben):
    """After a reload the page is the request, without the password."""
    answer = await browser.post("/operators", name="eve", role="admin", scope="")
    path = answer.headers["location"]

    made = await ben.post(f"{path}/confirm")

    assert "Shown once." in text_of(made)
    assert "A password for eve" in text_of(made)
    assert f'data-instead="{path}"' in made.text
    assert "Shown once." not in (await browser.get(path)).text


async def test_every_form_that_needs_a_second_operator_leads_to_its_request(server, browser, ben):
    """Role, password, signing keys, fleet policy and incident."""
    key = (await server.services.signing_keys.read_all())[0].kid
    forms = {
        "/operators": {"name": "eve", "role": "viewer", "scope": ""},
        "/workers/w-1/delete": None,
        "/incident/cut-off": {
            "subject": "worker:w-1",
            "since": "",
            "whom": "all",
            "action": "delete",
        },
    }
    await turn_on(server, await server.sign_in("ben", OWN), above=0)
    for path, fields in forms.items():
        answer = await browser.post(path, **(fields or {}))
        assert answer.headers.get("location", "").startswith("/requests/"), (path, answer.text)
    answer = await browser.post_shown(query(), "/agent-versions/policy", **FIELDS)
    assert answer.headers["location"].startswith("/requests/")
    shown = f"/signing-keys/{key}/withdraw"
    answer = await browser.post_shown(shown, shown)
    assert answer.headers["location"].startswith("/requests/")
    answer = await browser.post_shown("/operators/ben/reset", "/operators/ben/reset")
    assert answer.headers["location"].startswith("/requests/")


async def test_the_rules_are_turned_on_and_relaxed(server, browser):
    """With one admin the page says what is missing; with two, they are on at once, and turning them off needs the other admin."""
    refused = await browser.post(
        "/second-operator/change", action=["delete_workers", "manage_operators"], above="10"
    )
    assert refused.status_code == 409
    assert "Two admins without a limit are needed" in text_of(refused)
    await add_operator(server, await server.sign_in(password="xxx " + PASSWORD), "ben")

    for form, problem in (
        ({"above": "10"}, "Tick at least one action"),
        ({"action": "delete_workers", "above": "many"}, "Must be a number"),
        ({"action": "anything", "above": "1"}, "must be among"),
    ):
        assert problem in text_of(await browser.post("/second-operator/change", **form))
    done = await browser.post("/second-operator/change", action=["delete_workers"], above="25")

    assert done.headers["location"] == "/second-operator"
    shown = text_of(await browser.get("/second-operator"))
    assert "Many Workers are more than 25" in shown
    assert "Who can confirm: admin, ben." in shown
    off = await browser.post("/second-operator/change", action=["delete_workers"], above="25", do="off")
    assert off.headers["location"].startswith("/requests/")
    assert (await server.services.second_operator_settings.show()).rules is not None


async def test_a_viewer_sees_requests_but_cannot_decide(server, browser, viewer, ben):
    """There is no button, and their posts are refused."""
    path = await ask(browser)
    page = await viewer.get(path)

    assert page.status_code == 200
    assert "Decline" not in page.text
    for action in ("confirm", "decline", "withdraw", "reason"):
        assert (await viewer.post(f"{path}/{action}")).status_code == 403
    assert (await viewer.get("/second-operator/change")).status_code == 403
