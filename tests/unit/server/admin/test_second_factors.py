"""Second factors in the API: set up, used to sign in, attacked, lost."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP
from tests.builders import FakeClock
from tests.deployment import PASSWORD

from lyftdata.core.totp import parse_secret_text


class App:
    """An operator's authenticator app."""

    codes: list[str]

    def __init__(self, secret, clock):
        self._generator = HOTP(parse_secret_text(secret), 6, SHA1())
        self._clock = clock

    def code(self, steps=0):
        """Return the current code, or that of so many steps later."""
        return self._generator.generate(int(self._clock().timestamp()) // 30 + steps).decode()


async def set_up(server, headers):
    """Set up an app; return it, and the recovery codes."""
    begun = await server.http.post("/api/me/second-factor/totp", headers=headers)
    assert begun.status_code == 200, begun.text
    app = App(begun.json()["secret"], server.clock)
    body = {"setup": begun.json()["setup"], "code": app.code()}
    done = await server.http.post("/api/me/second-factor/totp/confirm", json=body, headers=headers)
    assert done.status_code == 200, done.text
    server.clock.forward(seconds=30)
    return app, done.json()["recovery_codes"]


async def log_in(server, code=None, name="admin", password=PASSWORD):
    """Sign in; return the answer."""
    body = {"username": name, "password": password} | ({} if code is None else {"code": code})
    return await server.http.post("/api/login", json=body)


def bearer(answer):
    """Return the headers of the session that an answer opened."""
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


async def actions(server, headers):
    """Return the last actions in the audit log about the operator."""
    items = (await server.http.get("/api/audit?subject=operator:admin", headers=headers)).json()["items"]
    return [(one["action"], one["details"]) for one in items]


@pytest.fixture
async def app(server, admin):
    """Return the app of the operator, and the recovery codes."""
    return await set_up(server, admin)


async def test_a_sign_in_needs_password_and_code(server, admin, app):
    """Neither alone opens a session; both do, and the audit log names the factor."""
    app, _ = app
    alone = await log_in(server)
    wrong = await log_in(server, app.code(), password="wrong wrong wrong")
    answer = await log_in(server, app.code())

    assert (alone.status_code, alone.json()["code"]) == (401, "second_factor_required")
    assert "token" not in alone.text
    assert (wrong.status_code, wrong.json()["code"]) == (401, "login_failed")
    listed = await actions(server, bearer(answer))
    assert listed[0] == ("operator.signed_in", {"second_factor": "totp"})
    assert listed[1] == ("operator.second_factor_added", {"kind": "totp"})


@pytest.mark.parametrize("steps", [-1, 0])
async def test_a_code_is_accepted_once(server, admin, app, steps):
    """Replay: a code read over a shoulder, and any earlier one, is refused, also the one that confirmed the setup."""
    app, _ = app
    assert (await log_in(server, app.code(-1))).json()["code"] == "second_factor_failed"
    assert (await log_in(server, app.code())).status_code == 200

    again = await log_in(server, app.code(steps))

    assert (again.status_code, again.json()["code"]) == (401, "second_factor_failed")
    assert (await log_in(server, app.code(1))).status_code == 200


async def test_the_code_of_another_operator_is_refused(server, admin, app):
    """And so is their recovery code."""
    body = {"name": "ada", "role": "admin", "password": "another long one"}
    await server.http.post("/api/operators", json=body, headers=admin)
    other, codes = await set_up(server, await server.sign_in("ada", "another long one"))

    for code in (other.code(), codes[0]):
        assert (await log_in(server, code)).json()["code"] == "second_factor_failed"
        assert (await log_in(server, code, "ada", "another long one")).status_code == 200


async def test_guesses_of_a_code_are_limited(server, admin, app):
    """Brute force with a stolen password: after five guesses there is a wait, which neither a right code nor another right password ends."""
    app, codes = app
    for _ in range(5):
        assert (await log_in(server, "000000")).json()["code"] == "second_factor_failed"
        assert (await log_in(server)).json()["code"] == "second_factor_required"

    for code in (app.code(), codes[0]):
        answer = await log_in(server, code)
        assert (answer.status_code, answer.json()["code"]) == (429, "login_locked")
    # After the wait, the operator can sign in.
    server.clock.forward(minutes=1)
    assert (await log_in(server, app.code())).status_code == 200


async def test_a_recovery_code_signs_in_once(server, admin, app):
    """Instead of the app's code; the audit log says how many are left, and new codes replace them all."""
    _, codes = app
    headers = bearer(await log_in(server, codes[0].lower()))

    again = await log_in(server, codes[0])

    assert (again.status_code, again.json()["code"]) == (401, "second_factor_failed")
    assert ("operator.recovery_code_used", {"left": "9"}) in await actions(server, headers)
    new = await server.http.post("/api/me/second-factor/recovery-codes", headers=headers)
    assert (await log_in(server, codes[1])).json()["code"] == "second_factor_failed"
    assert (await log_in(server, new.json()["recovery_codes"][0])).status_code == 200


async def test_irreversible_actions_need_the_code_too(server, admin, app):
    """Downgrade: a stolen session and the password are not enough."""
    app, _ = app
    server.clock.forward(minutes=15)

    async def prove(**body):
        return await server.http.post(
            "/api/me/reauthenticate", json={"password": PASSWORD} | body, headers=admin
        )

    assert (await prove()).json()["code"] == "second_factor_required"
    assert (await prove(code="000000")).json()["code"] == "second_factor_failed"
    removed = await server.http.delete("/api/me/second-factor", headers=admin)
    assert removed.json()["code"] == "reauthentication_required"
    code = app.code()
    assert (await log_in(server, code)).status_code == 200
    assert (await prove(code=code)).json()["code"] == "second_factor_failed"
    assert (await prove(code=app.code(1))).status_code == 200


async def test_setting_up_a_factor_ends_other_sessions(server, admin):
    """They were opened with only the password, perhaps by a thief."""
    other = await server.sign_in()
    await set_up(server, admin)

    assert (await server.http.get("/api/whoami", headers=other)).status_code == 401
    assert (await server.http.get("/api/whoami", headers=admin)).status_code == 200


async def test_a_setup_is_valid_in_its_session_for_15_minutes(server, admin):
    """If it was begun in another session or too long ago, is made up, or the code is wrong, nothing is stored."""
    begun = (await server.http.post("/api/me/second-factor/totp", headers=admin)).json()
    app = App(begun["secret"], server.clock)
    other = await server.sign_in()

    async def confirm(headers, **changes):
        body = {"setup": begun["setup"], "code": app.code()} | changes
        answer = await server.http.post("/api/me/second-factor/totp/confirm", json=body, headers=headers)
        return answer.json().get("field")

    assert await confirm(other) == "setup"
    assert await confirm(admin, setup="made-up") == "setup"
    assert await confirm(admin, code="000000") == "code"
    server.clock.forward(minutes=14, seconds=59)
    fresh = await server.http.post("/api/me/reauthenticate", json={"password": PASSWORD}, headers=admin)
    server.clock.forward(seconds=1)
    assert await confirm(bearer(fresh)) == "setup"
    assert (await log_in(server)).status_code == 200


async def test_an_admin_can_reset_another_operators_factor(server, admin, app):
    """The operator's sessions end, and the password alone signs in until there is a new app; the reset is audited."""
    body = {"name": "ada", "role": "viewer", "password": "another long one"}
    await server.http.post("/api/operators", json=body, headers=admin)
    ada = await server.sign_in("ada", "another long one")
    await set_up(server, ada)
    listed = (await server.http.get("/api/operators", headers=admin)).json()["items"]
    assert {one["name"]: one["second_factor"] for one in listed} == {"admin": True, "ada": True}
    refused = await server.http.delete("/api/operators/admin/second-factor", headers=ada)
    assert refused.status_code == 403

    answer = await server.http.delete("/api/operators/ada/second-factor", headers=admin)

    assert answer.status_code == 204
    assert (await server.http.get("/api/whoami", headers=ada)).status_code == 401
    assert (await log_in(server, None, "ada", "another long one")).status_code == 200
    log = (await server.http.get("/api/audit?limit=5", headers=admin)).json()["items"]
    assert ("operator.second_factor_reset", "operator:ada") in {(o["action"], o["subject"]) for o in log}


async def test_operators_can_remove_their_own_factor(server, admin, app):
    """Then the password alone signs in, and there are no recovery codes."""
    status = (await server.http.get("/api/me/second-factor", headers=admin)).json()
    assert ([one["kind"] for one in status["factors"]], status["recovery_codes"]) == (["totp"], 10)

    assert (await server.http.delete("/api/me/second-factor", headers=admin)).status_code == 204

    status = (await server.http.get("/api/me/second-factor", headers=admin)).json()
    assert status == {"factors": [], "passkeys": [], "recovery_codes": 0}
    assert (await log_in(server)).status_code == 200
    renewed = await server.http.post("/api/me/second-factor/recovery-codes", headers=admin)
    assert renewed.json()["code"] == "no_second_factor"


@pytest.mark.parametrize("policy", ["optional", "admins", "all"])
async def test_a_required_second_factor_must_be_set_up_first(opened, policy):
    """Required by the setting for admins or for all; only the account and the setup itself are accessible."""
    async with opened(FakeClock(), LYFTDATA_SECOND_FACTOR=policy) as server:
        admin = await server.sign_in()
        if policy != "optional":
            refused = await server.http.get("/api/workers", headers=admin)
            assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_missing")
            assert (await server.http.get("/api/whoami", headers=admin)).status_code == 200
            await set_up(server, admin)
        assert (await server.http.get("/api/workers", headers=admin)).status_code == 200
        body = {"name": "vera", "role": "viewer", "password": "another long one"}
        await server.http.post("/api/operators", json=body, headers=admin)
        viewer = await server.sign_in("vera", "another long one")
        seen = await server.http.get("/api/workers", headers=viewer)
        assert seen.status_code == (403 if policy == "all" else 200)


async def test_an_admin_without_the_required_factor_cannot_access_other_sessions(opened):
    """An attacker with only a password can neither see nor end the sessions of other operators."""
    async with opened(FakeClock(), LYFTDATA_SECOND_FACTOR="admins") as server:
        admin = await server.sign_in()
        await set_up(server, admin)
        for name, role in (("vera", "viewer"), ("anton", "admin")):
            body = {"name": name, "role": role, "password": "another long one"}
            await server.http.post("/api/operators", json=body, headers=admin)
        await server.sign_in("vera", "another long one")
        theirs = (await server.services.operator_sessions.list("vera"))[0].id
        thief = await server.sign_in("anton", "another long one")

        seen = (await server.http.get("/api/admin-sessions", headers=thief)).json()["items"]
        ended = await server.http.delete(f"/api/admin-sessions/{theirs}", headers=thief)

        assert {one["operator"] for one in seen} == {"anton"}
        assert ended.status_code == 404
        assert (await server.http.delete(f"/api/admin-sessions/{theirs}", headers=admin)).status_code == 204


async def test_an_emergency_password_needs_no_second_factor(server, admin, app):
    """It was set on the Server's host, where that is audited: the way in if the app is lost."""
    import msgspec

    from lyftdata.store.tables import operators

    record = await server.services.operators.get("admin")
    until = server.clock() + timedelta(hours=1)
    changed = msgspec.structs.replace(record, password_expires_at=until)
    await server.services.store.write(lambda tx: operators.replace_operator(tx, changed))

    headers = bearer(await log_in(server))

    answer = await server.http.delete("/api/operators/admin/second-factor", headers=headers)
    assert answer.status_code == 204


async def test_no_secret_is_stored_in_clear_text(server, admin, caplog):
    """Neither the app's secret nor a recovery code is in the database, the audit log or a log line."""
    from lyftdata.store.tables import second_factors

    begun = (await server.http.post("/api/me/second-factor/totp", headers=admin)).json()
    app = App(begun["secret"], server.clock)
    body = {"setup": begun["setup"], "code": app.code()}
    codes = (await server.http.post("/api/me/second-factor/totp/confirm", json=body, headers=admin)).json()[
        "recovery_codes"
    ]
    [factor] = await server.services.store.read(second_factors.all_factors)
    audit = (await server.http.get("/api/audit", headers=admin)).text

    assert parse_secret_text(begun["secret"]) not in factor.sealed
    for secret in (begun["secret"], begun["secret"].replace(" ", ""), *codes):
        assert secret not in audit
        assert secret not in caplog.text
