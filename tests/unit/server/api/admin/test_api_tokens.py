"""API tokens for automation, and what an attacker might try with one."""

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
    """Return the headers of an admin who has changed their first password."""
    await own_password(server)
    return await server.sign_in(password=OWN_PASSWORD)


async def own_password(server):
    """Change the admin's first password."""
    body = {"current_password": PASSWORD, "new_password": OWN_PASSWORD}
    answer = await server.http.post("/api/me/password", json=body, headers=await server.sign_in())
    assert answer.status_code == 204, answer.text


async def issue(server, headers, name="ci-deploy", role="admin", **more):
    """Issue a token; return the headers of requests with it."""
    answer = await server.http.post(TOKENS, json={"name": name, "role": role} | more, headers=headers)
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


async def refusal(server, headers, path="/api/workers"):
    """Return status and code of the answer to a request."""
    answer = await server.http.get(path, headers=headers)
    return answer.status_code, answer.json().get("code")


async def events_about(server, headers, subject):
    """Return actors and actions of the events about a subject, latest first."""
    answer = await server.http.get("/api/audit", params={"subject": subject}, headers=headers)
    return [(event["actor"], event["action"]) for event in answer.json()["items"]]


REJECTED = (401, "api_token_rejected")


async def test_a_token_acts_under_its_own_name(server, ada):
    """The audit log names it as the actor, and what it creates names it as the creator."""
    ci = await issue(server, ada)

    made = await server.http.post("/api/workers", json={"name": "w", "id": "press-01"}, headers=ci)

    assert made.json()["worker"]["created_by"] == "api_token:ci-deploy"
    assert await events_about(server, ada, "worker:press-01") == [("api_token:ci-deploy", "worker.created")]
    assert await events_about(server, ada, "api_token:ci-deploy") == [("operator:admin", "api_token.issued")]
    who = (await server.http.get("/api/whoami", headers=ci)).json()
    assert (who["name"], who["role"], who["api_token"]) == ("admin", "admin", "ci-deploy")


async def test_a_token_is_shown_once_and_stored_nowhere(server, ada):
    """Neither the lists nor the database have it, and the answer must not be cached."""
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
async def test_a_token_needs_a_name_a_role_and_a_lifetime(server, ada, body, field):
    """The answer names the wrong field; no token is valid for ever."""
    answer = await server.http.post(TOKENS, json=body, headers=ada)

    assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_a_token_expires(server, ada):
    """From exactly that second on; after 90 days unless another lifetime was chosen."""
    ci = await issue(server, ada)
    server.clock.forward(days=90, seconds=-1)
    assert (await refusal(server, ci))[0] == 200

    server.clock.forward(seconds=1)

    assert await refusal(server, ci) == REJECTED


async def test_a_revoked_token_is_rejected_at_the_next_request(server, ada):
    """Its name cannot be used again, and revoking it twice is audited once."""
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


async def test_a_token_revoked_at_one_server_is_rejected_by_its_peers(opened, cluster):
    """From the next request on, without waiting for the change feed."""
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


async def test_a_guessed_token_learns_nothing(server, ada):
    """An unknown public ID and a wrong secret get the same answer; it is counted, and not audited."""
    ci = await issue(server, ada)
    text = ci["Authorization"].removeprefix("Bearer ")
    unknown = generate_api_token(seeded_bytes(5)).text.reveal()
    # A valid checksum over a wrong secret, which an attacker can compute.
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
    """Return a random source from which a token with this public ID is made."""
    alphabet = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    first = [bytes(alphabet.index(character) for character in public_id)]
    after = seeded_bytes(6)
    return lambda count: first.pop() if first else after(count)


async def test_only_real_tokens_are_logged_when_rejected(server, ada):
    """A revoked token that is still used is logged with the address, once per hundred requests; a guess is not."""
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
    """Neither as the session cookie nor in the header, so no other site can use it through a browser."""
    ci = await issue(server, ada)
    text = ci["Authorization"].removeprefix("Bearer ")

    for headers in (
        ci,
        {"Cookie": f"__Host-lyftdata={text}"},
        FROM_OUR_PAGE | {"Cookie": f"__Host-lyftdata={text}"},
    ):
        answer = await server.http.get("/workers", headers=headers)
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/login")


async def test_a_token_is_not_accepted_in_a_url_or_a_body(server, ada):
    """URLs are logged by every proxy."""
    ci = await issue(server, ada)
    text = ci["Authorization"].removeprefix("Bearer ")

    for name in ("access_token", "token", "api_token"):
        assert await refusal(server, {}, f"/api/workers?{name}={text}") == (401, "not_signed_in")
        answer = await server.http.get(f"/api/workers?{name}={text}", headers=ada)
        assert (answer.status_code, text in answer.text) == (422, False)
    posted = await server.http.post("/api/workers", json={"name": "w", "access_token": text})
    assert posted.status_code == 401


@pytest.mark.parametrize("place", ["client_secret", "bearer", "verify"])
async def test_an_api_token_is_not_a_worker_credential(server, ada, place):
    """It gets no worker token, enrolls no Worker, and passes no verification."""
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


