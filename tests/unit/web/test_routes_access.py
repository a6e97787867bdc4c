"""Who may open each page and send each form: every page with every role, scope and API token."""

from itertools import product

import pytest
from tests.deployment import PASSWORD
from tests.unit.web.conftest import Browser, signed_in
from tests.unit.web.test_gate import fill

from lyftdata.web.routes import PAGES

# Written by hand, not taken from the policy table, so that a page whose action changes is noticed. `of a team too`: also for operators
# who are limited to labels, and the page stays within them. Add new pages here.
ROWS = {
    "GET /": "all of a team too",
    "GET /events": "all",
    "GET /jump": "all of a team too",
    "GET /workers": "all of a team too",
    "POST /workers": "admins of a team too",
    "POST /undo-change": "admins of a team too",
    "POST /choose-zone": "all of a team too",
    "POST /choose-columns": "all of a team too",
    "GET /change-workers": "admins of a team too",
    "GET /add-worker": "admins of a team too",
    "POST /add-worker": "admins of a team too",
    "GET /added-workers/{number}/waiting": "all of a team too",
    "GET /workers/{worker_id}": "all of a team too",
    "POST /workers/{worker_id}": "admins of a team too",
    "GET /workers/{worker_id}/waiting": "all of a team too",
    "GET /workers/{worker_id}/disable": "admins of a team too",
    "POST /workers/{worker_id}/disable": "admins of a team too",
    "POST /workers/{worker_id}/rotate-key": "admins of a team too",
    "GET /workers/{worker_id}/enable": "admins of a team too",
    "POST /workers/{worker_id}/enable": "admins of a team too",
    "GET /workers/{worker_id}/copies/{reference}/continue": "admins of a team too",
    "POST /workers/{worker_id}/copies/{reference}/continue": "admins of a team too",
    "GET /workers/{worker_id}/copies/{reference}/reenroll": "admins of a team too",
    "POST /workers/{worker_id}/copies/{reference}/reenroll": "admins of a team too",
    "GET /workers/{worker_id}/delete": "admins of a team too",
    "POST /workers/{worker_id}/delete": "admins of a team too",
    "GET /enrollment": "all of a team too",
    "GET /approvals": "all of a team too",
    "POST /approvals": "admins of a team too",
    "GET /decide-approvals": "admins of a team too",
    "GET /issue-enrollment-key": "admins of a team too",
    "POST /issue-enrollment-key": "admins of a team too",
    "GET /enrollment/{name}": "all of a team too",
    "GET /enrollment/{name}/waiting": "all of a team too",
    "GET /enrollment/{name}/rehearse": "all",
    "POST /enrollment/{name}/rehearse": "all",
    "GET /enrollment/{name}/rotate": "admins of a team too",
    "POST /enrollment/{name}/rotate": "admins of a team too",
    "GET /enrollment/{name}/end-previous": "admins of a team too",
    "POST /enrollment/{name}/end-previous": "admins of a team too",
    "GET /enrollment/{name}/revoke": "admins of a team too",
    "POST /enrollment/{name}/revoke": "admins of a team too",
    "GET /api-keys": "all of a team too",
    "GET /issue-api-key": "admins of a team too",
    "POST /issue-api-key": "admins of a team too",
    "GET /api-keys/{name}": "all of a team too",
    "GET /api-keys/{name}/rotate": "admins of a team too",
    "POST /api-keys/{name}/rotate": "admins of a team too",
    "GET /api-keys/{name}/end-previous": "admins of a team too",
    "POST /api-keys/{name}/end-previous": "admins of a team too",
    "GET /api-keys/{name}/revoke": "admins of a team too",
    "POST /api-keys/{name}/revoke": "admins of a team too",
    "GET /api-keys/{name}/allow": "admins of a team too",
    "POST /api-keys/{name}/allow": "admins of a team too",
    "GET /signing-keys": "all",
    "GET /signing-keys/rotate": "admins",
    "POST /signing-keys/rotate": "admins",
    "GET /signing-keys/{kid}/withdraw": "admins",
    "POST /signing-keys/{kid}/withdraw": "admins",
    "GET /agent-versions": "all",
    "GET /agent-versions/policy": "admins",
    "POST /agent-versions/policy": "admins",
    "GET /agent-versions/clear": "admins",
    "POST /agent-versions/clear": "admins",
    "GET /resources": "all of a team too",
    "GET /add-resource": "admins",
    "POST /add-resource": "admins",
    "GET /resources/{name}": "all of a team too",
    "POST /resources/{name}": "admins",
    "POST /resources/{name}/key": "admins",
    "GET /resources/{name}/delete": "admins",
    "POST /resources/{name}/delete": "admins",
    "GET /event-destinations": "admins",
    "GET /add-event-destination": "admins",
    "POST /add-event-destination": "admins",
    "GET /event-destinations/{name}": "admins",
    "POST /event-destinations/{name}": "admins",
    "POST /event-destinations/{name}/test": "admins",
    "POST /event-destinations/{name}/pause": "admins",
    "POST /event-destinations/{name}/resume": "admins",
    "POST /event-destinations/{name}/secret": "admins",
    "GET /event-destinations/{name}/skip": "admins",
    "POST /event-destinations/{name}/skip": "admins",
    "GET /event-destinations/{name}/delete": "admins",
    "POST /event-destinations/{name}/delete": "admins",
    "GET /incident": "all",
    "POST /incident": "all",
    "GET /incident/export": "all",
    "GET /incident/cut-off": "admins",
    "POST /incident/cut-off": "admins",
    "GET /incident/cut-offs/{number}": "all",
    "GET /alerts/{alert_id}/snooze": "admins",
    "POST /alerts/{alert_id}/snooze": "admins",
    "POST /alerts/{alert_id}/unsnooze": "admins",
    "GET /refusals": "all",
    "GET /ignore-refusals": "admins",
    "POST /ignore-refusals": "admins",
    "POST /reopen-refusals": "admins",
    "GET /refusals/{reference}": "all",
    "GET /audit": "all",
    "GET /audit/verified": "all",
    "GET /audit/export": "all",
    "GET /operators": "all",
    "POST /operators": "admins",
    "POST /operators/{name}/role": "admins",
    "GET /operators/{name}/scope": "admins",
    "POST /operators/{name}/scope": "admins",
    "GET /operators/{name}/reset": "admins",
    "POST /operators/{name}/reset": "admins",
    "GET /operators/{name}/second-factor": "admins",
    "POST /operators/{name}/second-factor": "admins",
    "GET /operators/{name}/passkeys/{passkey_id}/remove": "admins",
    "POST /operators/{name}/passkeys/{passkey_id}/remove": "admins",
    "GET /operators/{name}/delete": "admins",
    "POST /operators/{name}/delete": "admins",
    "GET /operators/{name}/end-sessions": "admins",
    "POST /operators/{name}/end-sessions": "admins",
    "GET /requests": "all of a team too",
    "GET /requests/{request_id}": "all of a team too",
    "POST /requests/{request_id}/reason": "admins of a team too",
    "POST /requests/{request_id}/withdraw": "admins of a team too",
    "POST /requests/{request_id}/decline": "admins of a team too",
    "GET /requests/{request_id}/confirm": "admins of a team too",
    "POST /requests/{request_id}/confirm": "admins of a team too",
    "GET /second-operator": "all",
    "GET /second-operator/change": "admins",
    "POST /second-operator/change": "admins",
    "GET /api-tokens": "all of a team too",
    "GET /issue-api-token": "admins of a team too",
    "POST /issue-api-token": "admins of a team too",
    "GET /api-tokens/{name}": "all of a team too",
    "GET /api-tokens/{name}/revoke": "admins of a team too",
    "POST /api-tokens/{name}/revoke": "admins of a team too",
    "GET /device": "all of a team too",
    "POST /device": "all of a team too",
    "GET /account": "all of a team too",
    "GET /account/password": "all of a team too",
    "POST /account/password": "all of a team too",
    "GET /account/confirm": "all of a team too",
    "POST /account/confirm": "all of a team too",
    "GET /account/second-factor": "all of a team too",
    "POST /account/second-factor": "all of a team too",
    "POST /account/second-factor/recovery-codes": "all of a team too",
    "GET /account/second-factor/remove": "all of a team too",
    "POST /account/second-factor/remove": "all of a team too",
    "GET /account/passkeys/add": "all of a team too",
    "POST /account/passkeys/add": "all of a team too",
    "GET /account/passkeys/{passkey_id}/remove": "all of a team too",
    "POST /account/passkeys/{passkey_id}/remove": "all of a team too",
    "POST /account/sessions/{session_id}/end": "all of a team too",
    "POST /account/sign-out-everywhere": "all of a team too",
    "POST /logout": "all of a team too",
}
ALLOWED = {
    "all": {"admin", "viewer"},
    "admins": {"admin"},
    "all of a team too": {"admin", "viewer", "admin of a team", "viewer of a team"},
    "admins of a team too": {"admin", "admin of a team"},
}
CALLERS = sorted(ALLOWED["all of a team too"])
# The password that confirms the operator; without it the answer is always 401.
NEEDED = {"POST /account/confirm": {"password": "own " + PASSWORD}}
CHANGES_THE_SESSION = {"POST /logout", "POST /account/sign-out-everywhere", "POST /account/confirm"}
ETL = {"team": "etl"}


