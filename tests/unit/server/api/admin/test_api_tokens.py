"""API tokens of automation, and what an attacker may try with one."""

import asyncio
from datetime import timedelta

import pytest
from structlog.testing import capture_logs
from tests.builders import ISSUER, SECRET_KEY, seeded_bytes
from tests.deployment import PASSWORD
from tests.unit.web.conftest import FROM_OUR_PAGE

from lyftdata.core.api_tokens import generate_api_token
from lyftdata.server.runtime.background import end_listeners, flush
from lyftdata.store.schema import metadata
from lyftdata.store.tables import api_tokens

TOKENS = "/api/api-tokens"
OWN_PASSWORD = "xxx " + PASSWORD
GRACES_PASSWORD = "zzz " + PASSWORD


@pytest.fixture
async def ada(server):
    """Return the headers of an admin with a password of their own."""
    await own_password(server)
    return await server.sign_in(password=OWN_PASSWORD)


async def own_password(server):
    """Let the first admin change the first password."""
    body = {"current_password": PASSWORD, "new_password": OWN_PASSWORD}
    answer = await server.http.post("/api/me/password", json=body, headers=await server.sign_in())
    assert answer.status_code == 204, answer.text


async def issue(server, headers, name="ci-deploy", role="admin", **more):
    """Issue a token; return the headers of what uses it."""
    answer = await server.http.post(TOKENS, json={"name": name, "role": role} | more, headers=headers)
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


async def refusal(server, headers, path="/api/workers"):
    """Return status and code of the answer to a caller."""
    answer = await server.http.get(path, headers=headers)
    return answer.status_code, answer.json().get("code")


async def events_about(server, headers, subject):
    """Return who did what to a subject, the latest first."""
    answer = await server.http.get("/api/audit", params={"subject": subject}, headers=headers)
    return [(event["actor"], event["action"]) for event in answer.json()["items"]]


REJECTED = (401, "api_token_rejected")


async def test_a_token_acts_under_its_own_name(server, ada):
    """What it does is in the audit log as its doing, and what it makes names it."""
    ci = await issue(server, ada)

    made = await server.http.post("/api/workers", json={"name": "w", "id": "press-01"}, headers=ci)

    assert made.json()["worker"]["created_by"] == "api_token:ci-deploy"
    assert await events_about(server, ada, "worker:press-01") == [("api_token:ci-deploy", "worker.created")]
    assert await events_about(server, ada, "api_token:ci-deploy") == [("operator:admin", "api_token.issued")]
    who = (await server.http.get("/api/whoami", headers=ci)).json()
    assert (who["name"], who["role"], who["api_token"]) == ("admin", "admin", "ci-deploy")


async def test_a_token_is_shown_once_and_stored_nowhere(server, ada):
    """Neither the lists nor the database have it; the answer is not to be cached."""
    answer = await server.http.post(TOKENS, json={"name": "ci-deploy", "role": "viewer"}, headers=ada)
    secret = answer.json()["token"].split("_")[3]

    assert answer.headers["cache-control"] == "no-store"
    for path in (TOKENS, f"{TOKENS}/ci-deploy", "/api/audit"):
        assert secret not in (await server.http.get(path, headers=ada)).text

    def dump(conn):
        return "".join(str(conn.execute(table.select()).all()) for table in metadata.sorted_tables)

    assert secret not in await server.services.store.read(dump)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "ci", "role": "admin"}, "name"),
        ({"name": "ci-deploy", "role": "root"}, "role"),
        ({"name": "ci-deploy"}, "role"),
        ({"name": "ci-deploy", "role": "admin", "expires_in_s": 0}, "expires_in_s"),
        ({"name": "ci-deploy", "role": "admin", "expires_in_s": 366 * 86_400 + 1}, "expires_in_s"),
        ({"name": "ci-deploy", "role": "admin", "expires_in_s": None}, "expires_in_s"),
    ],
)
async def test_a_token_needs_a_name_a_role_and_an_end(server, ada, body, field):
    """What is wrong is named; no token is without an end."""
    answer = await server.http.post(TOKENS, json=body, headers=ada)

    assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_a_token_ends_by_itself(server, ada):
    """After 90 days unless another life was chosen, from that very second on."""
    ci = await issue(server, ada)
    server.clock.forward(days=90, seconds=-1)
    assert (await refusal(server, ci))[0] == 200

    server.clock.forward(seconds=1)

    assert await refusal(server, ci) == REJECTED


