"""An operator's own account: signing in and out, sessions, the password."""

import asyncio
import threading

import pytest
from tests.deployment import PASSWORD
from tests.unit.server.api.admin.test_access import viewer_of


async def test_the_first_password_must_be_changed(server, admin):
    """The session says so; the change ends other sessions and keeps this one."""
    other = await server.sign_in()
    assert (await server.http.get("/api/whoami", headers=admin)).json()["must_change_password"]
    body = {"current_password": PASSWORD, "new_password": "a much better one"}

    assert (await server.http.post("/api/me/password", json=body, headers=admin)).status_code == 204

    assert not (await server.http.get("/api/whoami", headers=admin)).json()["must_change_password"]
    assert (await server.http.get("/api/whoami", headers=other)).status_code == 401
    assert await server.sign_in(password="a much better one")


@pytest.mark.parametrize(
    ("current", "new", "status"),
    [
        ("wrong wrong wrong", "a much better one", 401),
        (PASSWORD, "short", 422),
        (PASSWORD, PASSWORD, 422),
        (PASSWORD, f"{PASSWORD} ", 422),
        (PASSWORD, f" {PASSWORD}", 422),
        (PASSWORD, PASSWORD.replace(" ", ""), 422),
        (PASSWORD, PASSWORD.replace(" ", "  "), 422),
        (PASSWORD, PASSWORD.upper(), 422),
        (PASSWORD, f"{PASSWORD}1!", 422),
        (PASSWORD, f"1{PASSWORD}", 422),
        (PASSWORD, PASSWORD.replace("horse", "house"), 422),
        (PASSWORD, PASSWORD[:-2], 422),
        (PASSWORD, f"{PASSWORD}123", 204),
        (PASSWORD, PASSWORD.replace("horse", "zebra"), 204),
        (PASSWORD, "adminadminadmin", 422),
    ],
)
async def test_a_weak_or_similar_new_password_is_rejected(server, admin, current, new, status):
    """Also with a wrong current password. Neither password is repeated in the answer."""
    body = {"current_password": current, "new_password": new}
    checked = await server.http.post("/api/me/password/check", json=body, headers=admin)
    answer = await server.http.post("/api/me/password", json=body, headers=admin)

    assert (checked.status_code, checked.content) == (answer.status_code, answer.content)
    assert answer.status_code == status
    assert new not in answer.text
    assert current not in answer.text


