"""Signing in through an OpenID Connect issuer with a browser, and the attacks of others and of a malicious issuer."""

import asyncio
import html
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx2
import pytest
from tests.builders import ISSUER, FakeClock
from tests.deployment import PASSWORD, Deployment, Open
from tests.oidc_issuer import LyingIssuer, lying_issuer
from tests.second_operator import add_workers, colleagues_of
from tests.unit.web.conftest import FROM_OUR_PAGE

from lyftdata.core.errors import IssuerUnavailableError
from lyftdata.core.records import Role
from lyftdata.server.runtime.maintenance import read_state_location
from lyftdata.server.runtime.operator_recovery import open_emergency_access
from lyftdata.web.cookies import csrf_token

SESSION = "__Host-lyftdata"
PENDING = "__Host-lyftdata_sign_in"


@pytest.fixture
def clock() -> FakeClock:
    """Return the clock of the Server and the issuer."""
    return FakeClock()


@pytest.fixture
def issuer(clock: FakeClock) -> Iterator[LyingIssuer]:
    """Return an issuer."""
    with lying_issuer(clock) as made:
        yield made


@pytest.fixture
async def server(opened: Open, clock: FakeClock, issuer: LyingIssuer) -> AsyncIterator[Deployment]:
    """Yield a Server whose operators sign in there or with a password."""
    async with opened(clock, **issuer.settings()) as deployment:
        yield deployment


class Person:
    """A person with a browser."""

    def __init__(self, server: Deployment, issuer: LyingIssuer) -> None:
        self.issuer = issuer
        self.http = server.from_address("192.0.2.7")

    async def begin(self, path: str = "/login/oidc") -> str:
        """Start signing in; return the issuer's URL to which the Server redirects."""
        answer = await self.http.get(path)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def come_back(self, query: dict[str, str], **changes: str) -> httpx2.Response:
        """Follow the issuer's redirect back to the Server."""
        return await self.http.get("/login/oidc/callback", params=query | changes)

    async def sign_in(self, path: str = "/login/oidc", **changes: str) -> httpx2.Response:
        """Sign in at the issuer and return."""
        return await self.come_back(self.issuer.authorize(await self.begin(path)), **changes)

    async def page(self, path: str = "/account") -> httpx2.Response:
        """Open a page."""
        return await self.http.get(path)


@pytest.fixture
async def person(server: Deployment, issuer: LyingIssuer) -> AsyncIterator[Person]:
    """Yield a person who has no session yet."""
    made = Person(server, issuer)
    yield made
    await made.http.aclose()


async def events(server: Deployment, action: str) -> list[dict[str, Any]]:
    """Return the audit events of an action, the latest first."""
    admin = await server.sign_in()
    answer = await server.http.get("/api/audit", params={"action": action}, headers=admin)
    return list(answer.json()["items"])


async def test_an_operator_signs_in_and_returns_to_the_requested_page(server, person, issuer):
    """With its query. The session is the same as after a password sign-in; the operator is created at the first sign-in."""
    location = await person.begin("/login/oidc?next=%2Fworkers%3Fq%3Dpress%26status%3Donline")
    asked = {name: value for name, [value] in parse_qs(urlsplit(location).query).items()}
    answer = await person.come_back(issuer.authorize(location))

    assert asked["redirect_uri"] == f"{ISSUER}/login/oidc/callback"
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert (answer.status_code, answer.headers["location"]) == (303, "/workers?q=press&status=online")
    assert "You are <b>admin</b>." in (await person.page()).text
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith(f"{SESSION}="))
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= {part.strip() for part in cookie.split(";")}
    [created] = [e for e in await events(server, "operator.created") if e["actor"] == "issuer"]
    assert created["details"] == {"issuer": issuer.url, "role": "admin", "subject": "subject-1"}


