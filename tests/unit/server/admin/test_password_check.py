"""Guessing passwords is slowed down, and unknown callers cannot lock out an operator."""

import asyncio
import itertools
from datetime import timedelta
from pathlib import Path

import pytest
from tests.builders import NOON, FakeClock
from tests.deployment import PASSWORD
from tests.unit.web.conftest import Browser

from lyftdata.core.lockout import Claim, Lockout
from lyftdata.core.secret import Secret
from lyftdata.server.runtime.maintenance import read_state_location
from lyftdata.server.runtime.operator_recovery import unlock

ROOT = Path(__file__).parents[4]
HOME = "192.0.2.1"
WRONG = {"username": "admin", "password": "wrong wrong wrong"}
RIGHT = {"username": "admin", "password": PASSWORD}


def begin(lockout, name, address, *, now=NOON, exists=True, **more):
    """Begin an attempt."""
    return lockout.begin(Claim(name=name, address=address, exists=exists, **more), now=now)


def fail(lockout, name, address, *, times=1, now=NOON, **more):
    """Fail so many times; return how many of the passwords were checked."""
    seen = 0
    for _ in range(times):
        attempt = begin(lockout, name, address, now=now, **more)
        if not attempt.wait_s:
            seen += 1
            lockout.failed(attempt, now=now)
            lockout.end(attempt)
    return seen


def sign_in(lockout, name, address, *, now=NOON, **more):
    """Try to sign in with the right password; return whether it was checked."""
    attempt = begin(lockout, name, address, now=now, **more)
    if attempt.wait_s:
        return False
    lockout.succeeded(attempt, now=now)
    lockout.end(attempt)
    return True


def test_one_network_gets_five_guesses():
    """The sixth password is not checked for a minute; after that, one more is, and the wait doubles."""
    lockout = Lockout()

    assert fail(lockout, "admin", HOME, times=20) == 5
    assert begin(lockout, "admin", HOME).wait_s == 60
    later = NOON + timedelta(seconds=60)
    assert fail(lockout, "admin", HOME, times=5, now=later) == 1
    assert begin(lockout, "admin", HOME, now=later).wait_s == 120


def test_made_up_names_do_not_evict_a_count():
    """Failures with 25,000 other names, from anywhere, leave those of `admin` counted."""
    lockout = Lockout()
    fail(lockout, "admin", HOME, times=5)
    for i in range(25_000):
        fail(lockout, f"made-up-{i}", f"198.18.{i // 250 % 250}.{i % 250}", exists=False)

    assert fail(lockout, "admin", HOME, times=5) == 0


