"""What the doctor concludes from what the Server knows about a Worker."""

from typing import Any

import pytest

from lyftdata.doctor.server_view import ServerView, examine_view

NOON, LATER = "2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z"
WORKER = {
    "id": "w-1",
    "name": "press",
    "strategy": "auto_enrollment",
    "enabled": True,
    "status": "online",
    "superseded_by": None,
    "approval": None,
    "thumbprint": "the-thumbprint",
    "archived_at": None,
    "host": {"agent_version": "0.1.0"},
}
ORIGIN = {
    "last_at": NOON,
    "address": "192.0.2.7",
    "credential": "thumbprint",
    "audience": "https://lyft.example",
    "elsewhere_at": None,
    "session_address": None,
}
SESSION = {"address": "192.0.2.7", "ended_at": NOON, "end": "lost"}
COPY = {
    "reference": "7K2M9QXD",
    "last_at": LATER,
    "host": "b",
    "address": "192.0.2.8",
    "other_host": "a",
    "other_address": "192.0.2.7",
    "decision": None,
}
REFUSAL = {
    "at": LATER,
    "address": "192.0.2.9",
    "claimed_worker": "w-1",
    "api_key": "",
    "code": "stale_assertion",
    "reference": "9QXD7K2M",
    "meaning": "It is too old.",
    "detail": "",
    "proved": False,
    "remedy": "Correct the clock.",
}
KEY = {"name": "press-key", "status": "live"}


@pytest.mark.parametrize(
    ("refusal", "worker", "credential"),
    [
        ({"proved": True}, {}, "identity key"),
        ({"proved": True}, {"thumbprint": None}, "API key"),
        ({"proved": True, "claimed_worker": "press"}, {}, "enrollment key"),
        ({"proved": False}, {}, None),
        ({"proved": False, "api_key": "press-key"}, {"thumbprint": None}, "press-key"),
    ],
)
def test_the_credential_of_a_refused_attempt_is_named(refusal, worker, credential):
    """By what the attempt has proved; an unproven one has no credential."""
    view = ServerView(named="w-1", worker=WORKER | worker, last_refusal=REFUSAL | refusal)

    attempt = view.last_attempt()

    assert attempt is not None
    assert attempt["credential"] == credential


def examined(*, worker=None, **more):
    """Return the findings by code."""
    given: dict[str, Any] = {"origins": [ORIGIN], "sessions": [SESSION], "server_version": "0.1.9"} | more
    view = ServerView(named="w-1", worker=WORKER | (worker or {}), **given)
    return {finding.check.code: finding for finding in examine_view(view)}


def test_a_connected_worker_has_no_finding():
    """Even with a refusal from before its last token, or a decided copy."""
    copies = [COPY | {"decision": "continue"}]

    assert examined(copies=copies, last_refusal=REFUSAL | {"at": "2026-03-01T11:00:00Z"}) == {}


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ({"worker": {"status": "offline", "superseded_by": "w-2"}}, "worker_superseded", "by w-2"),
        ({"worker": {"status": "offline", "enabled": False}}, "worker_disabled", "w-1 is disabled"),
        ({"worker": {"status": "offline"}}, "worker_absent", "from 192.0.2.7, ended at"),
        (
            {"worker": {"status": "offline"}, "last_refusal": REFUSAL},
            "refused",
            "not proved. Reference 9QXD7K2M.",
        ),
        ({"last_refusal": REFUSAL}, "refused_while_online", "from 192.0.2.9: stale_assertion"),
        (
            {"worker": {"status": "never_connected"}, "origins": [], "sessions": []},
            "never_seen",
            "never asked for a token",
        ),
        (
            {"worker": {"status": "never_connected", "approval": "pending"}, "origins": [], "sessions": []},
            "worker_not_approved",
            "waiting for approval. The fingerprint of its identity key is the-thumbprint",
        ),
        (
            {"worker": {"status": "never_connected", "approval": "denied"}, "origins": [], "sessions": []},
            "worker_not_approved",
            "An operator has denied w-1.",
        ),
        (
            {"worker": {"status": "never_connected", "approval": "expired"}, "origins": [], "sessions": []},
            "worker_not_approved",
            "No operator decided about w-1 in time.",
        ),
        ({"copies": [COPY]}, "identity_copied", "b (192.0.2.8); accepted: a (192.0.2.7)"),
        (
            {"origins": [ORIGIN | {"elsewhere_at": LATER, "session_address": "192.0.2.1"}]},
            "token_from_elsewhere",
            "connected from 192.0.2.1",
        ),
        ({"server_version": "0.2.0"}, "version_skew", "Server runs lyftdata 0.2.0, the Worker 0.1.0"),
    ],
)
def test_each_problem_is_the_only_finding(given, code, said):
    """With its code and its facts."""
    found = examined(**given)

    assert list(found) == [code]
    assert said in found[code].what


def test_a_worker_without_a_live_key_is_found():
    """A revoked or expired key does not count."""
    worker = {"status": "offline", "strategy": "api_key"}

    assert "no_usable_key" in examined(worker=worker, keys=[KEY | {"status": "revoked"}])
    assert "no_usable_key" not in examined(worker=worker, keys=[KEY])


def test_the_last_attempt_is_the_later_of_refusal_and_token():
    """With the credential that was sent, and from where."""
    view = ServerView(named="w-1", worker=WORKER, origins=[ORIGIN], last_refusal=REFUSAL)
    attempt = view.last_attempt()
    assert attempt is not None
    assert (attempt["outcome"], attempt["address"]) == ("stale_assertion", "192.0.2.9")

    view = ServerView(named="w-1", worker=WORKER, origins=[ORIGIN | {"last_at": LATER}], last_refusal=REFUSAL)
    attempt = view.last_attempt()
    assert attempt is not None
    assert (attempt["outcome"], attempt["credential"]) == ("token_given", "thumbprint")
    assert ServerView(named="w-1", worker=WORKER).last_attempt() is None