async def test_without_a_matching_rule_there_is_no_role(server, person, issuer):
    """Signing in at the issuer grants nothing by itself: the page says so, no operator is created, and it is audited."""
    issuer.claims |= {"groups": ["sales", "OPS", "ops-guests"]}
    answer = await person.sign_in()

    assert answer.status_code == 403
    assert "you have no role on this Server" in answer.text
    assert (await person.page()).status_code == 303
    [refused] = await events(server, "operator.sign_in_refused")
    assert refused["details"] == {"issuer": issuer.url, "reason": "no_role", "subject": "subject-1"}
    assert [operator.name for operator in await server.services.operators.list()] == ["admin"]


async def test_an_operator_without_a_role_may_choose_another_account(server, person, issuer):
    """The issuer remembers the browser and would always return the same account, so the link asks it to prompt."""
    issuer.claims |= {"groups": ["sales"]}
    refused = await person.sign_in()
    (way,) = re.findall(r'href="([^"]+)">Use another account there', refused.text)
    begun = await person.http.get(html.unescape(way))

    assert dict(parse_qsl(urlsplit(begun.headers["location"]).query))["prompt"] == "login"
    assert "Use another account" not in (await person.http.get("/login")).text


async def test_the_password_form_takes_no_focus_if_there_is_an_issuer(server, person):
    """It is the secondary way: on a phone, the keyboard would cover the primary one."""
    assert "autofocus" not in (await person.http.get("/login")).text


async def test_each_sign_in_sets_the_role_from_the_claims(server, person, issuer):
    """A lower role ends the sessions of the higher one; losing all roles ends every session and the API tokens."""
    other = Person(server, issuer)
    issuer.claims |= {"auth_time": int(server.clock().timestamp())}
    assert (await person.sign_in()).status_code == 303
    session = {"Authorization": f"Bearer {person.http.cookies[SESSION]}"}
    body = {"name": "ci-deploy", "role": "admin"}
    issued = await server.http.post("/api/api-tokens", json=body, headers=session)
    assert issued.status_code == 201, issued.text
    token = {"Authorization": f"Bearer {issued.json()['token']}"}
    assert (await server.http.get("/api/workers", headers=token)).status_code == 200
    issuer.claims |= {"groups": ["staff"]}
    assert (await other.sign_in()).status_code == 303

    assert (await person.page()).status_code == 303
    assert "You are <b>viewer</b>." in (await other.page()).text

    issuer.claims |= {"groups": []}
    assert (await person.sign_in()).status_code == 403
    assert (await other.page()).status_code == 303
    assert (await server.http.get("/api/workers", headers=token)).status_code == 401


async def test_claims_limit_an_operator_to_a_team(opened, clock, issuer):
    """At each sign-in; a changed scope ends the earlier sessions, and is audited."""
    rules = (
        "admin for team=etl: groups=etl; admin for team=ops: groups=ops; viewer for team=etl: groups=staff"
    )
    async with opened(clock, **issuer.settings(LYFTDATA_OIDC_ROLES=rules)) as server:
        root = await server.sign_in()
        for team in ("etl", "ops"):
            body = {"name": team, "id": f"{team}-1", "labels": {"team": team}}
            await server.http.post("/api/workers", json=body, headers=root)
        person = Person(server, issuer)

        async def seen(*groups: str) -> list[str]:
            issuer.claims |= {"groups": list(groups)}
            assert (await person.sign_in()).status_code == 303
            session = {"Authorization": f"Bearer {person.http.cookies[SESSION]}"}
            answer = await server.http.get("/api/workers", headers=session)
            return [worker["id"] for worker in answer.json()["items"]]

        assert await seen("etl") == ["etl-1"]
        first = {"Authorization": f"Bearer {person.http.cookies[SESSION]}"}
        assert await seen("ops") == ["ops-1"]
        assert (await server.http.get("/api/workers", headers=first)).status_code == 401
        # The rules of two teams match: one of them decides.
        assert await seen("ops", "etl", "staff") == ["etl-1"]
        listed = (await server.http.get("/api/operators", headers=root)).json()["items"]
        name = next(one["name"] for one in listed if one["issuer"])
        answer = await server.http.patch(f"/api/operators/{name}", json={"no_scope": True}, headers=root)
        assert (answer.status_code, answer.json()["code"]) == (409, "role_from_issuer")
        assert [event["details"]["scope"] for event in await events(server, "operator.scope_set")] == [
            "team=etl",
            "team=ops",
        ]
        await person.http.aclose()