async def test_a_revoked_token_is_rejected_at_the_next_request(server, ada):
    """And its name is not given again; revoking twice is audited once."""
    ci = await issue(server, ada)

    for _ in range(2):
        answer = await server.http.post(f"{TOKENS}/ci-deploy/revoke", headers=ada)
        assert answer.json()["status"] == "revoked"

    assert await refusal(server, ci) == REJECTED
    again = await server.http.post(TOKENS, json={"name": "ci-deploy", "role": "viewer"}, headers=ada)
    assert (again.status_code, again.json()["code"]) == (409, "api_token_name_taken")
    assert await events_about(server, ada, "api_token:ci-deploy") == [
        ("operator:admin", "api_token.revoked"),
        ("operator:admin", "api_token.issued"),
    ]
    assert (await server.http.post(f"{TOKENS}/nope-nope/revoke", headers=ada)).status_code == 404


async def test_a_token_revoked_at_one_server_is_rejected_by_the_others(opened, cluster):
    """From the next request on, with no delay by news between Servers."""
    environ = {"LYFTDATA_DATABASE_URL": cluster.new_database(), "LYFTDATA_SECRET_KEY": SECRET_KEY}
    async with opened(**environ) as one, opened(**environ) as other:
        await own_password(one)
        ada = await one.sign_in(password=OWN_PASSWORD)
        ci = await issue(one, ada)
        assert (await refusal(other, ci))[0] == 200

        await other.http.post(f"{TOKENS}/ci-deploy/revoke", headers=ada)

        assert await refusal(one, ci) == REJECTED
        assert await refusal(other, ci) == REJECTED


# --- attacks ------------------------------------------------------------------------------------------------


async def test_a_guess_learns_nothing(server, ada):
    """An unknown public id and a wrong secret get one answer; it is counted, and nothing is audited."""
    ci = await issue(server, ada)
    text = ci["Authorization"].removeprefix("Bearer ")
    unknown = generate_api_token(seeded_bytes(5)).text.reveal()
    # A right checksum over a wrong secret: an attacker can compute it.
    public_id = text.split("_")[2].encode()
    wrong = generate_api_token(_bytes_beginning_with(public_id)).text.reveal()
    assert wrong.split("_")[:3] == text.split("_")[:3]
    before = server.services.store.audit_length

    answers = [
        await server.http.get("/api/workers", headers={"Authorization": f"Bearer {guess}"})
        for guess in (unknown, wrong)
    ]

    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].content == answers[1].content
    assert server.services.store.audit_length == before
    assert "lyftdata_api_tokens_rejected_total 2.0" in (await server.http.get("/metrics")).text


def _bytes_beginning_with(public_id):
    """Return a source of bytes from which a token with this public id is made."""
    alphabet = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    first = [bytes(alphabet.index(character) for character in public_id)]
    after = seeded_bytes(6)
    return lambda count: first.pop() if first else after(count)


async def test_only_who_holds_a_token_gets_a_line_in_the_log(server, ada):
    """A revoked token that is still used is logged with the address, once for a hundred requests; a guess is not."""
    ci = await issue(server, ada)
    await server.http.post(f"{TOKENS}/ci-deploy/revoke", headers=ada)
    guess = {"Authorization": f"Bearer {generate_api_token(seeded_bytes(5)).text.reveal()}"}

    with capture_logs() as logs:
        for headers in (guess, ci, ci, guess):
            async with server.from_address("192.0.2.66") as http:
                await http.get("/api/workers", headers=headers)

    (line,) = [line for line in logs if line["event"] == "api_token_rejected"]
    assert (line["token"], line["address"]) == ("ci-deploy", "192.0.2.66")
    assert ci["Authorization"].removeprefix("Bearer ") not in str(logs)


async def test_a_token_opens_no_page(server, ada):
    """Not in the cookie of a session, nor in the header: no page of another site can use it through a browser."""
    ci = await issue(server, ada)
    text = ci["Authorization"].removeprefix("Bearer ")

    for headers in (
        ci,
        {"Cookie": f"__Host-lyftdata={text}"},
        FROM_OUR_PAGE | {"Cookie": f"__Host-lyftdata={text}"},
    ):
        answer = await server.http.get("/workers", headers=headers)
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/login")


