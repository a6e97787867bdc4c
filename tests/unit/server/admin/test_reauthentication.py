"""Irreversible actions need recent authentication, in the API too; and idle sessions end."""

from datetime import timedelta

import pytest
from tests.deployment import PASSWORD
from tests.unit.server.api.admin.test_access import OWN_PASSWORD, callers_of

from lyftdata.core.policy import ACTIONS

# Every route that needs recent authentication, with a valid body.
IRREVERSIBLE: dict[tuple[str, str], dict[str, object] | None] = {
    ("POST", "/api/operators"): {"name": "eve", "role": "admin"},
    ("PATCH", "/api/operators/vera"): {"role": "admin"},
    ("DELETE", "/api/operators/vera"): None,
    ("POST", "/api/api-tokens"): {"name": "persistence", "role": "admin"},
    ("POST", "/api/incident/cut-offs"): {"subject": "x", "action": "disable", "all": True},
    ("POST", "/api/signing-keys/rotate"): {"now": True, "withdraw": ["kid"]},
    ("POST", "/api/api-keys/x/revoke"): {},
    ("POST", "/api/api-keys/x/rotate"): {},
    ("POST", "/api/api-keys/x/end-previous"): {},
    ("POST", "/api/enrollment/keys/x/revoke"): {},
    ("POST", "/api/enrollment/keys/x/rotate"): {},
    ("POST", "/api/enrollment/keys/x/end-previous"): {},
    ("POST", "/api/event-destinations"): {"name": "siem", "transport": "webhook", "url": "https://a.example"},
    ("PATCH", "/api/event-destinations/x"): {"url": "https://attacker.example"},
    ("DELETE", "/api/event-destinations/x"): None,
    ("POST", "/api/event-destinations/x/secret"): {},
    ("POST", "/api/event-destinations/x/skip"): {"number": 1, "reason": "y"},
    ("POST", "/api/resources/x/key"): {},
    ("DELETE", "/api/resources/x"): None,
    ("DELETE", "/api/workers/x"): None,
    ("POST", "/api/me/second-factor/totp"): {},
    ("POST", "/api/me/second-factor/recovery-codes"): {},
    ("DELETE", "/api/me/second-factor"): None,
    ("DELETE", "/api/operators/vera/second-factor"): None,
    ("POST", "/api/change-requests/x/confirm"): {},
    ("PUT", "/api/second-operator"): {"actions": []},
}
# What some of these routes do without it.
REVERSIBLE: dict[tuple[str, str], dict[str, object] | None] = {
    ("POST", "/api/signing-keys/rotate"): {"now": True},
    ("PATCH", "/api/event-destinations/x"): {"paused": False},
}


async def is_asked_to_authenticate(server, headers, method, path, body):
    """Return whether the Server requires authentication before it looks at anything else."""
    answer = await server.http.request(method, path, json=body, headers=headers)
    return (answer.status_code, answer.json().get("code") if answer.content else None) == (
        401,
        "reauthentication_required",
    )


async def prove(server, headers, password=PASSWORD):
    """Authenticate again; return the answer."""
    return await server.http.post("/api/me/reauthenticate", json={"password": password}, headers=headers)


async def test_irreversible_actions_need_recent_authentication(server, admin, unhurried, subtests):
    """From 15 minutes after the sign-in, to the second; reversible actions never do."""
    server.clock.forward(minutes=14, seconds=59)
    early = await server.http.delete("/api/workers/nobody", headers=admin)
    server.clock.forward(seconds=1)

    assert (early.status_code, early.json()["code"]) == (404, "worker_not_found")
    for (method, path), body in IRREVERSIBLE.items():
        with subtests.test(f"{method} {path}"):
            assert await is_asked_to_authenticate(server, admin, method, path, body)
    for (method, path), change in REVERSIBLE.items():
        with subtests.test(f"{method} {path}"):
            assert not await is_asked_to_authenticate(server, admin, method, path, change)
    answer = await server.http.delete("/api/workers/nobody", headers=admin)
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="lyftdata", error="insufficient_user_authentication", max_age="900"'
    )


async def test_pausing_an_event_destination_needs_recent_authentication(server, admin):
    """Session theft: otherwise a copied session could hide all that it does from those who watch the events."""
    server.clock.forward(minutes=15)

    assert await is_asked_to_authenticate(
        server, admin, "PATCH", "/api/event-destinations/x", {"paused": True}
    )


def test_every_irreversible_action_is_tested():
    """An action added to the policy table with `asks_again` needs a row above."""
    assert {name for name, rule in ACTIONS.items() if rule.asks_again} == {
        "api_keys.end",
        "api_tokens.issue",
        "change_requests.confirm",
        "enrollment_keys.end",
        "event_destinations.redirect",
        "incident.write",
        "operators.write",
        "own_second_factor",
        "resources.delete",
        "resources.issue_key",
        "second_operator.write",
        "signing_keys.withdraw",
        "workers.delete",
    }