async def test_an_operator_is_identified_by_subject_and_never_by_name(server, person, issuer):
    """A person who is called `admin` at the issuer, or like a colleague, gets a separate operator."""
    issuer.claims |= {"preferred_username": "admin", "email": "admin@example.com", "groups": ["staff"]}
    await person.sign_in()
    issuer.claims |= {"sub": "subject-2"}
    await Person(server, issuer).sign_in()

    local, *made = sorted(await server.services.operators.list(), key=lambda operator: operator.name)
    assert (local.name, local.role, local.issuer) == ("admin", Role.ADMIN, None)
    assert {operator.subject for operator in made} == {"subject-1", "subject-2"}
    assert all(operator.name.startswith("admin-") and operator.role is Role.VIEWER for operator in made)


@pytest.mark.parametrize(
    "claims",
    [
        {"realm_access": {"roles": ["ops"]}},
        {"https://lyftdata.example/roles": "ops"},
    ],
)
async def test_rules_match_nested_claims_and_names_with_dots(opened, clock, issuer, claims):
    """A path leads into a claim; a name with dots is matched literally; a string counts as a list of one."""
    issuer.claims = {"sub": "subject-1", "name": "Ann"} | claims
    rules = "admin: realm_access.roles=ops; admin: https://lyftdata.example/roles=ops"
    async with opened(clock, **issuer.settings(LYFTDATA_OIDC_ROLES=rules)) as server:
        assert (await Person(server, issuer).sign_in()).status_code == 303


async def test_userinfo_claims_are_used_only_for_the_same_subject(server, person, issuer):
    """They supply what the ID token lacks, and never replace a claim of the token."""
    del issuer.claims["groups"]
    issuer.userinfo = {"groups": ["ops"], "sub": "somebody-else"}
    assert (await person.sign_in()).status_code == 403
    issuer.userinfo = {"groups": ["ops"], "preferred_username": "eve"}
    assert (await person.sign_in()).status_code == 303
    assert "<h1>ann</h1>" in (await person.page()).text


@pytest.mark.parametrize(
    "changes", [{"nonce": "the nonce of another sign-in"}, {"aud": "another-client"}], ids=str
)
async def test_an_invalid_id_token_opens_no_session(person, issuer, changes):
    """The page says that it cannot be verified. The tests of `core.id_tokens` have the other causes."""
    issuer.token_changes = changes
    answer = await person.sign_in()

    assert (answer.status_code, "cannot be verified" in answer.text) == (403, True)
    assert (await person.page()).status_code == 303


async def test_a_code_and_a_state_are_single_use(person, issuer):
    """The same answer with the same cookie opens no second session, and neither does its state with a new code."""
    location = await person.begin()
    cookie = person.http.cookies[PENDING]
    query = issuer.authorize(location)
    assert (await person.come_back(query)).status_code == 303
    person.http.cookies.clear()

    for again in (query, query | {"code": issuer.authorize(location)["code"]}):
        person.http.cookies.set(PENDING, cookie, domain=urlsplit(ISSUER).hostname or "")
        assert (await person.come_back(again)).status_code == 403
        assert SESSION not in person.http.cookies


async def test_an_answer_from_another_browser_is_refused(server, person, issuer):
    """
    Login CSRF: the attacker's answer opens no session in a victim's browser, whether or not the victim has started to sign in.
    """
    victim = Person(server, issuer)
    answer = issuer.authorize(await person.begin())
    assert (await victim.come_back(answer)).status_code == 403
    await victim.begin()
    assert (await victim.come_back(answer)).status_code == 403
    assert SESSION not in victim.http.cookies


