"""Every route, and whether a second operator must confirm it: none is missing, and none of these works without the confirmation."""

import ast
from pathlib import Path
from typing import Any

import pytest
from tests.authenticator import Authenticator
from tests.deployment import PASSWORD
from tests.second_operator import add_operator, add_workers, colleagues_of, enabled_ids, worker_ids
from tests.unit.server.admin.test_passkeys import actor_of, register
from tests.unit.server.api.admin.test_access import OPERATIONS

import lyftdata
from lyftdata.core.change_requests import Operation
from lyftdata.store.tables import change_requests, fleet_policy, signing_keys

# Every route that a second operator may have to confirm, with a body and the operation that it requests.
NEED_CONFIRMATION: list[tuple[str, str, Any, str]] = [
    ("DELETE", "/api/workers/w-1", None, "change_workers"),
    ("PATCH", "/api/workers/w-1", {"enabled": False}, "change_workers"),
    ("POST", "/api/workers/changes", {"action": "delete", "q": "id:w-", "expect": 2}, "change_workers"),
    ("POST", "/api/workers/changes", {"action": "disable", "q": "id:w-", "expect": 2}, "change_workers"),
    ("POST", "/api/workers/changes/NUMBER/undo", None, "change_workers"),
    (
        "POST",
        "/api/incident/cut-offs",
        {"subject": "worker:w-1", "action": "delete", "workers": "all", "revoke_key": False},
        "cut_off",
    ),
    (
        "POST",
        "/api/incident/cut-offs",
        {"subject": "worker:w-1", "action": "disable", "workers": ["w-1"], "revoke_key": False},
        "cut_off",
    ),
    ("POST", "/api/signing-keys/rotate", {"now": True, "withdraw": ["KID"]}, "withdraw_signing_keys"),
    ("PUT", "/api/fleet/policy", {"refuse_below": "1.2"}, "set_fleet_policy"),
    ("POST", "/api/operators", {"name": "eve", "role": "viewer"}, "add_operator"),
    ("PATCH", "/api/operators/vera", {"role": "admin"}, "set_role"),
    ("PATCH", "/api/operators/tess", {"no_scope": True}, "set_scope"),
    ("PATCH", "/api/operators/ben", {"reset_password": True}, "reset_password"),
    ("DELETE", "/api/operators/carol/second-factor", None, "reset_second_factor"),
    ("DELETE", "/api/operators/carol/passkeys/PASSKEY", None, "remove_passkey"),
    ("PUT", "/api/second-operator", {"actions": []}, "change_rules"),
]
# Every other route that changes something, and why one operator is enough.
NEED_ONE_OPERATOR = {
    "signs somebody in or out, or is about one's own account": [
        ("POST", "/api/login"),
        ("POST", "/api/login/device"),
        ("POST", "/api/login/device/token"),
        ("POST", "/api/logout"),
        ("POST", "/api/logout-everywhere"),
        ("POST", "/api/me/password"),
        ("POST", "/api/me/password/check"),
        ("POST", "/api/me/reauthenticate"),
        ("POST", "/api/me/second-factor/totp"),
        ("POST", "/api/me/second-factor/totp/confirm"),
        ("POST", "/api/me/second-factor/recovery-codes"),
        ("DELETE", "/api/me/second-factor"),
        ("DELETE", "/api/me/second-factor/totp"),
        ("DELETE", "/api/me/passkeys/{passkey_id}"),
    ],
    "takes access away from an operator, or acts for the one who asks": [
        ("DELETE", "/api/operators/{name}"),
        ("DELETE", "/api/operators/{name}/sessions"),
        ("DELETE", "/api/admin-sessions/{session_id}"),
        ("POST", "/api/api-tokens"),
        ("POST", "/api/api-tokens/{name}/revoke"),
    ],
    "adds or lets in Workers, or can be undone": [
        ("POST", "/api/workers"),
        ("POST", "/api/workers/batch"),
        ("POST", "/api/workers/rotate-keys"),
        ("POST", "/api/workers/match"),
        ("POST", "/api/workers/{worker_id}/copies/{reference}"),
        ("POST", "/api/enrollment/approve"),
        ("POST", "/api/enrollment/deny"),
    ],
    "is about keys and resources, which are rotated and revoked where one leaked": [
        ("POST", "/api/api-keys"),
        ("POST", "/api/api-keys/{name}/revoke"),
        ("POST", "/api/api-keys/{name}/allow"),
        ("POST", "/api/api-keys/{name}/rotate"),
        ("POST", "/api/api-keys/{name}/end-previous"),
        ("POST", "/api/enrollment/keys"),
        ("POST", "/api/enrollment/keys/{name}/revoke"),
        ("POST", "/api/enrollment/keys/{name}/rotate"),
        ("POST", "/api/enrollment/keys/{name}/end-previous"),
        ("POST", "/api/enrollment/keys/{name}/rehearse"),
        ("POST", "/api/resources"),
        ("PATCH", "/api/resources/{name}"),
        ("DELETE", "/api/resources/{name}"),
        ("POST", "/api/resources/{name}/key"),
    ],
    "ends a policy, tries one, or is about events and refusals": [
        ("DELETE", "/api/fleet/policy"),
        ("POST", "/api/fleet/policy/preview"),
        ("POST", "/api/refusals/ignore"),
        ("POST", "/api/attention/{alert_id}/snooze"),
        ("POST", "/api/attention/{alert_id}/unsnooze"),
        ("POST", "/api/refusals/reopen"),
        ("POST", "/api/event-destinations"),
        ("PATCH", "/api/event-destinations/{name}"),
        ("DELETE", "/api/event-destinations/{name}"),
        ("POST", "/api/event-destinations/{name}/test"),
        ("POST", "/api/event-destinations/{name}/secret"),
        ("POST", "/api/event-destinations/{name}/skip"),
    ],
    "decides about a request": [
        ("POST", "/api/change-requests/{request_id}/confirm"),
        ("POST", "/api/change-requests/{request_id}/decline"),
        ("POST", "/api/change-requests/{request_id}/withdraw"),
        ("POST", "/api/change-requests/{request_id}/reason"),
    ],
}
# The functions that make such changes in the database, and the modules that may call them: those that ask the gate, and those that act without an operator.
CALLERS = {
    "delete_workers": {"worker_changes", "incident_response", "ephemeral_workers", "repeated_registrations"},
    "insert_operator": {"operators", "accounts", "operator_recovery"},
    "replace_operator": {"operator_passwords", "operator_permissions", "accounts", "operator_recovery"},
    "remove_all_factors": {"second_factors"},
    "delete_passkey": {"passkeys"},
    "write_policy": {"fleet_policy"},
    "write_rules": {"rules"},
    "clear_rules": {"rules", "second_operator_recovery"},
    "decide_request": {"gate", "requests"},
    "delete_signing_key": {"signing_keys"},
}


