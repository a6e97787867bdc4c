"""Sign-in by device code (RFC 8628): the whole exchange, and attacks on each code."""

import asyncio
from datetime import datetime

import pytest
from tests.deployment import PASSWORD
from tests.unit.web.conftest import FROM_OUR_PAGE, signed_in

from lyftdata.core.actor import Actor
from lyftdata.core.device_login import LIFE, make_user_code, read_user_code
from lyftdata.core.records import Role
from lyftdata.store import StoreError

ADMIN = Actor(operator="admin", role=Role.ADMIN, session_id="s", address="192.0.2.1")


async def begin(server, **body):
    """Begin a sign-in, as a command line does."""
    given = {"host": "laptop-7"} | body
    answer = await server.http.post("/api/login/device", json=given)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def ask(server, code, *, wait_s=5):
    """Poll with a device code; return the session, or status and error code."""
    server.clock.forward(seconds=wait_s)
    answer = await server.http.post("/api/login/device/token", json={"device_code": code})
    return answer.json() if answer.status_code == 200 else (answer.status_code, answer.json()["code"])


@pytest.fixture
async def browsers(server, admin):
    """Return the browsers of an admin and of a viewer, by role."""
    own = {"admin": "xxx " + PASSWORD, "vera": "zzz " + PASSWORD}
    body = {"name": "vera", "role": "viewer", "password": "yyy " + PASSWORD}
    await server.http.post("/api/operators", json=body, headers=admin)
    for name, first in (("admin", PASSWORD), ("vera", "yyy " + PASSWORD)):
        headers = await server.sign_in(name, first)
        change = {"current_password": first, "new_password": own[name]}
        await server.http.post("/api/me/password", json=change, headers=headers)
    made = {
        "admin": await signed_in(server, "admin", own["admin"]),
        "viewer": await signed_in(server, "vera", own["vera"]),
    }
    yield made
    for browser in made.values():
        await browser.http.aclose()


def headers_of(session):
    """Return the headers of a session that was opened."""
    return {"Authorization": f"Bearer {session['token']}"}


async def test_a_command_line_is_signed_in_as_the_operator_who_approves(server, browsers):
    """It is asked to wait, then gets one session, which the audit log links to the browser."""
    begun = await begin(server)
    assert begun["verification_uri"] == "https://lyft.example/device"
    assert begun["verification_uri_complete"].endswith(f"/device?user_code={begun['user_code']}")
    assert (begun["expires_in"], begun["interval"]) == (600, 5)
    assert await ask(server, begun["device_code"]) == (400, "authorization_pending")

    shown = (await browsers["admin"].get(f"/device?user_code={begun['user_code'].lower()}")).text
    assert "laptop-7" in shown
    assert "Go on only if you have just started" in shown
    await browsers["admin"].post("/device", user_code=begun["user_code"], decision="approve")

    session = await ask(server, begun["device_code"])
    who = (await server.http.get("/api/whoami", headers=headers_of(session))).json()
    assert (who["name"], who["role"]) == ("admin", "admin")
    events = (await server.http.get("/api/audit", headers=headers_of(session))).json()["items"]
    found = {one["action"]: one["details"] for one in events[:2]}
    assert found["operator.signed_in"] == {
        "method": "device_code",
        "host": "laptop-7",
        "approved_from": "192.0.2.50",
    }
    assert found["operator.device_login_approved"]["requested_from"] == "127.0.0.1"
    opened, browser = (await server.services.operator_sessions.list("admin"))[:2]
    # Approving a code proves no more than the session in which it was done.
    assert opened.authenticated_at == browser.authenticated_at < opened.created_at


async def test_a_session_cannot_be_extended_by_approving_codes(server, browsers):
    """Persistence: twelve hours after the sign-in, every session that came from it has expired."""
    browser = (await server.services.operator_sessions.list("admin"))[0]
    server.clock.forward(hours=2)
    begun = await begin(server)
    await browsers["admin"].post("/device", user_code=begun["user_code"], decision="approve")

    session = await ask(server, begun["device_code"])

    assert datetime.fromisoformat(session["expires_at"]) == browser.expires_at


async def test_polling_in_a_loop_writes_nothing(server):
    """Any caller can begin a sign-in; there is one writer, and Workers wait for it."""
    begun = await begin(server)
    assert await ask(server, begun["device_code"]) == (400, "authorization_pending")

    def row(conn):
        return conn.exec_driver_sql("SELECT interval_s, asked_at FROM device_logins").one()

    before = await server.services.store.read(row)
    for _ in range(3):
        assert await ask(server, begun["device_code"], wait_s=0) == (400, "slow_down")
    assert await server.services.store.read(row) == before