async def test_a_pending_sign_in_expires_after_ten_minutes(person, issuer, clock):
    """From the very second."""
    query = issuer.authorize(await person.begin())
    clock.now += timedelta(minutes=10)
    assert (await person.come_back(query)).status_code == 403


@pytest.mark.parametrize("always", [True, False])
async def test_an_answer_of_another_issuer_is_refused_before_its_code_is_used(person, issuer, always):
    """Mix-up (RFC 9207): a present `iss` must be this issuer's, and it must be present if the issuer says that it always is."""
    issuer.metadata = {"authorization_response_iss_parameter_supported": always}
    answer = await person.sign_in(iss="https://evil.example")
    assert (answer.status_code, "another identity provider" in answer.text) == (403, True)
    assert "/token" not in issuer.asked
    assert (await person.sign_in()).status_code == (403 if always else 303)
    assert (await person.sign_in(iss=issuer.url)).status_code == 303


async def test_a_duplicate_parameter_is_refused(person, issuer):
    """Neither of two codes is used."""
    query = issuer.authorize(await person.begin())
    answer = await person.http.get("/login/oidc/callback", params=[*query.items(), ("code", "another")])
    assert answer.status_code == 403
    assert "/token" not in issuer.asked


async def test_a_new_sign_in_has_a_new_session(person, issuer):
    """Session fixation: a cookie that an attacker has set never becomes the session."""
    person.http.cookies.set(SESSION, "lyftdata_session_chosen", domain=urlsplit(ISSUER).hostname or "")
    await person.sign_in()
    first = person.http.cookies[SESSION]
    await person.sign_in()
    assert len({"lyftdata_session_chosen", first, person.http.cookies[SESSION]}) == 3


@pytest.mark.parametrize(
    "destination",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/%09/evil.example",
        "/login/oidc",
        "/logout",
    ],
)
async def test_an_oidc_sign_in_never_redirects_to_another_site(person, destination):
    """Open redirect: it continues only to a page of this Server."""
    answer = await person.sign_in(f"/login/oidc?next={destination}")
    assert answer.status_code == 303
    assert urlsplit(answer.headers["location"]).netloc == ""
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"error": "access_denied"}, "cancelled or denied"),
        ({"error": "server_error", "error_description": "<b>call 555</b>"}, "could not sign you in"),
        ({"code": ""}, "could not sign you in"),
        ({"code": "c" * 3_000}, "could not sign you in"),
    ],
)
async def test_an_error_from_the_issuer_is_shown_without_its_text(person, issuer, query, text):
    """The text arrives through the browser, so anyone could have made the link."""
    state = issuer.authorize(await person.begin())["state"]
    answer = await person.come_back({"state": state} | query)
    assert (answer.status_code, text in answer.text, "call 555" in answer.text) == (403, True, False)


@pytest.mark.parametrize(
    "lie",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "https//nothing"},
        {"token_endpoint": "http://192.0.2.1/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": 7},
    ],
    ids=str,
)
async def test_invalid_metadata_stops_the_sign_in(person, issuer, lie):
    """Another issuer's metadata, plain http to another machine or an invalid URL: no secret and no code is sent there."""
    issuer.metadata = lie
    answer = await person.http.get("/login/oidc")
    assert (answer.status_code, "cannot be reached" in answer.text) == (503, True)


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks", "/token"])
@pytest.mark.parametrize("trouble", ["status", "redirect", "large", "nonsense"])
async def test_a_failing_issuer_is_answered_503(server, person, issuer, path, trouble):
    """An error, a redirect, an oversized or a malformed answer; no redirect is followed, and password sign-in still works."""
    match trouble:
        case "status":
            issuer.status[path] = 500
        case "redirect":
            issuer.status[path] = 307
        case "large":
            issuer.body[path] = b" " * 70_000
        case _:
            issuer.body[path] = b"\xff[]"
    begun = await person.http.get("/login/oidc")
    answer = begun
    if begun.status_code == 303:
        answer = await person.come_back(issuer.authorize(begun.headers["location"]))
    assert answer.status_code == 503
    assert "/elsewhere" not in issuer.asked
    assert await server.sign_in()