async def test_a_token_is_not_taken_from_an_address_or_a_body(server, ada):
    """Addresses are logged by every proxy."""
    ci = await issue(server, ada)
    text = ci["Authorization"].removeprefix("Bearer ")

    for name in ("access_token", "token", "api_token"):
        assert await refusal(server, {}, f"/api/workers?{name}={text}") == (401, "not_signed_in")
        answer = await server.http.get(f"/api/workers?{name}={text}", headers=ada)
        assert (answer.status_code, text in answer.text) == (422, False)
    posted = await server.http.post("/api/workers", json={"name": "w", "access_token": text})
    assert posted.status_code == 401


@pytest.mark.parametrize("place", ["client_secret", "bearer", "verify"])
async def test_a_token_is_no_workers_credential(server, ada, place):
    """It gets no worker token, enrolls nothing, and passes no check of a worker token."""
    ci = await issue(server, ada)
    text = ci["Authorization"].removeprefix("Bearer ")

    if place == "client_secret":
        answer = await server.token_by_key("press-01", text)
    elif place == "bearer":
        answer = await server.http.post("/oauth2/register", json={"client_name": "w"}, headers=ci)
    else:
        answer = await server.verify(text)

    assert 400 <= answer.status_code < 500
    assert text not in answer.text


async def test_a_token_makes_no_other_way_in(server, ada):
    """An admin token adds no operator, changes no role or password, and issues or revokes no token."""
    ci = await issue(server, ada)
    before = server.services.store.audit_length
    for method, path, body in (
        ("POST", TOKENS, {"name": "backdoor", "role": "viewer"}),
        ("POST", f"{TOKENS}/ci-deploy/revoke", None),
        ("POST", "/api/operators", {"name": "eve", "role": "admin"}),
        ("PATCH", "/api/operators/admin", {"reset_password": True}),
        ("POST", "/api/me/password", {"current_password": OWN_PASSWORD, "new_password": "yyy " + PASSWORD}),
        ("DELETE", "/api/operators/admin/sessions", None),
        ("POST", "/api/logout-everywhere", None),
    ):
        answer = await server.http.request(method, path, json=body, headers=ci)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
    assert server.services.store.audit_length == before


async def test_a_viewer_issues_no_token(server, ada):
    """Only an admin lets a program in."""
    body = {"name": "vera", "role": "viewer", "password": "another long one"}
    await server.http.post("/api/operators", json=body, headers=ada)
    vera = await server.sign_in("vera", "another long one")

    answer = await server.http.post(TOKENS, json={"name": "ci-deploy", "role": "viewer"}, headers=vera)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await server.http.get(TOKENS, headers=vera)).status_code == 200


async def test_a_first_password_issues_no_token(server, admin):
    """Anyone who has read it would keep a way in beyond its change."""
    answer = await server.http.post(TOKENS, json={"name": "ci-deploy", "role": "admin"}, headers=admin)

    assert (answer.status_code, "first password" in answer.json()["detail"]) == (403, True)
    assert (await server.http.get(TOKENS, headers=admin)).json()["items"] == []


async def other_admin(server, ada):
    """Add an admin with a password of their own; return the headers of their session."""
    body = {"name": "grace", "role": "admin", "password": "another long one"}
    await server.http.post("/api/operators", json=body, headers=ada)
    own = {"current_password": "another long one", "new_password": GRACES_PASSWORD}
    first = await server.sign_in("grace", "another long one")
    changed = await server.http.post("/api/me/password", json=own, headers=first)
    assert changed.status_code == 204, changed.text
    return await server.sign_in("grace", GRACES_PASSWORD)


async def test_a_demoted_operator_keeps_no_more_by_a_token(server, ada):
    """A token does what its operator may do now, and is given back nothing but the role that it was issued with."""
    ci = await issue(server, await other_admin(server, ada))
    add = {"name": "w"}
    assert (await server.http.post("/api/workers", json=add, headers=ci)).status_code == 201

    await server.http.patch("/api/operators/grace", json={"role": "viewer"}, headers=ada)

    assert (await server.http.post("/api/workers", json=add, headers=ci)).status_code == 403
    shown = (await server.http.get(f"{TOKENS}/ci-deploy", headers=ada)).json()
    assert (shown["role"], shown["effective_role"], shown["operator"]) == ("admin", "viewer", "grace")


