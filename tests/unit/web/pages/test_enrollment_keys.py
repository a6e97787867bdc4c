"""The pages of enrollment keys: issue, rotate, revoke."""

import html
import re

import pytest
from tests.unit.server.admin import test_enrollment_watch as watch
from tests.unit.web.conftest import get_match
from tests.unit.web.test_pages import ACTOR, text_of

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.scopes import UNLIMITED
from lyftdata.server.admin.enrollment_keys import EnrollmentKeyRules

KEY = r"lyftdata_enroll_[0-9A-Za-z]{10}_[0-9A-Za-z]{38}"
RULES = {
    "uses": "1",
    "life": "24h",
    "worker_name": "etl-*",
    "networks": "127.0.0.0/8, 10.4.0.0/16",
    "labels": "team=etl",
    "mode": "auto",
    "approve_name": "",
    "approve_networks": "",
}


async def enroll(server, secret, name="etl-1"):
    """Enroll a Worker with a proof of a secret."""
    identity = generate_identity_key()
    return await server.register(identity, name, credential=server.proof(identity, name, secret=secret))


async def test_a_key_is_issued_by_the_form_and_shown_once(server, browser):
    """The rules are as filled in; neither its page nor the list shows the key again."""
    made = await browser.post("/issue-enrollment-key", name="etl-hosts", **RULES)
    key = get_match(KEY, made)

    assert (await enroll(server, key)).status_code == 201
    assert await server.cause(await enroll(server, key, "etl-2")) == "enrollment_key_used_up"
    view = await server.services.enrollment_key_queries.get("etl-hosts", scope=UNLIMITED)
    assert (view.max_uses, view.worker_name, view.labels) == (1, "etl-*", {"team": "etl"})
    assert view.networks == ["10.4.0.0/16", "127.0.0.0/8"]
    assert (view.expires_at - server.clock()).total_seconds() == 86_400
    for path in ("/enrollment", "/enrollment/etl-hosts", "/audit"):
        page = await browser.get(path)
        assert key[27:] not in page.text
        assert "etl-hosts" in page.text
    page = text_of(await browser.get("/enrollment/etl-hosts"))
    for shown in ("used up", "1 of 1", "etl-*", "10.4.0.0/16, 127.0.0.0/8", "team=etl"):
        assert shown in page, shown


async def test_the_page_of_a_new_key_has_snippets_and_waits_for_workers(server, browser):
    """
    The snippets have the Worker's name and program; Workers that enroll appear, and the panel turns green once one connects.
    """
    rules = RULES | {"worker_name": "etl-1", "uses": "2", "command": "python /opt/etl/run.py"}
    made = await browser.post("/issue-enrollment-key", name="etl-hosts", **rules)
    text = html.unescape(made.text)
    assert "Waiting for the first Worker to enroll…" in text
    assert "choose-a-name" not in text
    pasted = re.findall("<pre.*?</pre>", text, re.DOTALL)
    assert ["LYFTDATA_WORKER_NAME" in each for each in pasted] == [True] * 4
    assert "lyftdata run worker -- python /opt/etl/run.py" in text
    assert get_match(KEY, made)[27:] not in "".join(pasted)
    path = get_match(r'hx-get="(/enrollment/etl-hosts/waiting)"', made)

    answer, identity = await watch.enroll(server, get_match(KEY, made), "etl-1")
    enrolled = text_of(await browser.get(path))
    await watch.connect(server, answer, identity)
    connected = await browser.get(path)

    assert "1 of 2 Workers has enrolled, 0 are online: etl-1 ." in enrolled
    assert "1 of 2 Workers has enrolled, 1 is online: etl-1 ." in text_of(connected)
    assert 'class="waiting good"' in connected.text
    assert "1 is online" in text_of(await browser.get("/enrollment/etl-hosts"))


async def test_the_page_of_a_new_key_shows_refusals(server, browser):
    """By the key's rules, with the remedy, and those with a wrong key. A host's name is always escaped."""
    made = await browser.post("/issue-enrollment-key", name="etl-hosts", **RULES)
    hostile = "<b>press</b>"
    await watch.enroll(server, get_match(KEY, made), hostile)
    await watch.enroll(server, "y" * 40, "etl-2", address="192.0.2.1")

    panel = await browser.get("/enrollment/etl-hosts/waiting")

    assert 'class="waiting bad"' in panel.text
    assert hostile not in panel.text
    assert f"{hostile} was refused: enrollment name not allowed. From 127.0.0.1." in text_of(panel)
    assert "was refused: wrong enrollment key. From 192.0.2.1." in text_of(panel)
    assert panel.text.count('href="/refusals/') == 2


@pytest.mark.parametrize(
    ("end", "says"), [("revoke", "it is revoked"), (None, "1 Worker waits for approval. Decide")]
)
async def test_the_panel_stops_refreshing_when_the_key_has_ended(server, browser, end, says):
    """While a Worker waits for approval, it links to the decision."""
    made = await browser.post("/issue-enrollment-key", name="etl-hosts", **RULES | {"mode": "approve"})
    if end == "revoke":
        await browser.post("/enrollment/etl-hosts/revoke")
    else:
        await watch.enroll(server, get_match(KEY, made), "etl-1")

    panel = await browser.get("/enrollment/etl-hosts/waiting")

    assert says in text_of(panel)
    assert ("hx-get" in panel.text) is (end is None)