async def test_a_token_cannot_create_other_access(server, ada):
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
    """Only an admin may give a program access."""
    body = {"name": "vera", "role": "viewer", "password": "another long one"}
    await server.http.post("/api/operators", json=body, headers=ada)
    vera = await server.sign_in("vera", "another long one")

    answer = await server.http.post(TOKENS, json={"name": "ci-deploy", "role": "viewer"}, headers=vera)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await server.http.get(TOKENS, headers=vera)).status_code == 200


async def test_a_first_password_issues_no_token(server, admin):
    """Anyone who has read it would keep access after it was changed."""
    answer = await server.http.post(TOKENS, json={"name": "ci-deploy", "role": "admin"}, headers=admin)

    assert (answer.status_code, "first password" in answer.json()["detail"]) == (403, True)
    assert (await server.http.get(TOKENS, headers=admin)).json()["items"] == []


async def other_admin(server, ada):
    """Add an admin who has changed their first password; return the headers of their session."""
    body = {"name": "grace", "role": "admin", "password": "another long one"}
    await server.http.post("/api/operators", json=body, headers=ada)
    own = {"current_password": "another long one", "new_password": GRACES_PASSWORD}
    first = await server.sign_in("grace", "another long one")
    changed = await server.http.post("/api/me/password", json=own, headers=first)
    assert changed.status_code == 204, changed.text
    return await server.sign_in("grace", GRACES_PASSWORD)


async def test_a_token_loses_the_rights_that_its_operator_loses(server, ada):
    """It may do what its operator may do now, and never more than the role that it was issued with."""
    ci = await issue(server, await other_admin(server, ada))
    add = {"name": "w"}
    assert (await server.http.post("/api/workers", json=add, headers=ci)).status_code == 201

    await server.http.patch("/api/operators/grace", json={"role": "viewer"}, headers=ada)

    assert (await server.http.post("/api/workers", json=add, headers=ci)).status_code == 403
    shown = (await server.http.get(f"{TOKENS}/ci-deploy", headers=ada)).json()
    assert (shown["role"], shown["effective_role"], shown["operator"]) == ("admin", "viewer", "grace")


async def test_a_deleted_operators_tokens_are_revoked_for_good(server, ada):
    """A new operator with the same name does not get them."""
    ci = await issue(server, await other_admin(server, ada))

    await server.http.delete("/api/operators/grace", headers=ada)
    server.clock.forward(minutes=1)
    await other_admin(server, ada)

    assert await refusal(server, ci) == REJECTED
    assert await events_about(server, ada, "api_token:ci-deploy") == [
        ("operator:admin", "api_token.revoked"),
        ("operator:grace", "api_token.issued"),
    ]


async def test_a_password_reset_revokes_tokens_and_a_change_does_not(server, ada):
    """A reset responds to a theft; an operator's own routine change must not stop a pipeline."""
    grace = await other_admin(server, ada)
    ci = await issue(server, grace)
    own = {"current_password": GRACES_PASSWORD, "new_password": "yyy " + PASSWORD}
    assert (await server.http.post("/api/me/password", json=own, headers=grace)).status_code == 204
    assert (await refusal(server, ci))[0] == 200

    await server.http.patch("/api/operators/grace", json={"reset_password": True}, headers=ada)

    assert await refusal(server, ci) == REJECTED


async def test_an_event_stream_ends_with_its_token(server, ada):
    """When the token is revoked or expires."""
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


async def test_a_token_has_its_own_request_budget(server, ada):
    """A pipeline that floods the Server does not lock its operator out."""
    ci = await issue(server, ada)
    assert (await refusal(server, ci))[0] == 200
    server.services.budget.charge("api_token:ci-deploy", 5_000)

    assert await refusal(server, ci) == (429, "too_many_requests")
    assert (await refusal(server, ada))[0] == 200


async def test_the_last_use_is_written_rarely(server, ada):
    """At the first use, after ten minutes, and from another address after one."""

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


async def test_one_of_ten_concurrent_requests_for_a_name_gets_a_token(server, ada, unhurried):
    """The others learn that the name is taken."""
    answers = await asyncio.gather(
        *(
            server.http.post(TOKENS, json={"name": "ci-deploy", "role": "viewer"}, headers=ada)
            for _ in range(10)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9


async def test_a_secret_of_the_server_is_rejected_as_a_name(opened):
    """Every operator would see it."""
    async with opened(LYFTDATA_AUTO_ENROLLMENT_KEY="a-chosen-enrollment-key-of-40-characters") as server:
        await own_password(server)
        ada = await server.sign_in(password=OWN_PASSWORD)
        body = {"name": "a-chosen-enrollment-key-of-40-characters", "role": "viewer"}
        answer = await server.http.post(TOKENS, json=body, headers=ada)

    assert (answer.status_code, answer.json()["field"]) == (422, "name")


def test_the_issuer_of_these_tests_uses_https():
    """So the cookie name above is the one that a Server with TLS reads."""
    assert ISSUER.startswith("https:")