async def test_a_server_starts_while_its_issuer_is_down(opened, clock, issuer):
    """The issuer is not contacted at the start; the password form is shown."""
    issuer.close()
    async with opened(clock, **issuer.settings()) as server:
        page = await server.http.get("/login")
        assert (page.status_code, 'name="password"' in page.text) == (200, True)
        with pytest.raises(IssuerUnavailableError):
            await server.services.oidc.sign_in.begin("/")


async def test_wrong_codes_from_one_network_do_not_lock_out_others(server, person, issuer, clock):
    """After twenty wrong codes, that network's codes are not sent to the issuer for a while; other networks are not affected."""
    for number in range(20):
        answer = await person.sign_in(code=f"made-up-{number}")
        assert (answer.status_code, "used before, or is too old" in answer.text) == (403, True)

    query = issuer.authorize(await person.begin())
    limited = await person.come_back(query | {"code": "made-up"})
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "3")
    assert "Too many failed sign-ins from your network." in limited.text
    assert len(issuer.begun) == 21, "no code of the last answer was spent at the issuer"

    other = Person(server, issuer)
    other.http = server.from_address("192.0.2.8")
    assert (await other.sign_in()).status_code == 303
    await other.http.aclose()
    clock.forward(seconds=4)
    assert (await person.sign_in()).status_code == 303


async def test_a_code_in_flight_counts_as_wrong_until_it_is_accepted(server, issuer):
    """At most twenty are tried at once; successful sign-ins are not failures, however many there are."""
    people = [Person(server, issuer) for _ in range(22)]
    for one in people:
        assert (await one.sign_in()).status_code == 303

    answers = await asyncio.gather(*(one.sign_in(code="made-up") for one in people))
    assert sorted(answer.status_code for answer in answers) == [403] * 20 + [429] * 2
    await asyncio.gather(*(one.http.aclose() for one in people))


async def test_an_account_without_a_role_cannot_fill_the_audit_log(server, person, issuer, clock):
    """Five refusals of one identity are audited, then one in ten minutes; another identity is counted separately."""
    issuer.claims |= {"groups": ["sales"]}
    for _ in range(8):
        assert (await person.sign_in()).status_code == 403
    assert len(await events(server, "operator.sign_in_refused")) == 5

    issuer.claims |= {"sub": "subject-2"}
    assert (await person.sign_in()).status_code == 403
    assert len(await events(server, "operator.sign_in_refused")) == 6
    issuer.claims |= {"sub": "subject-1"}
    clock.forward(minutes=11)
    for _ in range(2):
        assert (await person.sign_in()).status_code == 403
    assert len(await events(server, "operator.sign_in_refused")) == 7


@pytest.mark.parametrize("signs_out", [False, True])
async def test_an_operators_requests_are_void_once_they_lose_their_role(
    server, person, issuer, unhurried, signs_out
):
    """Persistence: even if their refusals are no longer audited, they had signed out, and they are an admin again by then."""
    pair, groups = await colleagues_of(server), issuer.claims["groups"]
    await add_workers(server, "w-1", "w-2")
    issuer.claims |= {"groups": ["sales"]}
    for _ in range(6):
        assert (await person.sign_in()).status_code == 403
    issuer.claims |= {"groups": groups, "auth_time": int(server.clock().timestamp())}
    assert (await person.sign_in()).status_code == 303
    session = {"Authorization": f"Bearer {person.http.cookies[SESSION]}"}
    request_id = await pair.ask(
        "POST", "/api/workers/changes", {"action": "delete", "q": "id:w-", "expect": 2}, by=session
    )
    if signs_out:
        assert (await person.http.post("/api/logout", headers=session)).status_code == 204

    issuer.claims |= {"groups": ["sales"]}
    assert (await person.sign_in()).status_code == 403
    issuer.claims |= {"groups": groups}
    assert (await person.sign_in()).status_code == 303

    assert (await pair.confirm(request_id)).json()["code"] == "request_void"
    assert len(await events(server, "operator.sign_in_refused")) == 6