@pytest.fixture
async def pair(server, unhurried):
    """Return two admins, and the operators and Workers that the routes are about."""
    admin = await server.sign_in()
    carol = await actor_of(server, await add_operator(server, admin, "carol"))
    await register(server, carol, Authenticator())
    await add_operator(server, admin, "vera", role="viewer")
    await add_operator(server, admin, "tess", scope={"team": "etl"})
    await add_workers(server, "w-1", "w-2")
    await add_workers(server, "off-1", enabled=False)
    made = await colleagues_of(server, above=0)
    # The change that one of the routes undoes.
    enabled = await made.call("POST", "/api/workers/changes", {"action": "enable", "q": "off-1", "expect": 1})
    made.number = enabled.json()["number"]
    return made


def test_every_route_is_classified():
    """A new route that changes something must be added above: as one that needs confirmation, or with the reason why not."""
    changing = {(method, path) for method, path in OPERATIONS if method != "GET"}
    confirmed = {_template(method, path) for method, path, _, _ in NEED_CONFIRMATION}
    by_one = {route for routes in NEED_ONE_OPERATOR.values() for route in routes}

    assert confirmed | by_one == changing
    assert not confirmed & by_one


def test_every_operation_is_requested_by_a_route():
    """Every kind of operation is in the table of routes."""
    kinds = {kind.__struct_config__.tag for kind in Operation.__args__}

    assert {kind for *_, kind in NEED_CONFIRMATION} == kinds


async def test_no_route_works_without_confirmation(pair, subtests):
    """If every action is protected, each route changes nothing and makes a request."""
    server = pair.server
    (kid,) = [record.kid for record in await server.services.signing_keys.read_all()]
    (passkey,) = await server.services.passkeys.list("carol")
    before = await _state(server)
    for method, path, body, kind in NEED_CONFIRMATION:
        if body == {"now": True, "withdraw": ["KID"]}:
            body = {"now": True, "withdraw": [kid]}  # noqa: PLW2901 - only known here
        request_id = await pair.ask(
            method, path.replace("PASSKEY", passkey.id).replace("NUMBER", str(pair.number)), body
        )

        with subtests.test(f"{method} {path} {body}"):
            record = await server.services.store.read(
                lambda conn, known=request_id: change_requests.find_request(conn, known)
            )
            assert record.asked.__struct_config__.tag == kind
            assert await _state(server) == before


async def test_a_request_cannot_contain_a_password_chosen_by_the_requester(pair):
    """It would be stored, and known to the one person who must not have both accounts."""
    for method, path, body in (
        ("POST", "/api/operators", {"name": "eve", "role": "admin", "password": PASSWORD}),
        ("PATCH", "/api/operators/ben", {"password": PASSWORD}),
    ):
        answer = await pair.call(method, path, body)

        assert (answer.status_code, answer.json()["field"]) == (422, "password")


def test_only_known_modules_write_what_is_protected():
    """A module that is not in the table could bypass the gate."""
    found: dict[str, set[str]] = {name: set() for name in CALLERS}
    for path in Path(lyftdata.__file__).parent.joinpath("server").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in found:
                    found[name].add(path.stem)

    assert found == CALLERS


def _template(method, path):
    """Return the route that a path belongs to."""
    parts = path.split("/")
    return next(
        (method, route)
        for known, route in OPERATIONS
        if known == method
        and len(route.split("/")) == len(parts)
        and all(
            there == given or (there.startswith("{") and given in _NAMED)
            for there, given in zip(route.split("/"), parts, strict=True)
        )
    )


_NAMED = {"w-1", "vera", "tess", "ben", "carol", "PASSKEY", "NUMBER"}


async def _state(server):
    """Return everything that the routes above would change."""
    services = server.services
    return (
        worker_ids(server),
        enabled_ids(server),
        [(o.name, o.role, o.scope, o.password_hash) for o in await services.operators.list()],
        await services.second_factors.operators_with_factors(),
        await services.store.read(fleet_policy.find_policy),
        await services.store.read(signing_keys.all_signing_keys),
        (await services.second_operator_settings.show()).rules,
    )