def name_of(caller):
    """Return the name of the operator of this kind."""
    return f"an-{caller.replace(' ', '-')}"


async def browser_of(server, headers, caller):
    """Create an operator of this kind who has already replaced the first password, and return their browser."""
    role, _, team = caller.partition(" ")
    name = name_of(caller)
    body = {"name": name, "role": role, "password": PASSWORD, "scope": ETL if team else None}
    answer = await server.http.post("/api/operators", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    own = {"current_password": PASSWORD, "new_password": "own " + PASSWORD}
    await server.http.post("/api/me/password", json=own, headers=await server.sign_in(name, PASSWORD))
    return await signed_in(server, name, "own " + PASSWORD)


async def ask(browser, row):
    """Open a page, or send an empty form, so that little is changed where it is allowed."""
    method, path = row.split(" ")
    if method == "GET":
        return await browser.get(fill(path))
    return await browser.post(fill(path), **NEEDED.get(row, {}))


def test_every_page_has_a_row():
    """A new page must be added to the table above, with who may open it."""
    assert list(ROWS) == [f"{entry.method} {entry.path}" for entry in PAGES]


@pytest.mark.parametrize("caller", CALLERS)
async def test_each_page_is_open_only_to_the_callers_in_its_row(server, browser, unhurried, caller, subtests):
    """Every other operator gets 403 before anything is looked up."""
    headers = await server.sign_in(password="xxx " + PASSWORD)
    made = await browser_of(server, headers, caller)
    # An open event stream would never end.
    server.services.events.close()
    for row, who in ROWS.items():
        answer = await ask(made, row)
        if row in CHANGES_THE_SESSION:
            await made.http.aclose()
            made = await signed_in(server, name_of(caller), "own " + PASSWORD)

        with subtests.test(row):
            if caller in ALLOWED[who]:
                assert answer.status_code not in {401, 403, 405}
                assert row in CHANGES_THE_SESSION or "/login" not in answer.headers.get("location", "")
            else:
                assert answer.status_code == 403
    await made.http.aclose()


@pytest.mark.parametrize("sent_as", ["header", "cookie"])
async def test_no_api_token_opens_a_page(server, browser, unhurried, sent_as, subtests):
    """Pages are for people: no token is a session, whatever its role and scope, and forms sent with one change nothing."""
    headers = await server.sign_in(password="xxx " + PASSWORD)
    (cookie,) = [each.name for each in browser.http.cookies.jar if each.value.startswith("lyftdata_session_")]
    for number, (role, scope) in enumerate(product(("admin", "viewer"), (None, ETL))):
        body = {"name": f"ci-deploy-{number}", "role": role, "scope": scope}
        token = (await server.http.post("/api/api-tokens", json=body, headers=headers)).json()["token"]
        bare = Browser(server.from_address("192.0.2.60"))
        bare.http.headers.update(
            {"Authorization": f"Bearer {token}"} if sent_as == "header" else {"Cookie": f"{cookie}={token}"}
        )
        before = server.services.store.audit_length
        for row in ROWS:
            answer = await ask(bare, row)

            with subtests.test(f"{role} {scope} {row}"):
                assert answer.status_code in {303, 403}
                assert answer.status_code == 403 or answer.headers["location"].startswith("/login")
        assert server.services.store.audit_length == before
        await bare.http.aclose()