async def test_a_sign_in_approved_by_a_viewer_has_the_viewers_role(server, browsers):
    """Whatever the requester would like."""
    begun = await begin(server)
    await browsers["viewer"].post("/device", user_code=begun["user_code"], decision="approve")
    session = await ask(server, begun["device_code"])
    assert session["operator"]["role"] == "viewer"
    refused = await server.http.post("/api/workers", json={"name": "x"}, headers=headers_of(session))
    assert refused.status_code == 403


async def test_a_device_code_opens_one_session(server, browsers):
    """A replayed one is refused, also if several are redeemed at the same moment."""
    begun = await begin(server)
    await browsers["admin"].post("/device", user_code=begun["user_code"], decision="approve")
    server.clock.forward(seconds=5)
    body = {"device_code": begun["device_code"]}
    answers = await asyncio.gather(
        *(server.http.post("/api/login/device/token", json=body) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    assert await ask(server, begun["device_code"]) == (400, "expired_token")


async def test_a_code_is_decided_once(server, browsers):
    """After a denial, an approval finds no such code."""
    begun = await begin(server)
    await browsers["admin"].post("/device", user_code=begun["user_code"], decision="deny")
    late = await browsers["viewer"].post("/device", user_code=begun["user_code"], decision="approve")
    assert (late.status_code, "no sign-in with this code" in late.text) == (400, True)
    assert await ask(server, begun["device_code"]) == (400, "access_denied")
    assert await ask(server, begun["device_code"]) == (400, "expired_token")


async def test_codes_expire_after_ten_minutes(server, browsers):
    """To the second: from then on a code can be neither approved nor redeemed."""
    begun, approved = await begin(server), await begin(server)
    await browsers["admin"].post("/device", user_code=approved["user_code"], decision="approve")
    server.clock.forward(seconds=LIFE.total_seconds() - 1)
    assert (await browsers["admin"].get(f"/device?user_code={begun['user_code']}")).status_code == 200
    server.clock.forward(seconds=1)
    assert (await browsers["admin"].get(f"/device?user_code={begun['user_code']}")).status_code == 400
    for each in (begun, approved):
        assert await ask(server, each["device_code"], wait_s=0) == (400, "expired_token")


async def test_a_client_that_polls_too_often_must_wait_longer(server):
    """RFC 8628, section 3.5: five seconds more each time; then it may poll again."""
    begun = await begin(server)
    code = begun["device_code"]
    assert await ask(server, code, wait_s=0) == (400, "authorization_pending")
    assert await ask(server, code, wait_s=4) == (400, "slow_down")
    assert await ask(server, code, wait_s=9) == (400, "slow_down")
    assert await ask(server, code, wait_s=15) == (400, "authorization_pending")


async def test_user_codes_cannot_be_guessed(server, browsers):
    """They have 34 unbiased bits; after ten wrong ones an operator must wait, even with a right one."""
    codes = {(await begin(server))["user_code"] for _ in range(5)}
    assert len(codes) == 5
    assert all(read_user_code(code) == code for code in codes)
    right = codes.pop()
    for _ in range(10):
        assert (await browsers["viewer"].get("/device?user_code=BBBB-BBBB")).status_code == 400
    limited = await browsers["viewer"].get(f"/device?user_code={right}")
    assert (limited.status_code, "Retry-After" in limited.headers) == (429, True)
    posted = await browsers["viewer"].post("/device", user_code=right, decision="approve")
    assert posted.status_code == 429
    # Other operators are not limited.
    assert (await browsers["admin"].get(f"/device?user_code={right}")).status_code == 200


async def test_user_codes_cannot_be_guessed_in_parallel(server, browsers):
    """Each guess is counted before it is looked up; a right code is not counted."""
    right = (await begin(server))["user_code"]
    for _ in range(20):
        assert (await browsers["viewer"].get(f"/device?user_code={right}")).status_code == 200

    guesses = [browsers["viewer"].get("/device?user_code=BBBB-BBBB") for _ in range(15)]
    answers = await asyncio.gather(*guesses)

    assert sorted(answer.status_code for answer in answers) == [400] * 10 + [429] * 5


async def test_a_guess_that_could_not_be_looked_up_is_not_counted(server, browsers, monkeypatch):
    """It has taught the operator nothing."""
    services = server.services

    async def fail(_query):
        raise StoreError("The database does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(services.store, "read", fail)
        for _ in range(15):
            with pytest.raises(StoreError):
                await services.device_logins.find("BBBB-BBBB", actor=ADMIN)

    assert (await browsers["admin"].get("/device?user_code=BBBB-BBBB")).status_code == 400


async def test_the_sign_ins_begun_from_an_address_are_limited(server):
    """Each is a row in a table, which a flood must not fill."""
    answers = [await server.http.post("/api/login/device", json={}) for _ in range(21)]
    assert [answer.status_code for answer in answers] == [200] * 20 + [429]


@pytest.mark.parametrize(
    ("headers", "fields", "status", "outcome"),
    [
        (
            {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
            {},
            403,
            "authorization_pending",
        ),
        (FROM_OUR_PAGE, {"csrf": "0" * 64}, 403, "authorization_pending"),
        (FROM_OUR_PAGE, {"decision": ""}, 303, "access_denied"),
    ],
)
async def test_another_site_cannot_approve_a_code(server, browsers, headers, fields, status, outcome):
    """Opening the link does not approve either; a form without a decision denies."""
    begun, browser = await begin(server), browsers["admin"]
    await browser.get(f"/device?user_code={begun['user_code']}")
    form = {"csrf": browser.csrf, "user_code": begun["user_code"], "decision": "approve"} | fields
    answer = await browser.http.post("/device", data=form, headers=headers)
    assert answer.status_code == status
    assert await ask(server, begun["device_code"]) == (400, outcome)


async def test_another_site_cannot_begin_or_redeem_a_sign_in(server):
    """A page in a browser can sign in neither itself nor its visitor."""
    cross = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    for path, body in (("/api/login/device", {}), ("/api/login/device/token", {"device_code": "x"})):
        assert (await server.http.post(path, json=body, headers=cross)).status_code == 403


async def test_the_link_keeps_the_code_during_the_sign_in(server):
    """However the operator signs in there."""
    begun = await begin(server)
    answer = await server.http.get(f"/device?user_code={begun['user_code']}")
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        f"/login?next=%2Fdevice%3Fuser_code%3D{begun['user_code']}",
    )


async def test_a_code_cannot_be_approved_by_the_api(server, admin):
    """There is no such route: a person approves on a page."""
    begun = await begin(server)
    for path, status in (("/api/login/device/approve", 404), ("/device", 403)):
        answer = await server.http.post(path, json={"user_code": begun["user_code"]}, headers=admin)
        assert answer.status_code == status
    assert await ask(server, begun["device_code"]) == (400, "authorization_pending")


async def test_signing_out_voids_an_approval_that_was_not_redeemed(server, browsers):
    """The command line reads that it was denied."""
    begun = await begin(server)
    await browsers["admin"].post("/device", user_code=begun["user_code"], decision="approve")
    await browsers["admin"].post("/account/sign-out-everywhere")
    assert await ask(server, begun["device_code"]) == (400, "access_denied")


async def test_the_page_warns_if_the_request_came_from_another_network(server, browsers):
    """It may be a code sent by an attacker (RFC 8628, section 5.4)."""
    begun = await begin(server)
    shown = await browsers["admin"].get(f"/device?user_code={begun['user_code']}")
    assert "in a different network" in shown.text
    async with server.from_address("192.0.2.50") as http:
        near = (await http.post("/api/login/device", json={})).json()
    assert (
        "in a different network"
        not in (await browsers["admin"].get(f"/device?user_code={near['user_code']}")).text
    )


async def test_the_database_contains_no_codes(server):
    """Neither of the two can be read from a copy of it."""
    begun = await begin(server)

    def dump(conn):
        return [tuple(row) for row in conn.exec_driver_sql("SELECT * FROM device_logins")]

    stored = repr(await server.services.store.read(dump))
    assert begun["device_code"] not in stored
    assert begun["user_code"] not in stored
    assert begun["user_code"].replace("-", "") not in stored


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("wdjb-mjht", "WDJB-MJHT"),
        ("WDJB MJHT", "WDJB-MJHT"),
        ("wdjbmjht", "WDJB-MJHT"),
        ("WDJB-MJH", None),
        ("AEIO-UAEI", None),
    ],
)
def test_a_code_is_read_as_people_type_it(typed, code):
    """Upper or lower case, with a dash, a space or neither (RFC 8628, section 6.1)."""
    assert read_user_code(typed) == code


def test_codes_are_generated_without_bias():
    """Bytes that would make some characters more likely are skipped."""
    assert make_user_code(bytes([255] * 16)) is None
    assert make_user_code(bytes([240, 0, 19, 20, 239, 1, 2, 3, 4])) == "BZBZ-CDFG"


@pytest.mark.parametrize(
    ("decision", "said"), [("approve", "Signed in: the command line on laptop-7"), ("deny", "Denied.")]
)
async def test_a_decision_leads_to_the_list_of_sessions(server, browsers, decision, said):
    """Not to the form again, which would look like something left to do."""
    begun = await begin(server)

    done = await browsers["admin"].post("/device", user_code=begun["user_code"], decision=decision)

    assert (done.status_code, done.headers["location"]) == (303, "/account")
    assert said in (await browsers["admin"].get("/account")).text