async def test_authenticating_again_allows_the_action_and_replaces_the_token(server, admin):
    """Session theft: a copy of the previous token is refused from then on; the session stays the same."""
    server.clock.forward(minutes=15)
    sessions = (await server.http.get("/api/admin-sessions", headers=admin)).json()["items"]

    answer = await prove(server, admin)

    assert answer.status_code == 200
    assert answer.json()["asked_again_at"] == (server.clock() + timedelta(minutes=15)).isoformat().replace(
        "+00:00", "Z"
    )
    new = {"Authorization": f"Bearer {answer.json()['token']}"}
    assert not await is_asked_to_authenticate(server, new, "DELETE", "/api/workers/nobody", None)
    assert (await server.http.get("/api/whoami", headers=admin)).status_code == 401
    after = (await server.http.get("/api/admin-sessions", headers=new)).json()["items"]
    assert [one["id"] for one in after] == [one["id"] for one in sessions]
    log = (await server.http.get("/api/audit?limit=1", headers=new)).json()["items"]
    assert (log[0]["action"], log[0]["subject"]) == ("operator.reauthenticated", "operator:admin")


async def test_authenticating_again_applies_to_one_session(server, admin):
    """Another session of the same operator, perhaps a thief's, still needs authentication."""
    other = await server.sign_in()
    server.clock.forward(minutes=15)

    assert (await prove(server, admin)).status_code == 200

    assert await is_asked_to_authenticate(server, other, "DELETE", "/api/workers/nobody", None)


async def test_wrong_passwords_are_counted(server, admin):
    """Brute force with a stolen session: after five wrong ones even the right one must wait, and the session is not changed."""
    server.clock.forward(minutes=15)
    for _ in range(5):
        answer = await prove(server, admin, "wrong wrong wrong")
        assert (answer.status_code, answer.json()["code"]) == (401, "login_failed")

    answer = await prove(server, admin)

    assert (answer.status_code, answer.json()["code"]) == (429, "login_locked")
    assert await is_asked_to_authenticate(server, admin, "DELETE", "/api/workers/nobody", None)


async def test_another_operators_password_is_refused(server):
    """A session is confirmed only by the password of its operator."""
    headers_of = await callers_of(server)
    viewer = await headers_of("viewer")

    assert (await prove(server, viewer, OWN_PASSWORD)).status_code == 401
    assert (await prove(server, viewer, "another long one")).status_code == 200


async def test_an_api_token_needs_no_recent_authentication(server):
    """It proves its secret each time; actions that need a person stay forbidden."""
    headers_of = await callers_of(server)
    token = await headers_of("admin token")
    server.clock.forward(hours=1)

    assert not await is_asked_to_authenticate(server, token, "DELETE", "/api/workers/nobody", None)
    for path in ("/api/operators", "/api/api-tokens", "/api/me/reauthenticate"):
        answer = await server.http.post(path, json={}, headers=token)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_password_reset_during_its_check_is_refused(server, admin, monkeypatch):
    """An admin resets the password while the old one is being checked: the thief's session is not renewed."""
    from lyftdata.server.admin.passwords import Passwords

    body = {"name": "vera", "role": "admin", "password": "another long one"}
    await server.http.post("/api/operators", json=body, headers=admin)
    vera = await server.sign_in("vera", "another long one")
    matches = Passwords.matches

    async def slow(self, *arguments, **more):
        right = await matches(self, *arguments, **more)
        monkeypatch.undo()
        await server.http.patch("/api/operators/vera", json={"reset_password": True}, headers=admin)
        return right

    monkeypatch.setattr(Passwords, "matches", slow)
    answer = await prove(server, vera, "another long one")

    assert (answer.status_code, answer.json()["code"]) == (401, "login_failed")


# --- the idle limit ----------------------------------------------------------------------------------------


async def test_an_idle_session_ends(server, admin):
    """Four hours after the last request, to the second."""
    server.clock.forward(hours=4, seconds=-1)
    assert (await server.http.get("/api/whoami", headers=admin)).status_code == 200
    server.clock.forward(hours=4)

    assert (await server.http.get("/api/whoami", headers=admin)).status_code == 401


@pytest.mark.parametrize("is_written", [True, False])
async def test_a_session_in_use_lasts_twelve_hours(server, admin, is_written):
    """Whether or not its uses are written yet."""
    for _ in range(3):
        server.clock.forward(hours=3, minutes=50)
        assert (await server.http.get("/api/whoami", headers=admin)).status_code == 200
        if is_written:
            await server.services.session_uses.flush()
    server.clock.forward(minutes=30)

    assert (await server.http.get("/api/whoami", headers=admin)).status_code == 401


async def test_an_idle_session_that_has_ended_is_not_listed(server, admin):
    """Its event stream ends too; the list says when each session was last used."""
    other = await server.sign_in()
    server.clock.forward(hours=2)
    listed = (await server.http.get("/api/admin-sessions", headers=other)).json()["items"]
    idle = next(one["id"] for one in listed if not one["current"])
    await server.services.session_uses.flush()
    server.clock.forward(hours=2)

    listed = (await server.http.get("/api/admin-sessions", headers=other)).json()["items"]

    assert [one["current"] for one in listed] == [True]
    assert listed[0]["last_used_at"] > listed[0]["created_at"]
    assert await server.services.callers.ended({idle, listed[0]["id"]}) == {idle}