def test_an_ipv6_network_counts_as_one():
    """A /64 has 2^64 addresses, and gets five guesses."""
    lockout = Lockout()

    assert sum(fail(lockout, "admin", f"2001:db8::{i:x}") for i in range(1, 200)) == 5
    assert fail(lockout, "admin", "2001:db8:0:1::1") == 1


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("place", ["198.18.{}.{}", "2001:db8:{:x}:{:x}::1"])
def test_many_networks_share_a_count_by_name(exists, place):
    """Fifty guesses of a name's password, from any number of networks of either kind, whether or not the operator exists."""
    lockout = Lockout()

    guesses = sum(
        fail(lockout, "admin", place.format(i // 250, i % 250), exists=exists) for i in range(2_000)
    )
    assert guesses == 50


def test_a_known_network_is_limited_only_by_its_own_failures():
    """Guesses elsewhere, and with made-up names in the same network, do not delay an operator in a known network."""
    lockout = Lockout()
    for i in range(100):
        fail(lockout, "admin", f"198.18.0.{i}")
    fail(lockout, "nobody", HOME, times=100, exists=False)

    assert sign_in(lockout, "admin", HOME, is_known_network=True)
    assert not sign_in(lockout, "admin", "203.0.113.5")


def test_a_marked_device_is_limited_only_by_its_own_failures():
    """Not even guesses for the same name from the same network delay a marked device."""
    lockout = Lockout()
    fail(lockout, "admin", HOME, times=100)
    for i in range(100):
        fail(lockout, "admin", f"198.18.0.{i}")
    assert not sign_in(lockout, "admin", HOME, is_known_network=True)

    assert sign_in(lockout, "admin", HOME, device="laptop")


def test_a_stolen_mark_is_worth_five_guesses():
    """The count belongs to the mark, in any number of networks; after that, its thief is an unknown caller."""
    lockout = Lockout()
    fail(lockout, "admin", HOME, times=5)
    for i in range(100):
        fail(lockout, "admin", f"203.0.113.{i}")

    assert sum(fail(lockout, "admin", f"198.18.0.{i}", device="stolen") for i in range(200)) == 5


def test_a_stolen_mark_gets_no_more_guesses_after_its_owner_signs_in():
    """The owner's sign-ins forgive the owner's own mistakes, in the owner's network, not the thief's failures."""
    lockout = Lockout()
    for i in range(60):
        fail(lockout, "admin", f"203.0.113.{i}")
    guesses = 0
    for _ in range(20):
        guesses += fail(lockout, "admin", "198.18.0.1", times=3, device="laptop")
        sign_in(lockout, "admin", HOME, device="laptop", is_known_network=True)

    assert guesses == 5


def test_the_mistakes_of_the_owner_do_not_use_up_the_mark():
    """Four mistyped passwords before each sign-in, again and again, leave the mark valid."""
    lockout = Lockout()
    for _ in range(10):
        assert fail(lockout, "admin", HOME, times=4, device="laptop") == 4
        assert sign_in(lockout, "admin", HOME, device="laptop")


def test_a_mark_used_up_by_its_owner_is_valid_again_after_a_sign_in():
    """After five mistakes and the right password from a known network, the mark is valid elsewhere too."""
    lockout = Lockout()
    fail(lockout, "admin", HOME, times=5, device="laptop")
    later = NOON + timedelta(minutes=2)
    assert sign_in(lockout, "admin", HOME, now=later, device="laptop", is_known_network=True)
    for i in range(60):
        fail(lockout, "admin", f"203.0.113.{i}", now=later)

    assert sign_in(lockout, "admin", "198.18.0.1", now=later, device="laptop")


def guesses_in(seconds, every_s, attempt):
    """Return how many guesses are checked if there is one every so many seconds."""
    return sum(attempt(NOON + timedelta(seconds=second)) for second in range(0, seconds, every_s))


def test_the_security_model_states_the_number_of_guesses():
    """The numbers per hour and day in docs/explanation/security-model.md are those of the code."""
    text = " ".join((ROOT / "docs" / "explanation" / "security-model.md").read_text(encoding="utf-8").split())
    hour, day = 3_600, 86_400
    lockout = Lockout()
    network = guesses_in(hour, 10, lambda now: fail(lockout, "admin", HOME, now=now))
    in_a_day = network + guesses_in(
        day - hour, 10, lambda now: fail(lockout, "admin", HOME, now=now + timedelta(hours=1))
    )
    lockout, addresses = Lockout(), itertools.cycle(f"198.18.{i // 250}.{i % 250}" for i in range(5_000))
    everywhere = guesses_in(hour, 1, lambda now: fail(lockout, "admin", next(addresses), now=now))
    lockout = Lockout()

    def with_mark(now):
        # Unknown callers use up their own guesses.
        for i in range(60):
            fail(lockout, "admin", f"203.0.113.{i}", now=now)
        return fail(lockout, "admin", HOME, now=now, device="stolen")

    mark = guesses_in(day, 60, with_mark)

    assert f"one network gets {network} guesses at a name in the first hour and {in_a_day} in a day" in text
    assert f"{everywhere} guesses at a name in the first hour" in text
    assert mark == 5
    assert "a stolen mark is worth five more guesses a day" in text


def test_a_thief_of_a_mark_does_not_lock_out_its_owner():
    """With a used-up mark, the operator can still sign in from a known network."""
    lockout = Lockout()
    fail(lockout, "admin", "198.18.0.1", times=20, device="laptop")

    assert sign_in(lockout, "admin", HOME, device="laptop", is_known_network=True)


def test_failures_with_a_mark_count_for_the_name_too():
    """Ten stolen marks do not allow more guesses from unmarked devices than there would be without them."""
    lockout = Lockout()
    marked = sum(fail(lockout, "admin", HOME, times=9, device=f"stolen-{i}") for i in range(10))

    assert marked == 50
    assert sum(fail(lockout, "admin", f"198.18.0.{i}") for i in range(100)) == 0


def test_a_sign_in_from_a_marked_device_does_not_reset_the_network():
    """An attacker behind the operator's own router gets no new guesses whenever the operator signs in."""
    lockout = Lockout()
    guesses = 0
    for _ in range(10):
        guesses += fail(lockout, "admin", HOME, times=4)
        assert sign_in(lockout, "admin", HOME, device="laptop")

    assert guesses == 5


def test_failures_are_forgotten_after_an_hour():
    """Four mistyped passwords today and one next week lock out no operator."""
    lockout = Lockout()
    fail(lockout, "admin", HOME, times=4)
    later = NOON + timedelta(hours=1)

    assert fail(lockout, "admin", HOME, times=9, now=later) == 5


def test_concurrent_guesses_count_before_they_are_checked():
    """Of a hundred passwords sent at once, five are checked; also with a mark."""
    lockout = Lockout()
    attempts = [begin(lockout, "admin", HOME) for _ in range(100)]
    marked = [begin(lockout, "ada", HOME, device="laptop") for _ in range(100)]

    assert sum(not attempt.wait_s for attempt in attempts) == 5
    assert sum(not attempt.wait_s for attempt in marked) == 5


def test_concurrent_right_passwords_lock_nothing():
    """Beyond five at once, the wait is a second, and no failure is counted."""
    lockout = Lockout()
    attempts = [begin(lockout, "admin", HOME) for _ in range(6)]
    assert attempts[5].wait_s == 1
    for attempt in attempts[:5]:
        lockout.succeeded(attempt, now=NOON)
        lockout.end(attempt)

    assert sign_in(lockout, "admin", HOME)
    assert not len(lockout._names[True])


def test_an_unlock_forgets_earlier_failures():
    """Of the name, of its networks and devices; counting then starts again."""
    lockout = Lockout(unlocks={"admin": 3})
    fail(lockout, "admin", HOME, times=9, unlocks=3)
    for i in range(40):
        fail(lockout, f"made-up-{i}", HOME, exists=False)
    fail(lockout, "admin", "203.0.113.1", times=9, device="laptop", unlocks=3)
    assert not sign_in(lockout, "admin", HOME, unlocks=3)

    assert fail(lockout, "admin", HOME, times=99, unlocks=4) == 5
    assert fail(lockout, "admin", "203.0.113.1", times=99, device="laptop", unlocks=4) == 5
    assert fail(lockout, "ada", HOME, times=9) == 0


def test_an_unlock_takes_effect_once():
    """The number at startup forgives nothing, and neither does the same number again."""
    lockout = Lockout(unlocks={"admin": 3})

    assert sum(fail(lockout, "admin", HOME, times=9, unlocks=3) for _ in range(9)) == 5


def test_an_unlock_forgets_failures_counted_by_a_peer():
    """Failures received before the first attempt here are forgotten by a later unlock."""
    here, there = Lockout(), Lockout(is_shared=True)
    fail(there, "admin", HOME, times=5)
    for event in there.take_unpublished():
        here.receive(event, now=NOON)
    assert begin(here, "admin", HOME).wait_s == 60

    assert sign_in(here, "admin", HOME, unlocks=1)


def test_a_mark_gets_five_guesses_at_all_servers_together():
    """Failures with a mark at one Server count at the others."""
    here, there = Lockout(is_shared=True), Lockout(is_shared=True)
    fail(there, "admin", "198.18.0.1", times=5, device="stolen")
    for i in range(60):
        fail(here, "admin", f"203.0.113.{i}")
    for event in there.take_unpublished():
        here.receive(event, now=NOON)

    assert fail(here, "admin", HOME, times=5, device="stolen") == 0


async def test_of_a_flood_of_passwords_five_are_checked(server):
    """Of twenty wrong passwords sent at once, five are answered as wrong, and the others are not checked."""
    answers = await asyncio.gather(*(server.http.post("/api/login", json=WRONG) for _ in range(20)))

    assert sorted({a.status_code for a in answers}) == [401, 429]
    assert sum(a.status_code == 401 for a in answers) <= 5


async def flood(server, *, times=60):
    """Guess the password of `admin` from many networks until the name is locked for unknown callers."""
    for i in range(times):
        async with server.from_address(f"198.18.0.{i}") as unknown_caller:
            await unknown_caller.post("/api/login", json=WRONG)
    async with server.from_address("203.0.113.9") as elsewhere:
        assert (await elsewhere.post("/api/login", json=RIGHT)).status_code == 429


@pytest.mark.parametrize(("days", "status"), [(89, 200), (90, 429)])
async def test_a_network_is_known_for_90_days(opened, days, status):
    """An operator who signed out can sign in from there during a flood, also after a restart of the Server."""
    clock = FakeClock()
    async with opened(clock) as server:
        session = await server.sign_in()
        await server.http.post("/api/logout", headers=session)
    clock.forward(days=days)
    async with opened(clock) as server:
        await flood(server)
        assert (await server.http.post("/api/login", json=RIGHT)).status_code == status


async def test_a_network_is_known_for_one_operator(server, admin):
    """The sign-in of one operator does not make the network known for another."""
    body = {"name": "ada", "role": "viewer", "password": "ada's long password"}
    assert (await server.http.post("/api/operators", json=body, headers=admin)).status_code == 201
    for i in range(60):
        async with server.from_address(f"198.18.0.{i}") as unknown_caller:
            await unknown_caller.post("/api/login", json={"username": "ada", "password": "wrong wrong wrong"})

    right = {"username": "ada", "password": "ada's long password"}
    assert (await server.http.post("/api/login", json=right)).status_code == 429


async def test_known_networks_cannot_be_read_from_the_database(server, admin, tmp_path):
    """They are stored as keyed hashes: the table has no address, and no unkeyed hash of one."""
    from lyftdata.store.schema import known_networks

    rows = await server.services.store.read(lambda conn: conn.execute(known_networks.select()).all())

    assert [(row.operator, len(row.digest)) for row in rows] == [("admin", 16)]
    assert "127.0.0.1" not in str(rows)


async def test_the_known_networks_of_an_operator_are_limited(opened):
    """Beyond a hundred, the least recently used one is dropped."""
    clock = FakeClock()
    from lyftdata.store.schema import known_networks as table
    from lyftdata.store.tables import known_networks

    async with opened(clock) as server:
        for i in range(130):
            clock.forward(seconds=1)
            digest = i.to_bytes(16, "big")
            await server.services.store.write(
                lambda tx, digest=digest: known_networks.remember_network(tx, "admin", digest, now=clock())
            )
        rows = await server.services.store.read(lambda conn: conn.execute(table.select()).all())

    assert sorted(int.from_bytes(row.digest, "big") for row in rows) == list(range(30, 130))


async def signed_in(client, **body):
    """Sign in by the API; return the device mark."""
    answer = await client.post("/api/login", json=RIGHT | body)
    assert answer.status_code == 200, answer.text
    return answer.json()["device"]


async def test_a_mark_lets_an_operator_sign_in_despite_guesses_from_the_same_address(server):
    """Behind a shared address (a router, or a proxy that is not configured) five guesses lock out all but marked devices."""
    mark = await signed_in(server.http)
    for _ in range(9):
        await server.http.post("/api/login", json=WRONG)
    assert (await server.http.post("/api/login", json=RIGHT)).status_code == 429

    assert await signed_in(server.http, device=mark)


async def test_a_mark_does_not_authenticate(server):
    """A wrong password with a mark is wrong, five times; and a mark is not a session."""
    mark = await signed_in(server.http)
    await flood(server)
    async with server.from_address("203.0.113.77") as elsewhere:
        answers = [await elsewhere.post("/api/login", json=WRONG | {"device": mark}) for _ in range(9)]
        assert [a.status_code for a in answers] == [401] * 5 + [429] * 4
        as_session = await elsewhere.get("/api/whoami", headers={"Authorization": f"Bearer {mark}"})

    assert as_session.status_code == 401


@pytest.mark.parametrize(
    "forge",
    [
        lambda _: "",
        lambda mark: mark[:-1] + ("A" if mark[-1] != "A" else "B"),
        lambda mark: mark.replace(".", ".9", 1),
        lambda mark: "lyftdata_device_x" + mark.removeprefix("lyftdata_device_"),
        lambda mark: mark.rpartition(".")[0],
        lambda mark: mark + ".",
        lambda _: "lyftdata_device_a.99999999999.b",
        lambda _: "ü" * 100,
        lambda _: "x" * 256,
    ],
)
async def test_a_forged_mark_is_rejected(server, forge):
    """Unless it was made by this Server for this operator, a mark is ignored."""
    mark = await signed_in(server.http)
    await flood(server)
    async with server.from_address("203.0.113.77") as elsewhere:
        assert (await elsewhere.post("/api/login", json=RIGHT | {"device": forge(mark)})).status_code == 429
        assert await signed_in(elsewhere, device=mark)


async def test_a_mark_with_control_characters_is_rejected(server):
    """The password sent with it is not checked, and no guess is counted."""
    await flood(server)
    async with server.from_address("203.0.113.77") as elsewhere:
        answer = await elsewhere.post("/api/login", json=RIGHT | {"device": "\x00.."})

    assert (answer.status_code, answer.json()["field"]) == (422, "device")


async def test_a_mark_belongs_to_one_operator(server, admin):
    """The mark of Ada's browser is not valid for admin."""
    body = {"name": "ada", "role": "viewer", "password": "ada's long password"}
    await server.http.post("/api/operators", json=body, headers=admin)
    right = {"username": "ada", "password": "ada's long password"}
    mark = (await server.http.post("/api/login", json=right)).json()["device"]
    await flood(server)

    async with server.from_address("203.0.113.77") as elsewhere:
        assert (await elsewhere.post("/api/login", json=RIGHT | {"device": mark})).status_code == 429


async def test_a_mark_is_valid_for_90_days_after_the_last_sign_in(opened):
    """A sign-in renews the mark with the same ID, so that frequent sign-ins do not allow more guesses."""
    clock = FakeClock()
    async with opened(clock) as server:
        mark = await signed_in(server.http)
        clock.forward(days=89)
        renewed = await signed_in(server.http, device=mark)
        assert renewed.split(".")[0] == mark.split(".")[0]
        clock.forward(days=2)
        await flood(server)
        async with server.from_address("203.0.113.77") as elsewhere:
            assert (await elsewhere.post("/api/login", json=RIGHT | {"device": mark})).status_code == 429
            assert await signed_in(elsewhere, device=renewed)


async def test_a_new_password_invalidates_all_marks(server, admin):
    """Whether reset by an admin or changed by the operator; the device that changed it gets a new mark."""
    old = await signed_in(server.http)
    change = {"current_password": PASSWORD, "new_password": "another long password", "device": old}
    changed = await server.http.post("/api/me/password", json=change, headers=admin)
    assert changed.status_code == 204
    new = changed.headers["lyftdata-device"]
    right = {"username": "admin", "password": "another long password"}
    for i in range(60):
        async with server.from_address(f"198.18.0.{i}") as unknown_caller:
            await unknown_caller.post("/api/login", json=WRONG)

    async with server.from_address("203.0.113.77") as elsewhere:
        assert (await elsewhere.post("/api/login", json=right | {"device": old})).status_code == 429
        answer = await elsewhere.post("/api/login", json=right | {"device": new})
    assert answer.status_code == 200
    session = {"Authorization": f"Bearer {answer.json()['token']}"}
    reset = {"password": "a third long password"}
    assert (await server.http.patch("/api/operators/admin", json=reset, headers=session)).status_code == 200
    for i in range(60):
        async with server.from_address(f"198.18.1.{i}") as unknown_caller:
            await unknown_caller.post("/api/login", json=WRONG)
    async with server.from_address("203.0.113.78") as elsewhere:
        right = {"username": "admin", "password": "a third long password"}
        assert (await elsewhere.post("/api/login", json=right | {"device": new})).status_code == 429


async def test_a_reset_password_can_be_used_at_once(server, admin):
    """The failures before the reset do not delay an operator who was locked out."""
    body = {"name": "ada", "role": "viewer", "password": "ada's long password"}
    await server.http.post("/api/operators", json=body, headers=admin)
    for i in range(60):
        async with server.from_address(f"198.18.0.{i}") as unknown_caller:
            await unknown_caller.post("/api/login", json={"username": "ada", "password": "wrong wrong wrong"})
    right = {"username": "ada", "password": "ada's new password"}
    async with server.from_address("203.0.113.9") as from_known_network:
        assert (await from_known_network.post("/api/login", json=right)).status_code == 429
        await server.http.patch("/api/operators/ada", json={"password": right["password"]}, headers=admin)
        assert (await from_known_network.post("/api/login", json=right)).status_code == 200


async def test_checking_a_new_password_counts_wrong_current_passwords(server, admin):
    """Like a change of the password does; when locked, the answer to the right one is the same."""
    bad = {"current_password": "wrong wrong wrong", "new_password": "another long password"}
    paths = ["/api/me/password/check", "/api/me/password"] * 30
    statuses = [(await server.http.post(path, json=bad, headers=admin)).status_code for path in paths]
    assert statuses[:4] == [401] * 4
    assert statuses[-2:] == [429] * 2

    for body in (bad, bad | {"current_password": PASSWORD}, {"current_password": PASSWORD}):
        answer = await server.http.post("/api/me/password/check", json=body, headers=admin)
        assert (answer.status_code, answer.json()["code"]) == (429, "login_locked")


async def test_guesses_do_not_keep_a_signed_in_operator_from_changing_the_password(server, admin):
    """An open session has its own count; guesses with a stolen session are slowed down all the same."""
    for _ in range(9):
        await server.http.post("/api/login", json=WRONG)
    await flood(server)

    bad = {"current_password": "wrong wrong wrong", "new_password": "another long password"}
    answers = [await server.http.post("/api/me/password", json=bad, headers=admin) for _ in range(4)]
    assert [a.status_code for a in answers] == [401] * 4
    good = bad | {"current_password": PASSWORD}
    assert (await server.http.post("/api/me/password", json=good, headers=admin)).status_code == 204


async def test_a_browser_keeps_its_mark_after_signing_out(server):
    """Scripts cannot read the cookie, it is sent only to this site, and it still works after the session cookie is gone."""
    async with server.from_address(HOME) as http:
        browser = Browser(http)
        answer = await browser.sign_in("admin", PASSWORD)
        (cookie,) = (c for c in answer.headers.get_list("set-cookie") if "_device_" in c)
        assert cookie.startswith("__Host-lyftdata_device_")
        assert {"HttpOnly", "Secure", "SameSite=strict", "Path=/", "Max-Age=7776000"} <= set(
            cookie.split("; ")
        )
        http.cookies.delete("__Host-lyftdata")
        for _ in range(9):
            async with server.from_address(HOME) as neighbour:
                await neighbour.post("/api/login", json=WRONG)
        async with server.from_address(HOME) as neighbour:
            assert (await Browser(neighbour).sign_in("admin", PASSWORD)).status_code == 429

        assert (await browser.sign_in("admin", PASSWORD)).status_code == 303


async def test_changing_the_password_renews_the_mark_of_that_browser(server):
    """The forced change at the first sign-in does not leave the browser without a mark."""
    async with server.from_address(HOME) as http:
        browser = Browser(http)
        await browser.sign_in("admin", PASSWORD)
        await browser.learn_token()
        changed = await browser.post(
            "/account/password",
            current=PASSWORD,
            new="another long password",
            again="another long password",
        )
        assert changed.status_code == 303
        for _ in range(9):
            async with server.from_address(HOME) as neighbour:
                await neighbour.post("/api/login", json=WRONG)

        assert (await browser.sign_in("admin", "another long password")).status_code == 303


async def test_operators_who_share_a_browser_each_have_a_mark(server, admin):
    """Signing in as another operator does not replace the first one's mark."""
    body = {"name": "ada", "role": "viewer", "password": "ada's long password"}
    await server.http.post("/api/operators", json=body, headers=admin)
    async with server.from_address(HOME) as http:
        browser = Browser(http)
        for name, password in (("admin", PASSWORD), ("ada", "ada's long password")):
            assert (await browser.sign_in(name, password)).status_code == 303
        for _ in range(9):
            async with server.from_address(HOME) as neighbour:
                await neighbour.post("/api/login", json=WRONG)

        assert (await browser.sign_in("admin", PASSWORD)).status_code == 303


async def test_a_flood_of_unknown_callers_does_not_delay_known_operators(server, admin, monkeypatch):
    """However many passwords wait to be checked: operators in a known network have their own queue."""
    passwords = server.services.password_check._passwords
    hold = asyncio.Event()

    async def looking(*_args):
        await hold.wait()
        return False

    real = asyncio.to_thread
    monkeypatch.setattr(asyncio, "to_thread", looking)
    flood = [asyncio.create_task(passwords.matches(Secret("x"), None)) for _ in range(40)]
    await asyncio.sleep(0)
    monkeypatch.setattr(asyncio, "to_thread", real)
    async with server.from_address("192.0.2.77") as elsewhere:
        busy = await elsewhere.post("/api/login", json=RIGHT)

    assert (await server.sign_in())["Authorization"]

    assert (busy.status_code, busy.json()["code"]) == (503, "too_busy")
    hold.set()
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    assert {type(outcome).__name__ for outcome in outcomes} == {"bool", "TooBusyError"}


async def test_an_unlock_with_an_address_survives_continued_guesses(server, tmp_path):
    """The network given to `admin unlock --from` is known: later guesses from elsewhere do not lock it out."""
    place = read_state_location({"LYFTDATA_STAGING_DIR": str(tmp_path / "staging")})
    await flood(server)

    await asyncio.to_thread(unlock, place, "admin", address="203.0.113.9")
    for i in range(60):
        async with server.from_address(f"198.18.1.{i}") as unknown_caller:
            await unknown_caller.post("/api/login", json=WRONG)

    async with server.from_address("203.0.113.10") as elsewhere:
        assert (await elsewhere.post("/api/login", json=RIGHT)).status_code == 429
    async with server.from_address("203.0.113.9") as named:
        assert (await named.post("/api/login", json=RIGHT)).status_code == 200
    assert (await server.services.store.verify_audit()).ok