async def test_a_rotated_issuer_key_is_fetched_once(server, person, issuer):
    """An unknown key is looked up, but made-up key IDs do not make the Server fetch again and again."""
    await person.sign_in()
    issuer.rotate()
    assert (await person.sign_in()).status_code == 403  # fetched just before: not within thirty seconds
    for _ in range(3):
        token = issuer.make_logout_token()
        await person.http.post("/login/oidc/logout", data={"logout_token": token})
    assert issuer.asked.count("/jwks") == 1


async def test_disabled_password_sign_in_is_refused_and_not_only_hidden(opened, clock, issuer):
    """Downgrade: neither the form nor the API accepts a password, for any name, and sessions opened with one have ended."""
    async with opened(clock, **issuer.settings()) as server:
        before = await server.sign_in()
    async with opened(clock, **issuer.settings(LYFTDATA_PASSWORD_SIGN_IN="no")) as server:
        page = await server.http.get("/login")
        assert (page.status_code, 'name="password"' in page.text) == (200, False)
        assert (await server.http.get("/api/whoami", headers=before)).status_code == 401
        for name in ("admin", "no-such-operator"):
            body = {"username": name, "password": PASSWORD}
            by_api = await server.http.post("/api/login", json=body)
            assert (by_api.status_code, by_api.json()["code"]) == (403, "password_sign_in_off")
            by_form = await server.http.post("/login", data=body, headers=FROM_OUR_PAGE)
            assert (by_form.status_code, SESSION in server.http.cookies) == (403, False)
        assert (await Person(server, issuer).sign_in()).status_code == 303


async def test_sessions_end_when_the_issuer_is_changed(opened, clock, issuer):
    """A Server that gets another issuer, or none, accepts no session of the former issuer's operators."""
    async with opened(clock, **issuer.settings()) as server:
        ann = Person(server, issuer)
        await ann.sign_in()
        cookie = ann.http.cookies[SESSION]
    async with opened(clock) as server:
        other = server.from_address("192.0.2.7")
        other.cookies.set(SESSION, cookie, domain=urlsplit(ISSUER).hostname or "")
        assert (await other.get("/account")).status_code == 303


async def test_an_issuers_operator_has_no_password_and_no_role_to_set(server, person, issuer):
    """
    An admin cannot override the issuer's decision with a first password or a role, and the local admin counts as the last one.
    """
    await person.sign_in()
    admin = await server.sign_in()
    for body in ({"reset_password": True}, {"role": "viewer"}):
        answer = await server.http.patch("/api/operators/ann", json=body, headers=admin)
        assert answer.json()["code"] in {"no_password", "role_from_issuer"}
    assert (await server.http.delete("/api/operators/admin", headers=admin)).json()["code"] == "last_admin"
    for password in ("", PASSWORD):
        body = {"username": "ann", "password": password}
        assert (await server.http.post("/api/login", json=body)).status_code == 401
    listed = (await server.http.get("/api/operators", headers=admin)).json()["items"]
    assert {o["name"]: o["issuer"] for o in listed} == {"admin": None, "ann": issuer.url}


