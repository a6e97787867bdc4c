"""The pages of API tokens: issue, list, revoke."""

import pytest
from tests.deployment import PASSWORD
from tests.unit.web.conftest import get_match

from lyftdata.core.actor import Actor
from lyftdata.core.records import Role

ROOT = Actor(operator="admin", role=Role.ADMIN, session_id="session", address="127.0.0.1")
TOKEN = r"lyftdata_token_[0-9A-Za-z]{10}_[0-9A-Za-z]{38}"


async def issue(browser, name="ci-deploy", role="viewer", scope=""):
    """Issue a token with the form; return its text."""
    return get_match(
        TOKEN, await browser.post("/issue-api-token", name=name, role=role, life="90d", scope=scope)
    )


async def test_a_token_is_issued_by_the_form_and_shown_once(server, browser):
    """The token works, and no other page shows it."""
    text = await issue(browser)

    answer = await server.http.get("/api/whoami", headers={"Authorization": f"Bearer {text}"})
    assert (answer.json()["api_token"], answer.json()["role"]) == ("ci-deploy", "viewer")
    for path in ("/api-tokens", "/api-tokens/ci-deploy", "/audit", "/operators"):
        assert text.split("_")[3] not in (await browser.get(path)).text
    (shown,) = await server.services.api_tokens.list(actor=ROOT)
    assert (shown.expires_at - server.clock()).days == 90


@pytest.mark.parametrize(
    "wrong", [{"name": "ci"}, {"role": "root"}, {"role": ""}, {"life": "9999d"}, {"life": ""}, {"scope": ","}]
)
async def test_a_value_that_the_form_does_not_offer_is_rejected(server, browser, wrong):
    """The form is shown again with the error; no token is issued."""
    fields = {"name": "ci-deploy", "role": "viewer", "life": "90d", "scope": ""} | wrong

    answer = await browser.post("/issue-api-token", **fields)

    assert answer.status_code == 422
    assert "Issue an API token</h1>" in answer.text
    assert await server.services.api_tokens.list(actor=ROOT) == []


async def test_a_token_is_limited_to_the_forms_scope(server, browser):
    """It sees only the Workers with these labels; a form without the scope field issues no token."""
    admin = await server.sign_in(password="xxx " + PASSWORD)
    for worker_id, team in (("etl-1", "etl"), ("ops-1", "ops")):
        body = {"name": worker_id, "id": worker_id, "labels": {"team": team}}
        assert (await server.http.post("/api/workers", json=body, headers=admin)).status_code == 201

    text = await issue(browser, scope="team=etl")

    bearer = {"Authorization": f"Bearer {text}"}
    seen = (await server.http.get("/api/workers", headers=bearer)).json()["items"]
    assert [worker["id"] for worker in seen] == ["etl-1"]
    assert "team=etl" in (await browser.get("/api-tokens/ci-deploy")).text
    unlimited = await browser.post("/issue-api-token", name="ci-other", role="viewer", life="90d")
    assert unlimited.status_code == 422
    assert [token.name for token in await server.services.api_tokens.list(actor=ROOT)] == ["ci-deploy"]


async def test_a_token_is_revoked_on_its_page(server, browser):
    """After a confirmation; then it is rejected, and its page has no more button for it."""
    text = await issue(browser)
    assert "/api-tokens/ci-deploy/revoke" in (await browser.get("/api-tokens/ci-deploy")).text
    assert "Revoke ci-deploy?" in (await browser.get("/api-tokens/ci-deploy/revoke")).text

    answer = await browser.post("/api-tokens/ci-deploy/revoke")

    assert answer.headers["location"] == "/api-tokens/ci-deploy"
    rejected = await server.http.get("/api/whoami", headers={"Authorization": f"Bearer {text}"})
    assert rejected.json()["code"] == "api_token_rejected"
    assert "/api-tokens/ci-deploy/revoke" not in (await browser.get("/api-tokens/ci-deploy")).text


async def test_resetting_or_deleting_an_operator_names_the_tokens_that_end(server, browser, viewer):
    """The page that only ends sessions does not name them."""
    await issue(browser)

    for action, is_named in (("reset", True), ("delete", True), ("end-sessions", False)):
        assert ("ci-deploy" in (await browser.get(f"/operators/admin/{action}")).text) is is_named
        assert "ci-deploy" not in (await browser.get(f"/operators/vera/{action}")).text


async def test_a_tokens_page_links_to_its_audit_events(server, browser):
    """Only to the events of this token."""
    ci = {"Authorization": f"Bearer {await issue(browser, role='admin')}"}
    await server.http.post("/api/workers", json={"name": "made-by-ci"}, headers=ci)
    way = "/audit?actor=api_token%3Aci-deploy"
    assert way in (await browser.get("/api-tokens/ci-deploy")).text

    page = await browser.get(way)

    assert "worker.created" in page.text
    assert "api_token.issued" not in page.text.partition("<tbody>")[2]


async def test_a_viewer_sees_tokens_but_no_button_to_issue_one(server, browser, viewer):
    """`test_gate.py` posts the forms nevertheless."""
    await issue(browser)

    page = await viewer.get("/api-tokens")

    assert "ci-deploy" in page.text
    assert "/issue-api-token" not in page.text
