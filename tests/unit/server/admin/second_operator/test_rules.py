"""The rules: one operator can turn them on, relaxing them takes two; and two who can confirm must remain."""

from datetime import timedelta

import msgspec
import pytest
from tests.second_operator import EVERY_ACTION, add_operator, colleagues_of, let_keep_passwords, turn_on

from lyftdata.store.tables import operators

PATH = "/api/second-operator"


async def put(server, headers, *actions, above=1):
    """Set the rules; return the answer."""
    body = {"actions": list(actions), "above": above}
    return await server.http.put(PATH, json=body, headers=headers)


async def test_the_rules_need_two_operators_who_can_confirm(server, admin, unhurried):
    """With fewer they cannot be turned on: viewers, and admins limited to a team, do not count."""
    await add_operator(server, admin, "vera", role="viewer")
    await add_operator(server, admin, "tess", scope={"team": "etl"})
    refused = await put(server, admin, "delete_workers")
    assert (refused.status_code, refused.json()["code"]) == (409, "second_operator_needed")

    await add_operator(server, admin, "ben")
    answer = await put(server, admin, "delete_workers")

    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["enabled"], shown["set_by"], shown["able"]) == (True, "operator:admin", ["admin", "ben"])
    assert [one["action"] for one in shown["actions"] if one["required"]] == [
        "delete_workers",
        "manage_operators",
        "relax_rules",
    ]


async def test_an_operator_with_an_expired_emergency_password_does_not_count(server, admin, unhurried):
    """They could not confirm anything."""
    await add_operator(server, admin, "ben")
    record = await server.services.operators.get("ben")
    over = server.clock() - timedelta(seconds=1)
    await server.services.store.write(
        lambda tx: operators.replace_operator(tx, msgspec.structs.replace(record, password_expires_at=over))
    )

    assert (await put(server, admin, "delete_workers")).json()["code"] == "second_operator_needed"


@pytest.mark.parametrize(
    ("actions", "above", "needs_two"),
    [
        (EVERY_ACTION, 5, False),
        (EVERY_ACTION, 4, False),
        (EVERY_ACTION, 6, True),
        (["delete_workers"], 5, True),
        ([], 5, True),
    ],
)
async def test_relaxing_the_rules_needs_confirmation(server, unhurried, actions, above, needs_two):
    """Removing an action, raising the number, or turning the rules off."""
    pair = await colleagues_of(server, above=5)
    before = (await pair.call("GET", PATH)).json()

    answer = await put(server, pair.admin, *actions, above=above)

    if not needs_two:
        assert answer.status_code == 200
        return
    assert answer.json()["code"] == "second_operator_required"
    assert (await pair.call("GET", PATH)).json() == before
    assert (await pair.confirm(answer.json()["request_id"])).status_code == 200
    after = (await pair.call("GET", PATH)).json()
    assert (after["enabled"], after["above"] if actions else 10) == (bool(actions), above if actions else 10)


async def test_rules_that_were_changed_since_are_not_replaced(server, unhurried):
    """Relaxing other rules than the ones shown would be another effect."""
    pair = await colleagues_of(server, ["delete_workers"], above=5)
    request_id = await pair.ask("PUT", PATH, {"actions": [], "above": 5})
    await turn_on(server, pair.ben, EVERY_ACTION, above=5)

    answer = await pair.confirm(request_id)

    assert (answer.status_code, answer.json()["code"]) == (409, "effect_changed")


@pytest.mark.parametrize(
    ("method", "body"),
    [("DELETE", None), ("PATCH", {"role": "viewer"}), ("PATCH", {"scope": {"team": "etl"}})],
)
async def test_two_operators_who_can_confirm_must_remain(server, unhurried, method, body):
    """Deadlock: of two admins neither can be deleted, demoted or limited; of three, one can."""
    pair = await colleagues_of(server)
    refused = await pair.call(method, "/api/operators/ben", body)
    assert (refused.status_code, refused.json()["code"]) == (409, "second_operator_needed")

    carol = await pair.ask("POST", "/api/operators", {"name": "carol", "role": "admin"})
    assert (await pair.confirm(carol)).status_code == 200
    still = await pair.call(method, "/api/operators/ben", body)
    # Ben has seen her first password, and could use both accounts.
    assert still.json()["code"] == "second_operator_needed"
    await server.services.store.write(let_keep_passwords)

    assert (await pair.call(method, "/api/operators/ben", body)).status_code in {200, 204}
    third = await pair.call(method, "/api/operators/carol", body)
    assert third.json()["code"] == "second_operator_needed"


async def test_operators_who_cannot_confirm_can_be_deleted(server, unhurried):
    """A viewer, or an admin limited to a team, whatever the number of admins."""
    admin = await server.sign_in()
    await add_operator(server, admin, "vera", role="viewer")
    await add_operator(server, admin, "tess", scope={"team": "etl"})
    pair = await colleagues_of(server)

    for name in ("vera", "tess"):
        assert (await pair.call("DELETE", f"/api/operators/{name}")).status_code == 204
