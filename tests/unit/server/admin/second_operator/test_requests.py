"""Requests to a second operator, and attempts to avoid the second operator."""

import asyncio
from datetime import timedelta

import msgspec
import pytest
from tests.deployment import PASSWORD
from tests.second_operator import (
    add_operator,
    add_workers,
    colleagues_of,
    enabled_ids,
    worker_ids,
)
from tests.unit.server.admin.test_passkeys import actor_of

from lyftdata.core.bulk_changes import BulkAction
from lyftdata.core.change_requests import AddOperator, ChangeRequestRecord, RequestState, encode_operation
from lyftdata.core.errors import NotSignedInError, SecondOperatorRequiredError
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.records import Role
from lyftdata.core.times import split_times
from lyftdata.server.admin.incident_response import Wanted
from lyftdata.server.admin.second_operator.gate import check_pending, get_request
from lyftdata.store.tables import change_requests

DELETE_ALL = ("POST", "/api/workers/changes", {"action": "delete", "q": "id:w-", "expect": 2})
ADD_EVE = ("POST", "/api/operators", {"name": "eve", "role": "admin"})


@pytest.fixture
async def pair(server, unhurried):
    """Return two admins, for whom every action is protected, and two Workers."""
    await add_workers(server, "w-1", "w-2")
    return await colleagues_of(server)


async def test_a_confirmed_request_is_carried_out(pair):
    """Nothing happens before; then everything, with both operators, reason and note in the audit log."""
    request_id = await pair.ask(*DELETE_ALL)
    await pair.call("POST", f"/api/change-requests/{request_id}/reason", {"reason": "rack 7 is gone"})
    assert worker_ids(pair.server) == ["w-1", "w-2"]

    answer = await pair.confirm(request_id, note="seen it")

    assert answer.status_code == 200, answer.text
    assert (answer.json()["request"]["state"], worker_ids(pair.server)) == ("confirmed", [])
    log = (await pair.call("GET", "/api/audit?limit=10")).json()["items"]
    by_action = {one["action"]: one for one in log}
    confirmed, deleted = by_action["change_request.confirmed"], by_action["worker.deleted"]
    assert (confirmed["actor"], deleted["actor"]) == ("operator:ben", "operator:admin")
    assert confirmed["details"]["statement"] == "Delete 2 Workers that were found by 'id:w-'."
    assert (confirmed["details"]["reason"], confirmed["details"]["note"]) == ("rack 7 is gone", "seen it")
    assert confirmed["details"]["requested_by"] == "operator:admin"
    assert deleted["details"] | {"request": request_id, "confirmed_by": "operator:ben"} == deleted["details"]


async def test_the_requester_learns_what_waits_and_who_can_confirm(pair):
    """The answer has the request, its effect, and who can confirm it; the same action again returns the same request."""
    first, second = [await pair.call(*DELETE_ALL) for _ in range(2)]

    body = first.json()
    assert (first.status_code, body["confirmers"]) == (409, ["ben"])
    assert first.headers["location"] == f"/api/change-requests/{body['request_id']}"
    assert "Delete 2 Workers" in body["detail"]
    assert body["request_id"] in body["hint"]
    assert second.json()["request_id"] == body["request_id"]
    assert (await pair.actions()).count("change_request.made") == 1