async def test_an_oidc_session_can_be_listed_revoked_and_signed_out(server, person, issuer):
    """Like any other session."""
    await person.sign_in()
    admin = await server.sign_in()
    sessions = (await server.http.get("/api/admin-sessions", headers=admin)).json()["items"]
    [of_ann] = [session["id"] for session in sessions if session["operator"] == "ann"]
    assert (await server.http.delete(f"/api/admin-sessions/{of_ann}", headers=admin)).status_code == 204
    assert (await person.page()).status_code == 303

    await person.sign_in()
    token = csrf_token(person.http.cookies[SESSION])
    assert (await person.http.post("/logout", data={"csrf": token}, headers=FROM_OUR_PAGE)).status_code == 303
    assert (await person.page()).headers["location"] == "/login?next=%2Faccount"


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"sid": "one", "sub": None}, ["two"]),
        ({"sid": "one"}, ["two"]),
        ({}, []),
        ({"sid": "three"}, ["one", "two"]),
        ({"sid": "one", "sub": "somebody-else"}, ["one", "two"]),
        ({"sub": "somebody-else"}, ["one", "two"]),
    ],
    ids=str,
)
async def test_a_back_channel_logout_ends_sessions(server, issuer, changes, left):
    """Those of one session at the issuer, or all of a subject, and no others."""
    people = {}
    for sid in ("one", "two"):
        issuer.token_changes = {"sid": sid}
        people[sid] = Person(server, issuer)
        await people[sid].sign_in()
    token = issuer.make_logout_token(**changes)
    answer = await server.http.post("/login/oidc/logout", data={"logout_token": token})

    assert answer.status_code == 200
    assert [sid for sid, person in people.items() if (await person.page()).status_code == 200] == left


async def test_a_logout_token_is_single_use(server, person, issuer):
    """Replay: a recorded one does not end sessions that were opened since."""
    await person.sign_in()
    token = issuer.make_logout_token()
    assert (await server.http.post("/login/oidc/logout", data={"logout_token": token})).status_code == 200
    await person.sign_in()
    assert (await server.http.post("/login/oidc/logout", data={"logout_token": token})).status_code == 400
    assert (await person.page()).status_code == 200
    for form in ({}, {"logout_token": "a.b.c"}):
        assert (await server.http.post("/login/oidc/logout", data=form)).status_code == 400


async def test_without_an_issuer_there_are_no_oidc_pages(opened, clock):
    """These URLs are not found, and the sign-in page has no button."""
    async with opened(clock) as server:
        assert (await server.http.get("/login/oidc")).status_code == 404
        assert (await server.http.get("/login/oidc/callback")).status_code == 404
        assert (await server.http.post("/login/oidc/logout")).status_code == 404
        assert "/login/oidc" not in (await server.http.get("/login")).text


async def test_a_removed_issuer_leaves_no_session_and_no_token(opened, clock, issuer):
    """Neither a session of its operators nor an API token of one is accepted after the next start."""
    headers = {}
    async with opened(clock, **issuer.settings()) as server:
        person = Person(server, issuer)
        issuer.claims |= {"auth_time": int(clock().timestamp())}
        await person.sign_in()
        headers["session"] = {"Authorization": f"Bearer {person.http.cookies[SESSION]}"}
        issued = await server.http.post(
            "/api/api-tokens", json={"name": "ci-deploy", "role": "admin"}, headers=headers["session"]
        )
        headers["token"] = {"Authorization": f"Bearer {issued.json()['token']}"}
        for each in headers.values():
            assert (await server.http.get("/api/workers", headers=each)).status_code == 200
        await person.http.aclose()
    async with opened(clock) as server:
        codes = {
            kind: (await server.http.get("/api/workers", headers=each)).json()["code"]
            for kind, each in headers.items()
        }
    assert codes == {"session": "not_signed_in", "token": "api_token_rejected"}


async def test_an_emergency_password_works_only_for_its_time_and_its_operator(
    opened, clock, issuer, tmp_path
):
    """No other password is accepted. When it expires, its sessions end; it cannot issue an API token, which would outlive it."""
    environ = issuer.settings(LYFTDATA_PASSWORD_SIGN_IN="no")
    made: dict[str, str] = {}
    async with opened(clock, **environ) as server:
        for name in ("admin", "rescue"):
            await asyncio.to_thread(
                open_emergency_access,
                read_state_location({"LYFTDATA_STAGING_DIR": str(tmp_path / "staging")}),
                name,
                timedelta(hours=1),
                announce=lambda record, password: made.update({record.name: password.reveal()}),
                clock=clock,
            )
        assert 'name="password"' in (await server.http.get("/login")).text
        sessions = [await server.sign_in(name, password) for name, password in made.items()]
        wrong = await server.http.post("/api/login", json={"username": "admin", "password": PASSWORD})
        assert (wrong.status_code, wrong.json()["code"]) == (401, "login_failed")
        [audited, _] = (
            await server.http.get(
                "/api/audit", params={"action": "operator.emergency_access"}, headers=sessions[0]
            )
        ).json()["items"]
        assert (audited["actor"], audited["subject"]) == ("host", "operator:rescue")
        token = await server.http.post(
            "/api/api-tokens", json={"name": "ci-deploy", "role": "admin"}, headers=sessions[0]
        )
        assert (token.status_code, "emergency" in token.json()["detail"]) == (403, True)

        clock.now += timedelta(hours=1)
        for session in sessions:
            assert (await server.http.get("/api/whoami", headers=session)).status_code == 401
        again = await server.http.post("/api/login", json={"username": "admin", "password": made["admin"]})
        assert (again.status_code, again.json()["code"]) == (403, "password_sign_in_off")