async def test_a_command_in_an_error_is_shown_as_code(browser):
    """As in the remedy of a refusal, without backticks."""
    await browser.post("/issue-enrollment-key", name="etl-hosts", **RULES)
    again = await browser.post("/issue-enrollment-key", name="etl-hosts", **RULES)

    assert "<code>lyftdata enrollment rotate</code>" in again.text
    assert "`" not in text_of(again)


async def test_the_form_defaults_to_one_use_and_one_day(browser):
    """An operator who changes nothing gets the safest key."""
    page = await browser.get("/issue-enrollment-key")

    assert get_match(r'name="uses" value="([^"]*)"', page) == "1"
    assert get_match(r'<option value="([^"]*)" selected>', page) == "24h"


async def test_an_emptied_field_means_no_limit(server, browser):
    """For the number of uses, the lifetime, the name and the networks."""
    await browser.post(
        "/issue-enrollment-key",
        name="all-hosts",
        uses="",
        life="",
        worker_name="",
        networks="",
        labels="",
        mode="auto",
        approve_name="",
        approve_networks="",
    )

    view = await server.services.enrollment_key_queries.get("all-hosts", scope=UNLIMITED)
    assert (view.max_uses, view.expires_at, view.worker_name, view.networks) == (None, None, None, [])


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("uses", "0", "from 1 to"),
        ("uses", "-1", "whole number"),
        ("uses", "one", "whole number"),
        ("life", "100y", "one of those offered"),
        ("mode", "maybe", "one of those offered"),
        ("approve_name", "etl-*", "for mode approve only"),
        ("networks", "10.4.7.9/16", "10.4.0.0/16"),
        ("labels", "a b=c", "keys must be"),
        ("name", "startup", "LYFTDATA_AUTO_ENROLLMENT_KEY"),
    ],
)
async def test_an_invalid_rule_is_shown_in_the_form(server, browser, field, value, reason):
    """Nothing is issued, and the typed values are kept."""
    page = await browser.post("/issue-enrollment-key", **({"name": "etl-hosts"} | RULES | {field: value}))

    assert page.status_code == 422
    assert reason in text_of(page)
    assert 'value="etl-*"' in page.text
    assert list(server.services.directory.enrollment_keys()) == []


@pytest.mark.parametrize("field", ["uses", "life", "worker_name", "networks"])
async def test_a_form_without_a_limits_field_issues_no_key(server, browser, field):
    """A missing field is not read as an empty one, which would mean no limit."""
    rules = {name: value for name, value in RULES.items() if name != field}

    page = await browser.post("/issue-enrollment-key", name="etl-hosts", **rules)

    assert (page.status_code, "is missing from the form" in text_of(page)) == (422, True)
    assert list(server.services.directory.enrollment_keys()) == []


async def test_a_resent_rotate_form_rotates_once(server, browser):
    """A second rotation would end the key that was just copied."""
    await server.services.enrollment_keys.issue("etl-hosts", EnrollmentKeyRules(), actor=ACTOR)
    page = await browser.get("/enrollment/etl-hosts/rotate")
    before = get_match(r'name="before" value="([0-9a-f]{64})"', page)

    first = await browser.post("/enrollment/etl-hosts/rotate", before=before, grace="0s")
    again = await browser.post("/enrollment/etl-hosts/rotate", before=before, grace="0s")

    key = get_match(KEY, first)
    assert again.status_code == 409
    assert (await server.services.enrollment_key_queries.get("etl-hosts", scope=UNLIMITED)).generation == 2
    assert (await enroll(server, key)).status_code == 201


async def test_a_revoked_key_has_no_buttons(server, browser):
    """Revoking cannot be undone, and the confirmation says so."""
    issued = await server.services.enrollment_keys.issue("etl-hosts", EnrollmentKeyRules(), actor=ACTOR)
    assert (await enroll(server, issued.text.reveal())).status_code == 201
    asked = text_of(await browser.get("/enrollment/etl-hosts/revoke"))
    assert "1 Worker that it has enrolled stays" in asked
    assert "This cannot be undone" in asked

    await browser.post("/enrollment/etl-hosts/revoke")

    page = await browser.get("/enrollment/etl-hosts")
    assert "revoked" in text_of(page)
    assert "/rotate" not in page.text
    assert await server.cause(await enroll(server, issued.text.reveal(), "etl-2")) == "enrollment_key_revoked"


@pytest.mark.parametrize("name", ["startup", "nokey"])
async def test_the_key_from_the_settings_has_no_page(browser, name):
    """It is changed by its setting; the enrollment page shows it."""
    for page in ("", "/rotate", "/revoke"):
        assert (await browser.get(f"/enrollment/{name}{page}")).status_code == 404


async def test_a_key_in_mode_warn_shows_how_many_workers_broke_its_rules(server, browser):
    """On its page and in the list: the Workers that its rules would have refused."""
    rules = {**RULES, "uses": "", "worker_name": "press-*", "mode": "warn"}
    key = get_match(KEY, await browser.post("/issue-enrollment-key", name="etl-hosts", **rules))

    assert (await enroll(server, key)).status_code == 201

    assert "1 Worker let in against the rules" in text_of(await browser.get("/enrollment/etl-hosts"))
    assert "warn, 1 Worker against its rules" in text_of(await browser.get("/enrollment"))
