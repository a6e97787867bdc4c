"""The page that tries rules of an enrollment key against recorded attempts."""

import pytest
from tests.unit.web.test_pages import ACTOR, text_of

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.records import EnrollmentMode
from lyftdata.server.admin.enrollment_keys import EnrollmentKeyRules

PATH = "/enrollment/etl-hosts/rehearse"
RULES = {
    "days": "30",
    "expires": "",
    "uses": "",
    "worker_name": "",
    "networks": "",
    "mode": "auto",
    "approve_name": "",
    "approve_networks": "",
}


@pytest.fixture
async def warned(server):
    """Return the ID of a Worker that a key in mode warn enrolled against its rules."""
    rules = EnrollmentKeyRules(worker_name="etl-*", mode=EnrollmentMode.WARN)
    issued = await server.services.enrollment_keys.issue("etl-hosts", rules, actor=ACTOR)
    key = generate_identity_key()
    proof = server.proof(key, "press-1", secret=issued.text.reveal())
    return (await server.register(key, "press-1", credential=proof)).json()["client_id"]


async def test_the_page_starts_with_the_keys_own_rules(browser, warned):
    """As if the key refused; the key's page and the count of Workers against its rules link there."""
    page = await browser.get(PATH)

    assert 'name="worker_name" value="etl-*"' in page.text
    assert "1 attempt that got in would be refused" in text_of(page)
    assert f'href="/workers/{warned}"' in page.text
    assert "enrollment_name_not_allowed" in page.text
    for path in ("/enrollment", "/enrollment/etl-hosts"):
        assert f'href="{PATH}"' in (await browser.get(path)).text, path


async def test_the_forms_rules_are_tried_and_shown_again(browser, warned):
    """An empty field is no rule; the key is not changed."""
    loose = await browser.post(PATH, **RULES)
    strict = await browser.post(PATH, **RULES | {"networks": "192.0.2.0/24, 198.51.100.0/24"})

    assert "No attempt that got in would be refused" in text_of(loose)
    assert "enrollment_network_not_allowed" in strict.text
    assert 'value="192.0.2.0/24, 198.51.100.0/24"' in strict.text
    assert 'name="worker_name" value="etl-*"' in (await browser.get(PATH)).text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("days", "12"),
        ("networks", "10.4.7.9/16"),
        ("expires", "7"),
        ("uses", "many"),
        ("mode", "never"),
        ("approve_name", "x"),
    ],
)
async def test_an_invalid_rule_is_rejected_in_the_form(browser, warned, field, value):
    """The typed values are shown again."""
    page = await browser.post(PATH, **RULES | {"worker_name": "typed-*"} | {field: value})

    assert page.status_code == 422
    assert 'name="worker_name" value="typed-*"' in page.text


@pytest.mark.parametrize("field", list(RULES))
async def test_a_form_without_a_rules_field_is_rejected(browser, warned, field):
    """A missing field would otherwise be read as no rule."""
    page = await browser.post(PATH, **{name: value for name, value in RULES.items() if name != field})

    assert page.status_code == 422
    assert "is missing from the form" in text_of(page)


async def test_the_key_from_the_settings_can_be_rehearsed(browser, server):
    """Although it has no page of its own."""
    await server.register(generate_identity_key(), "press-1")

    page = await browser.post("/enrollment/startup/rehearse", **RULES | {"worker_name": "etl-*"})

    assert "1 attempt that got in would be refused" in text_of(page)
    assert 'href="/enrollment/startup/rehearse"' in (await browser.get("/enrollment")).text
    assert (await browser.get("/enrollment/no-such-key/rehearse")).status_code == 404