async def test_the_requester_cannot_confirm(pair):
    """Neither in another session nor with their own API token: it is the same person."""
    request_id = await pair.ask(*DELETE_ALL)
    elsewhere = await pair.server.sign_in()
    issued = await pair.call("POST", "/api/api-tokens", {"name": "self-confirm", "role": "admin"})
    token = {"Authorization": f"Bearer {issued.json()['token']}"}

    for headers in (pair.admin, elsewhere, token):
        answer = await pair.confirm(request_id, by=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    for decision in ("confirm", "decline"):
        path = f"/api/change-requests/{request_id}/{decision}"
        assert (await pair.call("POST", path, {})).status_code == 403

    assert (await pair.state(request_id), worker_ids(pair.server)) == ("pending", ["w-1", "w-2"])


async def test_an_operator_cannot_confirm_the_request_of_their_own_token(pair):
    """The reverse: a pipeline makes the request, and the operator whose token it uses is not a second person."""
    issued = await pair.call("POST", "/api/api-tokens", {"name": "ci-clean-up", "role": "admin"})
    token = {"Authorization": f"Bearer {issued.json()['token']}"}
    request_id = await pair.ask(*DELETE_ALL, by=token)

    assert (await pair.confirm(request_id, by=pair.admin)).status_code == 403
    assert (await pair.confirm(request_id)).status_code == 200
    deleted = next(
        one
        for one in (await pair.call("GET", "/api/audit")).json()["items"]
        if one["action"] == "worker.deleted"
    )
    assert deleted["actor"] == "api_token:ci-clean-up"


async def test_an_api_token_cannot_confirm(pair):
    """Only a person who has recently authenticated can."""
    request_id = await pair.ask(*DELETE_ALL)
    body = {"name": "bens-token", "role": "admin"}
    issued = await pair.call("POST", "/api/api-tokens", body, by=pair.ben)
    token = {"Authorization": f"Bearer {issued.json()['token']}"}

    assert (await pair.confirm(request_id, by=token)).status_code == 403
    pair.server.clock.forward(minutes=15)
    late = await pair.confirm(request_id)
    assert (late.status_code, late.json()["code"]) == (401, "reauthentication_required")
    assert worker_ids(pair.server) == ["w-1", "w-2"]


async def test_a_viewer_cannot_confirm(server, unhurried):
    """To confirm an action, an operator must be allowed to take it."""
    await add_workers(server, "w-1", "w-2")
    admin = await server.sign_in()
    vera = await add_operator(server, admin, "vera", role="viewer")
    pair = await colleagues_of(server)
    request_id = await pair.ask(*DELETE_ALL)

    assert (await pair.confirm(request_id, by=vera)).status_code == 403
    assert (await pair.call("GET", "/api/change-requests", by=vera)).json()["items"][0]["can_decide"] is False


async def test_a_request_is_carried_out_once(pair):
    """Replay: of concurrent confirmations one is carried out; a later one is refused as decided."""
    request_id = await pair.ask(*ADD_EVE)

    answers = await asyncio.gather(*(pair.confirm(request_id) for _ in range(3)))

    assert sorted(one.status_code for one in answers) == [200, 409, 409]
    again = await pair.confirm(request_id)
    assert (again.status_code, again.json()["code"]) == (409, "request_decided")
    assert (await pair.actions()).count("operator.created") == 3  # admin, ben, and eve once


async def test_a_request_expires(pair):
    """After 24 hours it cannot be confirmed; the audit log says so once."""
    request_id = await pair.ask(*DELETE_ALL)
    pair.server.clock.forward(hours=24)
    admin, ben = await pair.server.sign_in(), await pair.server.sign_in("ben")

    answer = await pair.confirm(request_id, by=ben)

    assert (answer.status_code, answer.json()["code"]) == (409, "request_expired")
    for _ in range(2):
        await pair.server.services.change_requests.expire()
    pair.admin = admin
    assert await pair.state(request_id) == "expired"
    assert (await pair.actions()).count("change_request.expired") == 1
    assert worker_ids(pair.server) == ["w-1", "w-2"]


async def test_a_request_can_be_confirmed_until_it_expires(pair):
    """Up to the last second."""
    request_id = await pair.ask(*DELETE_ALL)
    pair.server.clock.forward(hours=23, minutes=59, seconds=59)

    assert (await pair.confirm(request_id, by=await pair.server.sign_in("ben"))).status_code == 200


async def reset_password(pair):
    """Change the requester's password."""
    change = {"current_password": PASSWORD, "new_password": "xxx " + PASSWORD}
    assert (await pair.call("POST", "/api/me/password", change)).status_code == 204


async def end_sessions(pair):
    """End every session of the requester, as another operator."""
    assert (await pair.call("DELETE", "/api/operators/admin/sessions", by=pair.ben)).status_code == 204


async def end_one_session(pair):
    """End the session in which the request was made, as another operator."""
    sessions = (await pair.call("GET", "/api/admin-sessions", by=pair.ben)).json()["items"]
    for one in sessions:
        if one["operator"] == "admin":
            answer = await pair.call("DELETE", f"/api/admin-sessions/{one['id']}", by=pair.ben)
            assert answer.status_code == 204


async def demote(pair):
    """Make the requester a viewer."""
    answer = await pair.call("PATCH", "/api/operators/admin", {"role": "viewer"}, by=pair.ben)
    assert answer.status_code == 200, answer.text


async def limit(pair):
    """Limit the requester to a team."""
    body = {"scope": {"team": "etl"}}
    assert (await pair.call("PATCH", "/api/operators/admin", body, by=pair.ben)).status_code == 200


async def delete(pair):
    """Delete the requester."""
    assert (await pair.call("DELETE", "/api/operators/admin", by=pair.ben)).status_code == 204


@pytest.mark.parametrize("happens", [reset_password, end_sessions, end_one_session, demote, limit, delete])
async def test_a_request_is_void_once_the_account_changes(server, unhurried, happens):
    """Persistence: after an operator's account is recovered, nothing that a thief requested in their session is carried out."""
    await add_workers(server, "w-1", "w-2")
    await add_operator(server, await server.sign_in(), "carol")
    pair = await colleagues_of(server)
    request_id = await pair.ask(*DELETE_ALL)

    await happens(pair)
    answer = await pair.confirm(request_id)

    assert (answer.status_code, answer.json()["code"]) == (409, "request_void"), answer.text
    await server.services.change_requests.expire()
    shown = await pair.call("GET", f"/api/change-requests/{request_id}", by=pair.ben)
    assert (shown.json()["state"], worker_ids(server)) == ("void", ["w-1", "w-2"])
    log = (await pair.call("GET", "/api/audit?action=change_request.void", by=pair.ben)).json()["items"]
    assert [one["actor"] for one in log] == ["server"]


async def test_a_request_stays_void_if_the_requester_is_created_again(server, unhurried):
    """A new operator with the same name is another person."""
    await add_workers(server, "w-1", "w-2")
    await add_operator(server, await server.sign_in(), "carol")
    pair = await colleagues_of(server)
    request_id = await pair.ask(*DELETE_ALL)
    await delete(pair)
    carol = await server.sign_in("carol")
    again = await pair.ask("POST", "/api/operators", {"name": "admin", "role": "admin"}, by=carol)
    assert (await pair.confirm(again)).status_code == 200

    answer = await pair.confirm(request_id, by=carol)

    assert answer.json()["code"] == "request_void"


async def test_signing_out_does_not_void_a_request(pair):
    """An operator who goes home is still the requester."""
    request_id = await pair.ask(*DELETE_ALL)
    assert (await pair.call("POST", "/api/logout")).status_code == 204

    assert (await pair.confirm(request_id)).status_code == 200


async def test_a_request_of_a_revoked_token_is_void(pair):
    """Nothing that a leaked token requested is carried out after it was revoked."""
    issued = await pair.call("POST", "/api/api-tokens", {"name": "leaked-token", "role": "admin"})
    token = {"Authorization": f"Bearer {issued.json()['token']}"}
    request_id = await pair.ask(*DELETE_ALL, by=token)
    await pair.call("POST", "/api/api-tokens/leaked-token/revoke")

    assert (await pair.confirm(request_id)).json()["code"] == "request_void"


async def test_only_the_workers_of_the_request_are_deleted(pair):
    """They are fixed by ID: a Worker added since stays, and one deleted since is skipped."""
    server = pair.server
    await add_workers(server, "w-3")
    request_id = await pair.ask(
        "POST", "/api/workers/changes", {"action": "delete", "q": "id:w-", "expect": 3}
    )
    server.clock.forward(seconds=1)
    await pair.call("DELETE", "/api/workers/w-1", by=pair.ben)
    await add_workers(server, "w-4", created_at=server.clock())

    answer = await pair.confirm(request_id)

    assert (answer.status_code, worker_ids(server)) == (200, ["w-4"])


async def test_a_new_worker_with_the_id_of_a_deleted_one_is_not_affected(pair):
    """Changed effect: the ID now belongs to another Worker, which stays."""
    request_id = await pair.ask(*DELETE_ALL)
    pair.server.clock.forward(seconds=1)
    assert (await pair.call("DELETE", "/api/workers/w-1", by=pair.ben)).status_code == 204
    await add_workers(pair.server, "w-1", created_at=pair.server.clock())

    assert (await pair.confirm(request_id)).status_code == 200

    assert worker_ids(pair.server) == ["w-1"]


async def test_a_request_without_any_remaining_effect_cannot_be_confirmed(pair):
    """If every Worker is gone, or the change was already made, the answer says so and the request stays pending."""
    both = await pair.ask(*DELETE_ALL)
    carol = await pair.ask("POST", "/api/operators", {"name": "carol", "role": "admin"})
    eve = await pair.ask(*ADD_EVE)
    for worker_id, by in (("w-1", pair.ben), ("w-2", pair.admin)):
        assert (await pair.call("DELETE", f"/api/workers/{worker_id}", by=by)).status_code == 204
    assert (await pair.confirm(eve)).status_code == 200
    eve_again = await pair.ask("POST", "/api/operators", {"name": "carol", "role": "viewer"})
    assert (await pair.confirm(carol)).status_code == 200

    for request_id in (both, eve_again):
        answer = await pair.confirm(request_id)
        assert (answer.status_code, answer.json()["code"]) == (409, "effect_changed")
        assert await pair.state(request_id) == "pending"


async def test_a_policy_changed_since_the_request_is_another_effect(pair):
    """The request would replace another policy than the one shown, so it is not carried out."""
    policy = await pair.ask("PUT", "/api/fleet/policy", {"refuse_below": "1.2"})
    assert (await pair.call("PUT", "/api/fleet/policy", {"warn_below": "1.9"})).status_code == 200

    answer = await pair.confirm(policy)

    assert (answer.status_code, answer.json()["code"]) == (409, "effect_changed")
    assert "warn below 1.9" in answer.json()["detail"]


async def test_the_first_password_is_shown_to_the_confirming_operator(pair):
    """In one answer; the requester, who could use both accounts with it, does not see it."""
    request_id = await pair.ask(*ADD_EVE)
    confirmed = (await pair.confirm(request_id)).json()

    assert confirmed["operator"] == "eve"
    assert await pair.server.sign_in("eve", confirmed["password"])
    shown = await pair.call("GET", f"/api/change-requests/{request_id}")
    assert confirmed["password"] not in shown.text
    assert confirmed["password"] not in (await pair.call("GET", "/api/audit")).text


async def test_small_changes_are_counted_together(server, unhurried):
    """Evasion: many changes of one Worker each within an hour, by sessions and tokens, count as one of many; confirmed ones do not count."""
    await add_workers(server, *(f"w-{number}" for number in range(8)))
    pair = await colleagues_of(server, above=2)
    issued = await pair.call("POST", "/api/api-tokens", {"name": "in-small-steps", "role": "admin"})
    token = {"Authorization": f"Bearer {issued.json()['token']}"}

    statuses = [
        (await pair.call("DELETE", f"/api/workers/w-{number}", by=headers)).status_code
        for number, headers in enumerate([pair.admin, token, pair.admin, token])
    ]
    assert statuses == [204, 204, 409, 409]
    assert (await pair.call("DELETE", "/api/workers/w-7", by=pair.ben)).status_code == 204

    pair.server.clock.forward(hours=1)
    pair.admin, pair.ben = await server.sign_in(), await server.sign_in("ben")
    many = await pair.ask("POST", "/api/workers/changes", {"action": "delete", "q": "id:w-", "expect": 5})
    assert (await pair.confirm(many)).status_code == 200
    await add_workers(server, "x-1")
    assert (await pair.call("DELETE", "/api/workers/x-1")).status_code == 204


async def test_undoing_an_enable_counts_as_disabling(server, unhurried):
    """Evasion: an undo needs no search and no IDs, but disables as many. Undoing a few needs one operator, like disabling them."""
    pair = await colleagues_of(server, ["disable_workers"], above=2)
    await add_workers(server, "w-1", "w-2", "w-3", "w-4", "w-5", enabled=False)

    async def enable(search, number):
        body = {"action": "enable", "q": search, "expect": number}
        return (await pair.call("POST", "/api/workers/changes", body)).json()["number"]

    few = await enable("id:w-1,w-2", 2)
    assert (await pair.call("POST", f"/api/workers/changes/{few}/undo")).status_code == 200
    assert enabled_ids(server) == []
    many = await enable("id:w-", 5)
    request_id = await pair.ask("POST", f"/api/workers/changes/{many}/undo")
    assert len(enabled_ids(server)) == 5

    assert (await pair.confirm(request_id)).status_code == 200
    assert enabled_ids(server) == []


async def test_concurrent_small_changes_are_counted_together(server, unhurried):
    """Evasion: concurrent writes are one transaction, in which a query does not find the events of earlier ones."""
    await add_workers(server, *(f"w-{number}" for number in range(8)))
    pair = await colleagues_of(server, above=2)
    actor = await actor_of(server, pair.admin)
    some = server.services.incident_response
    wanted = Wanted(subject="worker:w-0", worker_ids=["w-0"], action="delete", revoke_key=False)

    outcomes = await asyncio.gather(
        some.cut_off(wanted, actor=actor),
        *(server.services.workers.delete(f"w-{number}", actor=actor) for number in range(1, 8)),
        return_exceptions=True,
    )

    assert [type(one) for one in outcomes].count(SecondOperatorRequiredError) == 6
    assert len(worker_ids(server)) == 6


async def test_a_request_that_is_confirmed_and_voided_concurrently_is_void(pair):
    """Persistence: the order of the audit log decides, also within one transaction."""
    ben = await actor_of(pair.server, pair.ben)
    request_id = await pair.ask(*DELETE_ALL)
    store, now = pair.server.services.store, pair.server.clock()

    def throw_out(tx):
        tx.audit(ben.audit_event("operator.sessions_ended", "operator:admin", at=now))

    def decide(tx):
        check_pending(tx, get_request(tx, request_id, ben), now)

    both = await asyncio.gather(store.write(throw_out), store.write(decide), return_exceptions=True)

    assert [getattr(one, "code", None) for one in both] == [None, "request_void"]


@pytest.mark.parametrize("by_token", [False, True])
async def test_an_operator_whose_session_has_just_ended_cannot_make_a_request(pair, by_token):
    """Persistence: the request would be newer than the end of the session, and so not void."""
    actor = await actor_of(pair.server, pair.admin)
    if by_token:
        await pair.call("POST", "/api/api-tokens", {"name": "long-running", "role": "admin"})
        actor = msgspec.structs.replace(actor, api_token="long-running")
        await pair.call("POST", "/api/api-tokens/long-running/revoke", by=pair.ben)
    else:
        await pair.call("DELETE", "/api/operators/admin/sessions", by=pair.ben)

    with pytest.raises(NotSignedInError):
        await pair.server.services.bulk_changes.change(
            BulkAction.DELETE, ["w-1", "w-2"], added_labels={}, actor=actor
        )

    assert (await pair.call("GET", "/api/change-requests", by=pair.ben)).json()["items"] == []


async def test_a_request_that_no_longer_needs_confirmation_cannot_be_confirmed(server, unhurried):
    """Stale: nothing would mark the request as used, and its effect is not the confirmed one any more."""
    admin = await server.sign_in()
    await add_operator(server, admin, "tess", scope={"team": "etl", "site": "a"})
    await add_operator(server, admin, "vera", role="viewer")
    pair = await colleagues_of(server)
    narrow = await pair.ask("PATCH", "/api/operators/tess", {"scope": {"team": "etl"}})
    widen = await pair.ask("PATCH", "/api/operators/tess", {"no_scope": True})
    warns = await pair.ask("PUT", "/api/fleet/policy", {"refuse_below": "1.2", "warn_below": "1.5"})
    refuses = await pair.ask("PUT", "/api/fleet/policy", {"refuse_below": "1.2"})
    promotes = await pair.ask("PATCH", "/api/operators/vera", {"role": "admin"})
    again = await pair.ask("PATCH", "/api/operators/vera", {"role": "admin"}, by=pair.ben)
    for request_id in (widen, refuses, promotes):
        assert (await pair.confirm(request_id)).status_code == 200
    before = await pair.actions()

    for request_id, by in ((narrow, pair.ben), (warns, pair.ben), (again, pair.admin)):
        answer = await pair.confirm(request_id, by=by)
        assert (answer.status_code, answer.json()["code"]) == (409, "effect_changed")

    assert await pair.actions() == before
    tess = next(one for one in await server.services.operators.list() if one.name == "tess")
    assert tess.scope is None
    assert (await pair.call("GET", "/api/fleet/policy")).json()["policy"]["warn_below"] == ""


async def test_a_cut_off_includes_workers_that_enroll_before_it_is_confirmed(server, unhurried):
    """All Workers of an incident are meant: those that enroll with the leaked key meanwhile are cut off too, others are not."""
    pair = await colleagues_of(server)
    issued = await pair.call("POST", "/api/enrollment/keys", {"name": "leaked-key"})
    key = issued.json()["key"]

    async def enroll(name):
        answer = await server.register(generate_identity_key(), name, credential=key)
        assert answer.status_code == 201, answer.text
        return answer.json()["client_id"]

    first = [await enroll(f"press-{number}") for number in range(2)]
    body = {"subject": "enrollment-key:leaked-key", "action": "disable", "workers": "all", "revoke_key": True}
    request_id = await pair.ask("POST", "/api/incident/cut-offs", body)
    server.clock.forward(seconds=1)
    later = await enroll("press-9")
    other, _ = await server.enrolled("other")

    answer = await pair.confirm(request_id)

    assert answer.status_code == 200, answer.text
    assert enabled_ids(server) == [other]
    assert set(worker_ids(server)) == {*first, later, other}
    progress = await pair.call("GET", f"/api/incident/cut-offs/{answer.json()['cut_off']}")
    assert progress.json()["workers"] == 3


async def test_a_limited_admin_sees_and_confirms_only_requests_within_the_scope(server, unhurried):
    """The scope is that of the admin's team: requests of others, and the names of operators outside, are hidden."""
    labels = {"labels": {"team": "etl"}}
    await add_workers(server, "w-1", "w-2", **labels)
    await add_workers(server, "o-1", "o-2")
    admin = await server.sign_in()
    anna = await add_operator(server, admin, "anna", scope={"team": "etl"})
    emil = await add_operator(server, admin, "emil", scope={"team": "etl"})
    olga = await add_operator(server, admin, "olga", scope={"team": "ops"})
    pair = await colleagues_of(server)
    of_all = await pair.ask("POST", "/api/workers/changes", {"action": "delete", "q": "id:w-", "expect": 2})
    of_team = await pair.ask(*DELETE_ALL, by=anna)

    refused = await pair.confirm(of_all, by=emil)
    assert (refused.status_code, refused.json()["code"]) == (404, "change_request_not_found")
    assert (await pair.confirm(of_team, by=olga)).status_code == 404
    listed = (await pair.call("GET", "/api/change-requests", by=emil)).json()["items"]
    assert [(one["id"], one["confirmers"], one["can_decide"]) for one in listed] == [(of_team, [], True)]
    assert (await pair.call("GET", "/api/change-requests", by=olga)).json()["items"] == []
    # Names outside the scope are left out.
    assert (await pair.call(*DELETE_ALL, by=anna)).json().get("confirmers") is None

    assert (await pair.confirm(of_team, by=emil)).status_code == 200
    assert worker_ids(server) == ["o-1", "o-2"]


async def test_a_declined_request_shows_why(pair):
    """Nothing is done, the requester can read the note, and the request cannot be confirmed afterwards."""
    request_id = await pair.ask(*DELETE_ALL)
    path = f"/api/change-requests/{request_id}"
    answer = await pair.call("POST", f"{path}/decline", {"note": "they are in use"}, by=pair.ben)

    assert answer.status_code == 200
    shown = (await pair.call("GET", path)).json()
    assert (shown["state"], shown["decided_by"], shown["note"]) == (
        "declined",
        "operator:ben",
        "they are in use",
    )
    assert (await pair.confirm(request_id)).json()["code"] == "request_decided"
    assert "change_request.declined" in await pair.actions()


async def test_only_the_requester_can_withdraw_or_give_a_reason(pair):
    """A reason is given once, so that what others have read does not change; a withdrawn request is not carried out."""
    request_id = await pair.ask(*DELETE_ALL)
    path = f"/api/change-requests/{request_id}"
    assert (await pair.call("POST", f"{path}/withdraw", by=pair.ben)).status_code == 403
    assert (await pair.call("POST", f"{path}/reason", {"reason": "x"}, by=pair.ben)).status_code == 403
    assert (await pair.call("POST", f"{path}/reason", {"reason": " "})).status_code == 422
    assert (await pair.call("POST", f"{path}/reason", {"reason": "first"})).status_code == 200
    again = await pair.call("POST", f"{path}/reason", {"reason": "second"})
    assert (again.status_code, again.json()["code"]) == (409, "reason_given")

    assert (await pair.call("POST", f"{path}/withdraw")).json()["state"] == "withdrawn"
    assert (await pair.confirm(request_id)).json()["code"] == "request_decided"
    assert worker_ids(pair.server) == ["w-1", "w-2"]


async def test_reasons_and_notes_with_a_credential_are_rejected(pair, press):
    """A leaked key pasted into the text would be in the audit log."""
    request_id = await pair.ask(*DELETE_ALL)
    path = f"/api/change-requests/{request_id}"

    for decision, field in (("reason", "reason"), ("decline", "note")):
        by = pair.admin if decision == "reason" else pair.ben
        answer = await pair.call("POST", f"{path}/{decision}", {field: f"leaked: {press[1]}"}, by=by)
        assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_the_pending_requests_of_an_operator_are_limited(pair):
    """A stolen session cannot bury a request under thousands of others."""
    for number in range(20):
        await pair.ask("POST", "/api/operators", {"name": f"eve-{number}", "role": "viewer"})

    answer = await pair.call("POST", "/api/operators", {"name": "one-more", "role": "viewer"})

    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_change_requests")
    assert await pair.ask("POST", "/api/operators", {"name": "two-more", "role": "viewer"}, by=pair.ben)


async def test_withdrawn_requests_count_towards_the_limit(pair):
    """Resource exhaustion: a withdrawn request is kept, with all its Workers."""
    operation = AddOperator(name="eve", role=Role.VIEWER, scope=None)
    record = ChangeRequestRecord(
        id="",
        operation=encode_operation(operation),
        operator="admin",
        api_token=None,
        requester_mark="",
        scope=None,
        address="192.0.2.9",
        event=1,
        reason="",
        requested_at=pair.server.clock(),
        expires_at=pair.server.clock(),
        state=RequestState.WITHDRAWN,
        decided_at=pair.server.clock(),
    )

    def fill(tx):
        for number in range(99):
            change_requests.insert_request(tx, msgspec.structs.replace(record, id=f"{number:012}"))

    await pair.server.services.store.write(fill)
    request_id = await pair.ask(*ADD_EVE)
    await pair.call("POST", f"/api/change-requests/{request_id}/withdraw")

    answer = await pair.call(*ADD_EVE)

    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_change_requests")
    assert await pair.ask(*ADD_EVE, by=pair.ben)
    pair.server.clock.forward(hours=24)
    pair.admin = await pair.server.sign_in()
    assert await pair.ask(*ADD_EVE)


async def test_a_session_that_has_just_ended_cannot_confirm(pair):
    """A confirmation whose session ends while it is in transit does nothing."""
    request_id = await pair.ask(*DELETE_ALL)
    ben = await actor_of(pair.server, pair.ben)
    await pair.call("DELETE", "/api/operators/ben/sessions")

    with pytest.raises(NotSignedInError):
        await pair.server.services.change_requests.confirm(request_id, "", actor=ben)

    assert worker_ids(pair.server) == ["w-1", "w-2"]


async def test_old_requests_are_deleted(pair):
    """Thirty days after the decision they are only in the audit log."""
    request_id = await pair.ask(*DELETE_ALL)
    await pair.call("POST", f"/api/change-requests/{request_id}/withdraw")
    pair.server.clock.forward(seconds=timedelta(days=31).total_seconds())
    await pair.server.services.change_requests.expire()
    pair.admin = await pair.server.sign_in()

    assert (await pair.call("GET", "/api/change-requests")).json()["items"] == []


async def test_without_rules_one_operator_is_enough(server, unhurried):
    """No confirmation is needed until an admin turns it on."""
    await add_workers(server, "w-1", "w-2")
    admin = await server.sign_in()

    answer = await server.http.request("POST", DELETE_ALL[1], json=DELETE_ALL[2], headers=admin)

    assert (answer.status_code, worker_ids(server)) == (201, [])
    assert (await server.http.get("/api/change-requests", headers=admin)).json()["items"] == []


async def test_pending_requests_raise_alerts(pair):
    """A request that waits for a second operator is an alert until it is decided."""
    request_id = await pair.ask(*DELETE_ALL)
    waiting = (await pair.call("GET", "/api/attention", by=pair.ben)).json()["items"]
    assert [(one["kind"], one["subject"]) for one in waiting if one["kind"] == "change_request"] == [
        ("change_request", request_id)
    ]
    [title] = [one["title"] for one in waiting if one["kind"] == "change_request"]
    # Pages show such a time in the reader's time zone.
    assert any(isinstance(part, tuple) for part in split_times(title))
    await pair.confirm(request_id)

    left = (await pair.call("GET", "/api/attention", by=pair.ben)).json()["items"]
    assert "change_request" not in {one["kind"] for one in left}


async def test_a_request_to_disable_includes_note_and_end(pair):
    """A duration such as `2h` counts from the request; if the end has passed, the request cannot be confirmed."""
    body = {
        "action": "disable",
        "q": "id:w-",
        "expect": 2,
        "disabled_note": "its disk",
        "disabled_until": "2h",
    }
    first = await pair.ask("POST", "/api/workers/changes", body)
    asked_at = pair.server.clock()
    pair.server.clock.forward(minutes=10)

    assert (await pair.confirm(first)).status_code == 200

    disabled = list(pair.server.services.directory.workers())
    assert {one.disabled_note for one in disabled} == {"its disk"}
    assert {one.disabled_until for one in disabled} == {asked_at + timedelta(hours=2)}
    await add_workers(pair.server, "x-1", "x-2")
    late = await pair.ask("POST", "/api/workers/changes", body | {"q": "id:x-"})
    pair.server.clock.forward(hours=3)
    answer = await pair.confirm(late, by=await pair.server.sign_in("ben"))
    assert (answer.status_code, answer.json()["code"]) == (409, "effect_changed")
    assert enabled_ids(pair.server) == ["x-1", "x-2"]


async def test_an_operator_with_a_first_password_cannot_confirm(pair):
    """It was shown to another operator, who could use both accounts."""
    eve = await pair.ask(*ADD_EVE)
    password = (await pair.confirm(eve)).json()["password"]
    request_id = await pair.ask(*DELETE_ALL, by=pair.ben)

    answer = await pair.confirm(request_id, by=await pair.server.sign_in("eve", password))

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert worker_ids(pair.server) == ["w-1", "w-2"]


async def test_two_changes_of_an_operator_in_one_request_are_rejected(pair):
    """One would be made and the other would wait, and no answer can say both."""
    answer = await pair.call("PATCH", "/api/operators/ben", {"role": "viewer", "reset_password": True})

    assert (answer.status_code, answer.json()["field"]) == (422, "role")


async def test_pending_requests_are_listed_first(pair):
    """However many others were made and withdrawn since."""
    waiting = await pair.ask(*DELETE_ALL)
    for _ in range(3):
        other = await pair.ask(*ADD_EVE, by=pair.ben)
        await pair.call("POST", f"/api/change-requests/{other}/withdraw", by=pair.ben)

    listed = (await pair.call("GET", "/api/change-requests")).json()["items"]

    assert listed[0]["id"] == waiting
    assert len(listed) == 4
