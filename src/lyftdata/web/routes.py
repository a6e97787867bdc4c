"""The routes of all pages: path, action of the policy table, and handler."""

import functools
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from lyftdata.web import live
from lyftdata.web.destination import CONFIRM_PATH
from lyftdata.web.gate import PASSWORD_PATH, SECOND_FACTOR_PATH, guarded
from lyftdata.web.page import Handler
from lyftdata.web.pages import (
    account,
    agent_versions,
    api_keys,
    api_tokens,
    approvals,
    audit,
    device,
    enrollment,
    enrollment_keys,
    enrollment_rehearsal,
    event_destinations,
    identity_copies,
    incident,
    jump,
    new_worker,
    new_workers,
    oidc_sign_in,
    operators,
    overview,
    passkeys,
    refusals,
    requests,
    resources,
    second_factors,
    sign_in,
    signing_keys,
    snoozes,
    worker,
    worker_changes,
    workers,
)
from lyftdata.web.static_files import CompressedFiles


class Entry(msgspec.Struct, frozen=True):
    """
    A page; `again` shows the form again if there is an error in what was posted.

    `in_scope` says that it shows and changes nothing outside its operator's scope; other pages reject operators with a scope.
    """

    method: str
    path: str
    action: str
    handler: Handler
    again: Handler | None = None
    in_scope: bool = False