async def test_a_deleted_operators_tokens_are_revoked_for_good(server, ada):
    """Another operator who gets the name gets no tokens with it."""
    ci = await issue(server, await other_admin(server, ada))

    await server.http.delete("/api/operators/grace", headers=ada)
    server.clock.forward(minutes=1)
    await other_admin(server, ada)

    assert await refusal(server, ci) == REJECTED
    assert await events_about(server, ada, "api_token:ci-deploy") == [
        ("operator:admin", "api_token.revoked"),
        ("operator:grace", "api_token.issued"),
    ]


async def test_a_reset_password_revokes_the_tokens_and_ones_own_change_does_not(server, ada):
    """A reset answers a theft; a pipeline goes on over an operator's yearly change."""
    grace = await other_admin(server, ada)
    ci = await issue(server, grace)
    own = {"current_password": GRACES_PASSWORD, "new_password": "yyy " + PASSWORD}
    assert (await server.http.post("/api/me/password", json=own, headers=grace)).status_code == 204
    assert (await refusal(server, ci))[0] == 200

    await server.http.patch("/api/operators/grace", json={"reset_password": True}, headers=ada)

    assert await refusal(server, ci) == REJECTED


async def test_an_event_stream_ends_with_its_token(server, ada):
    """A token that was revoked hears of nothing more."""
    ci = await issue(server, ada, "ci-watch", "viewer")
    other = await issue(server, ada, "ci-other", "viewer")
    listeners = []
    for headers in (ci, other, ada):
        text = headers["Authorization"].removeprefix("Bearer ")
        actor = await server.services.callers.identify(text, address="192.0.2.1")
        listeners.append(server.services.events.admit(actor))

    await server.http.post(f"{TOKENS}/ci-watch/revoke", headers=ada)
    await end_listeners(server.services)

    assert [listener.is_ended for listener in listeners] == [True, False, False]
    server.clock.forward(days=91)
    await end_listeners(server.services)
    assert [listener.is_ended for listener in listeners] == [True, True, True]


async def test_a_tokens_budget_is_its_own(server, ada):
    """A pipeline that floods the Server does not lock its operator out."""
    ci = await issue(server, ada)
    assert (await refusal(server, ci))[0] == 200
    server.services.budget.charge("api_token:ci-deploy", 5_000)

    assert await refusal(server, ci) == (429, "too_many_requests")
    assert (await refusal(server, ada))[0] == 200


async def test_the_last_use_is_written_seldom(server, ada):
    """When and from where: at the first use, after ten minutes, and from another address after one."""

    async def use(minutes, address):
        server.clock.forward(minutes=minutes)
        async with server.from_address(address) as http:
            await http.get("/api/whoami", headers=ci)
        await flush(server.services)
        record = await server.services.store.read(lambda conn: api_tokens.find_api_token(conn, "ci-deploy"))
        return record.last_used_at, record.last_used_from

    ci = await issue(server, ada)
    start = server.clock()

    assert await use(0, "192.0.2.1") == (start, "192.0.2.1")
    assert await use(9, "192.0.2.1") == (start, "192.0.2.1")
    assert await use(1, "192.0.2.1") == (start + timedelta(minutes=10), "192.0.2.1")
    assert await use(0, "192.0.2.2") == (start + timedelta(minutes=10), "192.0.2.1")
    assert await use(1, "192.0.2.2") == (start + timedelta(minutes=11), "192.0.2.2")


async def test_of_ten_requests_for_one_name_one_gets_a_token(server, ada, unhurried):
    """The others learn that the name is taken."""
    answers = await asyncio.gather(
        *(
            server.http.post(TOKENS, json={"name": "ci-deploy", "role": "viewer"}, headers=ada)
            for _ in range(10)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9


async def test_a_secret_of_the_server_is_no_name(opened):
    """It would be shown to every operator."""
    async with opened(LYFTDATA_AUTO_ENROLLMENT_KEY="a-chosen-enrollment-key-of-40-characters") as server:
        await own_password(server)
        ada = await server.sign_in(password=OWN_PASSWORD)
        body = {"name": "a-chosen-enrollment-key-of-40-characters", "role": "viewer"}
        answer = await server.http.post(TOKENS, json=body, headers=ada)

    assert (answer.status_code, answer.json()["field"]) == (422, "name")


def test_the_issuer_is_the_address_of_these_tests():
    """The cookie's name above is the one that a Server with TLS reads."""
    assert ISSUER.startswith("https:")