async def test_checking_a_password_changes_nothing(server, admin):
    """With or without a new password, it ends no session; without a session it is refused."""
    for body in (
        {"current_password": PASSWORD},
        {"current_password": PASSWORD, "new_password": "a much better one"},
    ):
        assert (await server.http.post("/api/me/password/check", json=body, headers=admin)).status_code == 204
        assert (await server.http.post("/api/me/password/check", json=body)).status_code == 401
    wrong = {"current_password": "wrong wrong wrong"}
    answer = await server.http.post("/api/me/password/check", json=wrong, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (401, "login_failed")
    assert (await server.http.get("/api/whoami", headers=admin)).json()["must_change_password"]
    assert await server.sign_in()


async def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(server):
    """A caller cannot find out which operators exist."""
    answers = [
        await server.http.post("/api/login", json={"username": name, "password": "wrong wrong wrong"})
        for name in ("admin", "nobody")
    ]

    assert {a.status_code for a in answers} == {401}
    assert len({a.text for a in answers}) == 1


async def test_repeated_failures_lock_an_operator_out_for_a_time(server):
    """Five failures lock name and address for a minute, then longer; meanwhile even the right password is refused."""
    wrong = {"username": "admin", "password": "wrong wrong wrong"}
    for _ in range(5):
        await server.http.post("/api/login", json=wrong)
    locked = await server.http.post("/api/login", json={"username": "admin", "password": PASSWORD})

    assert (locked.status_code, locked.json()["code"]) == (429, "login_locked")
    assert 1 <= int(locked.headers["retry-after"]) <= 60
    async with server.from_address("192.0.2.9") as elsewhere:
        fine = await elsewhere.post("/api/login", json={"username": "admin", "password": PASSWORD})
        assert fine.status_code == 200
    server.clock.forward(seconds=61)
    await server.http.post("/api/login", json=wrong)
    server.clock.forward(seconds=61)
    assert (await server.http.post("/api/login", json=wrong)).status_code == 429
    server.clock.forward(seconds=60)
    admin = await server.sign_in()
    actions = [e["action"] for e in (await server.http.get("/api/audit", headers=admin)).json()["items"]]
    assert "operator.locked_out" in actions


async def test_a_session_ends_after_twelve_hours(server, admin):
    """From exactly that second on, however much it is used."""
    for _ in range(4):
        server.clock.forward(hours=3, seconds=-0.25)
        assert (await server.http.get("/api/whoami", headers=admin)).status_code == 200
    server.clock.forward(seconds=1)
    assert (await server.http.get("/api/whoami", headers=admin)).status_code == 401


async def test_sessions_are_listed_and_ended(server, admin):
    """An admin sees and ends every operator's; a viewer only their own."""
    viewer = await viewer_of(server, admin)
    can_see_all = (await server.http.get("/api/admin-sessions", headers=admin)).json()["items"]
    own = (await server.http.get("/api/admin-sessions", headers=viewer)).json()["items"]
    assert {s["operator"] for s in can_see_all} == {"admin", "vera"}
    assert {s["operator"] for s in own} == {"vera"}
    (admins,) = [s["id"] for s in can_see_all if s["operator"] == "admin"]

    assert (await server.http.delete(f"/api/admin-sessions/{admins}", headers=viewer)).status_code == 404
    assert (await server.http.delete(f"/api/admin-sessions/{own[0]['id']}", headers=admin)).status_code == 204
    assert (await server.http.get("/api/whoami", headers=viewer)).status_code == 401


async def test_signing_out_ends_one_session_or_all(server):
    """Signing out ends the present session; signing out everywhere ends all of the operator's."""
    first, second, third = [await server.sign_in() for _ in range(3)]
    await server.http.post("/api/logout", headers=first)
    assert [(await server.http.get("/api/whoami", headers=h)).status_code for h in (first, second)] == [
        401,
        200,
    ]
    await server.http.post("/api/logout-everywhere", headers=second)
    assert (await server.http.get("/api/whoami", headers=third)).status_code == 401


async def test_unknown_callers_do_not_lock_an_operator_out(server):
    """From an address that has signed in before, an operator can sign in whatever happens elsewhere."""
    await server.sign_in()
    for n in range(60):
        async with server.from_address(f"198.51.100.{n}") as unknown_caller:
            await unknown_caller.post(
                "/api/login", json={"username": "admin", "password": "wrong wrong wrong"}
            )
    async with server.from_address("203.0.113.5") as new_place:
        refused = await new_place.post("/api/login", json={"username": "admin", "password": PASSWORD})

    assert refused.json()["code"] == "login_locked"
    assert await server.sign_in()


async def test_guessing_names_from_one_address_is_limited(server):
    """After thirty failures from one address, whatever the names, it must wait."""
    async with server.from_address("198.51.100.7") as unknown_caller:
        codes = [
            (
                await unknown_caller.post(
                    "/api/login", json={"username": f"u{n}", "password": "wrong wrong wrong"}
                )
            ).json()["code"]
            for n in range(40)
        ]

    assert codes[:30] == ["login_failed"] * 30
    assert codes[30:] == ["login_locked"] * 10


async def test_a_flood_of_sign_ins_is_shed(server, monkeypatch):
    """Beyond a few dozen at once they get 503 with Retry-After: hashing is expensive, and Workers need the processor too."""
    await server.sign_in()
    hold = threading.Event()
    monkeypatch.setattr(
        server.services.password_check._passwords, "_verify", lambda *_: hold.wait(180) and False
    )
    flood = [
        asyncio.create_task(server.http.post("/api/login", json={"username": f"u{n}", "password": "x" * 12}))
        for n in range(60)
    ]
    first, _ = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result().status_code for task in first} <= {429, 503}
    hold.set()
    answers = await asyncio.gather(*flood)
    monkeypatch.undo()

    codes = [a.json()["code"] for a in answers]
    assert "too_busy" in codes
    busy = next(a for a in answers if a.json()["code"] == "too_busy")
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "5")
    assert await server.sign_in()


async def test_a_sign_in_during_a_password_reset_is_refused(server, admin, monkeypatch):
    """A password that is replaced while it is being checked opens no session."""
    operators = server.services.operators
    await server.http.post(
        "/api/operators",
        json={"name": "ada", "role": "viewer", "password": "another long one"},
        headers=admin,
    )
    real = operators._passwords.matches

    async def slow(password, password_hash, **more):
        right = await real(password, password_hash, **more)
        monkeypatch.setattr(operators._passwords, "matches", real)
        await server.http.patch("/api/operators/ada", json={"reset_password": True}, headers=admin)
        return right

    monkeypatch.setattr(operators._passwords, "matches", slow)
    answer = await server.http.post("/api/login", json={"username": "ada", "password": "another long one"})

    assert answer.status_code == 401


async def test_a_concurrent_change_does_not_undo_a_password_reset(server, admin, monkeypatch):
    """An attacker who knows the old password and is just changing it does not keep the account."""
    body = {"name": "ada", "role": "viewer", "password": "another long one"}
    await server.http.post("/api/operators", json=body, headers=admin)
    ada = await server.sign_in("ada", "another long one")
    passwords = server.services.password_check._passwords
    real = passwords.hash
    reset = {}

    async def slow(password):
        monkeypatch.setattr(passwords, "hash", real)
        answer = await server.http.patch("/api/operators/ada", json={"reset_password": True}, headers=admin)
        reset["password"] = answer.json()["password"]
        return await real(password)

    monkeypatch.setattr(passwords, "hash", slow)
    change = {"current_password": "another long one", "new_password": "the attackers own"}
    answer = await server.http.post("/api/me/password", json=change, headers=ada)

    assert answer.status_code == 401
    assert await server.sign_in("ada", reset["password"])