PAGES: Sequence[Entry] = (
    Entry("GET", "/", "workers.read", overview.show, in_scope=True),
    Entry("GET", "/events", "events.read", live.events),
    Entry("GET", "/jump", "workers.read", jump.show, in_scope=True),
    Entry("GET", "/workers", "workers.read", workers.show_list, in_scope=True),
    Entry(
        "POST",
        "/workers",
        "workers.write",
        worker_changes.change_many,
        worker_changes.change_many_again,
        in_scope=True,
    ),
    Entry("POST", "/undo-change", "workers.write", worker_changes.undo, workers.show_list, in_scope=True),
    Entry("POST", "/choose-zone", "own_account", account.choose_zone, account.show, in_scope=True),
    Entry("POST", "/choose-columns", "own_account", workers.choose_columns, in_scope=True),
    Entry("GET", "/change-workers", "workers.write", worker_changes.ask_many, in_scope=True),
    Entry("GET", "/add-worker", "workers.write", new_worker.form, in_scope=True),
    Entry("POST", "/add-worker", "workers.write", new_worker.create, new_worker.form, in_scope=True),
    Entry("GET", "/added-workers/{number}/waiting", "workers.read", new_workers.waiting, in_scope=True),
    Entry("GET", "/workers/{worker_id}", "workers.read", worker.show, in_scope=True),
    Entry("POST", "/workers/{worker_id}", "workers.write", worker.rename, worker.show, in_scope=True),
    Entry("GET", "/workers/{worker_id}/waiting", "workers.read", new_worker.waiting, in_scope=True),
    Entry("GET", "/workers/{worker_id}/disable", "workers.write", worker.ask_disable, in_scope=True),
    Entry(
        "POST",
        "/workers/{worker_id}/disable",
        "workers.write",
        worker.disable,
        worker.ask_disable,
        in_scope=True,
    ),
    Entry(
        "POST",
        "/workers/{worker_id}/rotate-key",
        "workers.write",
        worker.rotate_key,
        worker.show,
        in_scope=True,
    ),
    Entry("GET", "/workers/{worker_id}/enable", "workers.write", worker.ask_enable, in_scope=True),
    Entry("POST", "/workers/{worker_id}/enable", "workers.write", worker.enable, in_scope=True),
    Entry(
        "GET",
        "/workers/{worker_id}/copies/{reference}/continue",
        "workers.write",
        identity_copies.ask_continue,
        in_scope=True,
    ),
    Entry(
        "POST",
        "/workers/{worker_id}/copies/{reference}/continue",
        "workers.write",
        identity_copies.let_continue,
        in_scope=True,
    ),
    Entry(
        "GET",
        "/workers/{worker_id}/copies/{reference}/reenroll",
        "workers.write",
        identity_copies.ask_reenroll,
        in_scope=True,
    ),
    Entry(
        "POST",
        "/workers/{worker_id}/copies/{reference}/reenroll",
        "workers.write",
        identity_copies.let_reenroll,
        in_scope=True,
    ),
    Entry("GET", "/workers/{worker_id}/delete", "workers.delete", worker.ask_delete, in_scope=True),
    Entry("POST", "/workers/{worker_id}/delete", "workers.delete", worker.delete, in_scope=True),
    Entry("GET", "/enrollment", "enrollment.read", enrollment.show, in_scope=True),
    Entry("GET", "/approvals", "enrollment.read", approvals.show, in_scope=True),
    Entry("POST", "/approvals", "enrollment.write", approvals.decide, in_scope=True),
    Entry("GET", "/decide-approvals", "enrollment.write", approvals.ask, in_scope=True),
    Entry("GET", "/issue-enrollment-key", "enrollment.write", enrollment_keys.form, in_scope=True),
    Entry(
        "POST",
        "/issue-enrollment-key",
        "enrollment.write",
        enrollment_keys.issue,
        enrollment_keys.form,
        in_scope=True,
    ),
    Entry("GET", "/enrollment/{name}", "enrollment.read", enrollment_keys.show, in_scope=True),
    Entry("GET", "/enrollment/{name}/waiting", "enrollment.read", enrollment_keys.waiting, in_scope=True),
    Entry("GET", "/enrollment/{name}/rehearse", "enrollment.read", enrollment_rehearsal.show),
    Entry(
        "POST",
        "/enrollment/{name}/rehearse",
        "enrollment.read",
        enrollment_rehearsal.rehearse,
        enrollment_rehearsal.show,
    ),
    Entry(
        "GET", "/enrollment/{name}/rotate", "enrollment_keys.end", enrollment_keys.ask_rotate, in_scope=True
    ),
    Entry(
        "POST",
        "/enrollment/{name}/rotate",
        "enrollment_keys.end",
        enrollment_keys.rotate,
        enrollment_keys.ask_rotate,
        in_scope=True,
    ),
    Entry(
        "GET",
        "/enrollment/{name}/end-previous",
        "enrollment_keys.end",
        enrollment_keys.ask_end_previous,
        in_scope=True,
    ),
    Entry(
        "POST",
        "/enrollment/{name}/end-previous",
        "enrollment_keys.end",
        enrollment_keys.end_previous,
        enrollment_keys.ask_end_previous,
        in_scope=True,
    ),
    Entry(
        "GET", "/enrollment/{name}/revoke", "enrollment_keys.end", enrollment_keys.ask_revoke, in_scope=True
    ),
    Entry(
        "POST",
        "/enrollment/{name}/revoke",
        "enrollment_keys.end",
        enrollment_keys.revoke,
        enrollment_keys.ask_revoke,
        in_scope=True,
    ),
    Entry("GET", "/api-keys", "api_keys.read", api_keys.show_list, in_scope=True),
    Entry("GET", "/issue-api-key", "api_keys.write", api_keys.form, in_scope=True),
    Entry("POST", "/issue-api-key", "api_keys.write", api_keys.issue, api_keys.form, in_scope=True),
    Entry("GET", "/api-keys/{name}", "api_keys.read", api_keys.show, in_scope=True),
    Entry("GET", "/api-keys/{name}/rotate", "api_keys.end", api_keys.ask_rotate, in_scope=True),
    Entry(
        "POST", "/api-keys/{name}/rotate", "api_keys.end", api_keys.rotate, api_keys.ask_rotate, in_scope=True
    ),
    Entry("GET", "/api-keys/{name}/end-previous", "api_keys.end", api_keys.ask_end_previous, in_scope=True),
    Entry(
        "POST",
        "/api-keys/{name}/end-previous",
        "api_keys.end",
        api_keys.end_previous,
        api_keys.ask_end_previous,
        in_scope=True,
    ),
    Entry("GET", "/api-keys/{name}/revoke", "api_keys.end", api_keys.ask_revoke, in_scope=True),
    Entry(
        "POST", "/api-keys/{name}/revoke", "api_keys.end", api_keys.revoke, api_keys.ask_revoke, in_scope=True
    ),
    Entry("GET", "/api-keys/{name}/allow", "api_keys.write", api_keys.ask_allow, in_scope=True),
    Entry(
        "POST", "/api-keys/{name}/allow", "api_keys.write", api_keys.allow, api_keys.ask_allow, in_scope=True
    ),
    Entry("GET", "/signing-keys", "signing_keys.read", signing_keys.show_list),
    Entry("GET", "/signing-keys/rotate", "signing_keys.write", signing_keys.ask_rotate),
    Entry("POST", "/signing-keys/rotate", "signing_keys.write", signing_keys.rotate, signing_keys.ask_rotate),
    Entry("GET", "/signing-keys/{kid}/withdraw", "signing_keys.withdraw", signing_keys.ask_withdraw),
    Entry(
        "POST",
        "/signing-keys/{kid}/withdraw",
        "signing_keys.withdraw",
        signing_keys.withdraw,
        signing_keys.ask_withdraw,
    ),
    Entry("GET", "/agent-versions", "fleet_policy.read", agent_versions.show),
    Entry("GET", "/agent-versions/policy", "fleet_policy.write", agent_versions.ask_set),
    Entry("POST", "/agent-versions/policy", "fleet_policy.write", agent_versions.save),
    Entry("GET", "/agent-versions/clear", "fleet_policy.write", agent_versions.ask_clear),
    Entry("POST", "/agent-versions/clear", "fleet_policy.write", agent_versions.clear),
    Entry("GET", "/resources", "resources.read", resources.show_list, in_scope=True),
    Entry("GET", "/add-resource", "resources.write", resources.form),
    Entry("POST", "/add-resource", "resources.write", resources.add, resources.form),
    Entry("GET", "/resources/{name}", "resources.read", resources.show, in_scope=True),
    Entry("POST", "/resources/{name}", "resources.write", resources.change, resources.show),
    Entry("POST", "/resources/{name}/key", "resources.issue_key", resources.issue_key, resources.show),
    Entry("GET", "/resources/{name}/delete", "resources.delete", resources.ask_delete),
    Entry("POST", "/resources/{name}/delete", "resources.delete", resources.delete),
    Entry("GET", "/event-destinations", "event_destinations.read", event_destinations.show_list),
    Entry("GET", "/add-event-destination", "event_destinations.redirect", event_destinations.form),
    Entry(
        "POST",
        "/add-event-destination",
        "event_destinations.redirect",
        event_destinations.add,
        event_destinations.form,
    ),
    Entry("GET", "/event-destinations/{name}", "event_destinations.read", event_destinations.show),
    Entry(
        "POST",
        "/event-destinations/{name}",
        "event_destinations.redirect",
        event_destinations.change,
        event_destinations.show,
    ),
    Entry("POST", "/event-destinations/{name}/test", "event_destinations.write", event_destinations.test),
    Entry(
        "POST", "/event-destinations/{name}/pause", "event_destinations.redirect", event_destinations.pause
    ),
    Entry("POST", "/event-destinations/{name}/resume", "event_destinations.write", event_destinations.resume),
    Entry(
        "POST",
        "/event-destinations/{name}/secret",
        "event_destinations.redirect",
        event_destinations.rotate_secret,
        event_destinations.show,
    ),
    Entry(
        "GET", "/event-destinations/{name}/skip", "event_destinations.redirect", event_destinations.ask_skip
    ),
    Entry(
        "POST",
        "/event-destinations/{name}/skip",
        "event_destinations.redirect",
        event_destinations.skip,
        event_destinations.ask_skip,
    ),
    Entry(
        "GET",
        "/event-destinations/{name}/delete",
        "event_destinations.redirect",
        event_destinations.ask_delete,
    ),
    Entry(
        "POST", "/event-destinations/{name}/delete", "event_destinations.redirect", event_destinations.delete
    ),
    Entry("GET", "/incident", "incident.read", incident.show),
    Entry("POST", "/incident", "incident.read", incident.find, incident.show),
    Entry("GET", "/incident/export", "incident.read", incident.download),
    Entry("GET", "/incident/cut-off", "incident.write", incident.ask_cut_off),
    Entry("POST", "/incident/cut-off", "incident.write", incident.cut_off),
    Entry("GET", "/incident/cut-offs/{number}", "incident.read", incident.progress),
    Entry("GET", "/alerts/{alert_id}/snooze", "alerts.write", snoozes.ask),
    Entry("POST", "/alerts/{alert_id}/snooze", "alerts.write", snoozes.snooze, snoozes.ask),
    Entry("POST", "/alerts/{alert_id}/unsnooze", "alerts.write", snoozes.unsnooze),
    Entry("GET", "/refusals", "refusals.read", refusals.show_list),
    Entry("GET", "/ignore-refusals", "refusals.write", refusals.ask_ignore),
    Entry("POST", "/ignore-refusals", "refusals.write", refusals.ignore, refusals.ask_ignore),
    Entry("POST", "/reopen-refusals", "refusals.write", refusals.reopen),
    Entry("GET", "/refusals/{reference}", "refusals.read", refusals.show),
    Entry("GET", "/audit", "audit.read", audit.show),
    Entry("GET", "/audit/verified", "audit.verify", audit.verified),
    Entry("GET", "/audit/export", "audit.read", audit.download),
    Entry("GET", "/operators", "operators.read", operators.show),
    Entry("POST", "/operators", "operators.write", operators.add, operators.show),
    Entry("POST", "/operators/{name}/role", "operators.write", operators.set_role, operators.show),
    Entry("GET", "/operators/{name}/scope", "operators.write", operators.ask_scope),
    Entry("POST", "/operators/{name}/scope", "operators.write", operators.set_scope, operators.ask_scope),
    Entry("GET", "/operators/{name}/reset", "operators.write", operators.ask_reset),
    Entry("POST", "/operators/{name}/reset", "operators.write", operators.reset, operators.ask_reset),
    Entry("GET", "/operators/{name}/second-factor", "operators.write", second_factors.ask_reset),
    Entry("POST", "/operators/{name}/second-factor", "operators.write", second_factors.reset),
    Entry("GET", "/operators/{name}/passkeys/{passkey_id}/remove", "operators.write", passkeys.ask_remove_of),
    Entry("POST", "/operators/{name}/passkeys/{passkey_id}/remove", "operators.write", passkeys.remove_of),
    Entry("GET", "/operators/{name}/delete", "operators.write", operators.ask_delete),
    Entry("POST", "/operators/{name}/delete", "operators.write", operators.delete, operators.show),
    Entry("GET", "/operators/{name}/end-sessions", "sessions.revoke_any", operators.ask_end_sessions),
    Entry("POST", "/operators/{name}/end-sessions", "sessions.revoke_any", operators.end_sessions),
    Entry("GET", "/requests", "change_requests.read", requests.show_list, in_scope=True),
    Entry("GET", "/requests/{request_id}", "change_requests.read", requests.show, in_scope=True),
    Entry(
        "POST",
        "/requests/{request_id}/reason",
        "change_requests.write",
        requests.explain,
        requests.show,
        in_scope=True,
    ),
    Entry(
        "POST",
        "/requests/{request_id}/withdraw",
        "change_requests.write",
        requests.withdraw,
        requests.show,
        in_scope=True,
    ),
    Entry(
        "POST",
        "/requests/{request_id}/decline",
        "change_requests.decline",
        requests.decline,
        requests.show,
        in_scope=True,
    ),
    Entry(
        "GET",
        "/requests/{request_id}/confirm",
        "change_requests.confirm",
        requests.ask_confirm,
        in_scope=True,
    ),
    Entry(
        "POST",
        "/requests/{request_id}/confirm",
        "change_requests.confirm",
        requests.confirm,
        requests.ask_confirm,
        in_scope=True,
    ),
    Entry("GET", "/second-operator", "second_operator.read", requests.show_rules),
    Entry("GET", "/second-operator/change", "second_operator.write", requests.ask_rules),
    Entry("POST", "/second-operator/change", "second_operator.write", requests.set_rules, requests.ask_rules),
    Entry("GET", "/api-tokens", "api_tokens.read", api_tokens.show_list, in_scope=True),
    Entry("GET", "/issue-api-token", "api_tokens.issue", api_tokens.form, in_scope=True),
    Entry("POST", "/issue-api-token", "api_tokens.issue", api_tokens.issue, api_tokens.form, in_scope=True),
    Entry("GET", "/api-tokens/{name}", "api_tokens.read", api_tokens.show, in_scope=True),
    Entry("GET", "/api-tokens/{name}/revoke", "api_tokens.write", api_tokens.ask_revoke, in_scope=True),
    Entry("POST", "/api-tokens/{name}/revoke", "api_tokens.write", api_tokens.revoke, in_scope=True),
    Entry("GET", "/device", "own_account", device.show, in_scope=True),
    Entry("POST", "/device", "own_account", device.decide, in_scope=True),
    Entry("GET", "/account", "own_account", account.show, in_scope=True),
    Entry("GET", PASSWORD_PATH, "own_account", account.password, in_scope=True),
    Entry("POST", PASSWORD_PATH, "own_account", account.change_password, account.password, in_scope=True),
    Entry("GET", CONFIRM_PATH, "own_account", account.confirm, in_scope=True),
    Entry("POST", CONFIRM_PATH, "own_account", account.prove, account.confirm, in_scope=True),
    Entry("GET", SECOND_FACTOR_PATH, "own_second_factor", second_factors.form, in_scope=True),
    Entry(
        "POST",
        SECOND_FACTOR_PATH,
        "own_second_factor",
        second_factors.confirm,
        second_factors.form,
        in_scope=True,
    ),
    Entry(
        "POST",
        "/account/second-factor/recovery-codes",
        "own_second_factor",
        second_factors.renew_recovery_codes,
        in_scope=True,
    ),
    Entry(
        "GET", "/account/second-factor/remove", "own_second_factor", second_factors.ask_remove, in_scope=True
    ),
    Entry("POST", "/account/second-factor/remove", "own_second_factor", second_factors.remove, in_scope=True),
    Entry("GET", "/account/passkeys/add", "own_second_factor", passkeys.form, in_scope=True),
    Entry("POST", "/account/passkeys/add", "own_second_factor", passkeys.add, passkeys.form, in_scope=True),
    Entry(
        "GET",
        "/account/passkeys/{passkey_id}/remove",
        "own_second_factor",
        passkeys.ask_remove,
        in_scope=True,
    ),
    Entry(
        "POST", "/account/passkeys/{passkey_id}/remove", "own_second_factor", passkeys.remove, in_scope=True
    ),
    Entry("POST", "/account/sessions/{session_id}/end", "own_account", account.end_session, in_scope=True),
    Entry("POST", "/account/sign-out-everywhere", "own_account", account.sign_out_everywhere, in_scope=True),
    Entry("POST", "/logout", "own_account", sign_in.sign_out, in_scope=True),
)