async def test_the_sign_in_form_remembers_the_last_name(opened, clock):
    """The hint about `admin` and its first password is only shown before the first sign-in."""
    async with opened(clock) as server:
        first = (await server.http.get("/login")).text
        assert ('value="admin"' in first, "The first password of" in first) == (True, True)
        await server.http.post(
            "/login", data={"username": "admin", "password": PASSWORD}, headers=FROM_OUR_PAGE
        )
        server.http.cookies.delete(SESSION)
        again = (await server.http.get("/login")).text
        assert ('value="admin"' in again, "The first password of" in again) == (True, False)
        server.http.cookies.set(f"{SESSION}_last_name", '"><script>', domain=urlsplit(ISSUER).hostname or "")
        elsewhere = (await server.from_address("192.0.2.9").get("/login")).text
        assert ('value="admin"' in elsewhere, 'value=""' in elsewhere) == (False, True)


# --- confirming before an irreversible action -------------------------------------------------------------

CONFIRM = "/login/oidc?again=yes&next=%2Fissue-api-token"


async def test_an_issuers_operator_confirms_at_the_issuer(server, person, issuer, clock):
    """The page leads to the issuer with a request to prompt; the confirmed sign-in opens irreversible actions."""
    await person.sign_in()
    assert (await person.page("/issue-api-token")).headers["location"].startswith("/account/confirm")
    page = await person.page("/account/confirm?next=%2Fissue-api-token")
    assert 'name="password"' not in page.text
    location = await person.begin(CONFIRM)
    asked = {name: value for name, [value] in parse_qs(urlsplit(location).query).items()}
    issuer.claims |= {"auth_time": int(clock().timestamp())}

    answer = await person.come_back(issuer.authorize(location))

    assert (asked["prompt"], asked["max_age"]) == ("login", "0")
    assert answer.headers["location"] == "/issue-api-token"
    assert (await person.page("/issue-api-token")).status_code == 200


@pytest.mark.parametrize("ago_s", [None, 900, 61, True, "now", -3_600])
async def test_an_issuer_that_did_not_prompt_confirms_nothing(person, issuer, clock, ago_s):
    """Downgrade: without `auth_time`, or with an older one, the issuer only recognized a session of the browser's."""
    is_number = isinstance(ago_s, int) and not isinstance(ago_s, bool)
    issuer.claims |= {"auth_time": int(clock().timestamp()) - ago_s if is_number else ago_s}
    answer = await person.sign_in(CONFIRM)

    assert (answer.status_code, "did not ask you again" in answer.text) == (403, True)


async def test_a_sign_in_through_the_issuers_session_does_not_confirm(person, issuer, clock):
    """Signing out and in again without a prompt opens no irreversible action; a sign-in that was just prompted does."""
    issuer.claims |= {"auth_time": int(clock().timestamp()) - 900}
    await person.sign_in()
    assert (await person.page("/issue-api-token")).status_code == 303

    issuer.claims |= {"auth_time": int(clock().timestamp()) - 60}
    await person.sign_in()
    assert (await person.page("/issue-api-token")).status_code == 200