_SHOWN_AT = {page.handler: page.path for page in PAGES if page.method == "GET"}


def _endpoint(entry: Entry) -> Callable[[Request], Awaitable[Response]]:
    # A handler without a page of its own says itself what to load instead.
    again_path = _SHOWN_AT.get(entry.again, "") if entry.again else ""
    return guarded(
        entry.action, entry.handler, in_scope=entry.in_scope, again=entry.again, again_path=again_path
    )


@functools.cache
def web_routes() -> Sequence[BaseRoute]:
    """Return the routes of the UI, to be added after those of the API; they contain nothing of a Server, so all share them."""
    pages = [Route(entry.path, _endpoint(entry), methods=[entry.method]) for entry in PAGES]
    return [
        Route("/login", sign_in.show, methods=["GET"], name="login"),
        Route("/login", sign_in.sign_in, methods=["POST"]),
        Route("/login/second-factor", sign_in.check_second_factor, methods=["POST"]),
        Route("/login/oidc", oidc_sign_in.begin, methods=["GET"]),
        Route("/login/oidc/callback", oidc_sign_in.finish, methods=["GET"]),
        Route("/login/oidc/logout", oidc_sign_in.log_out, methods=["POST"]),
        Mount("/static", CompressedFiles(packages=[("lyftdata.web", "static")])),
        *pages,
    ]
