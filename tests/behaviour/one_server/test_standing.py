"""Every check of whether a Worker and its credential are still valid gives the same answer."""

import asyncio
import itertools
from datetime import timedelta

import msgspec
import pytest
from tests.builders import NOON, api_key
from tests.deployment import ASSERTION_TYPE
from tests.oauth_requests import AUDIENCE, define
from tests.unit.server.sessions.test_registry import boot, polling

from lyftdata.core.records import Approval, Strategy
from lyftdata.core.refusals import RefusedError
from lyftdata.core.standing import Problem, key_end, standing_problem
from lyftdata.core.tokens import parse_credential
from lyftdata.server.admin.views import key_status
from lyftdata.server.admission.brokers import Connection
from lyftdata.server.cluster.change_applier import ChangeApplier, ClusterHandlers
from lyftdata.store.changes import ApiKeyChanged, WorkerChanged

HOUR = timedelta(hours=1)
ENTRIES = {
    "in order": {},
    "deleted": None,
    "superseded": {"superseded_by": "other"},
    "disabled": {"enabled": False},
    **{str(approval): {"approval": approval} for approval in Approval},
    "enabled again": {"epoch": 9_999_999_999_999},
    "other strategy": {"strategy": Strategy.AUTO_ENROLLMENT},
    "other identity key": {"thumbprint": "other"},
}
KEYS = {
    "in order": {},
    "gone": None,
    "revoked": {"revoked_at": NOON - HOUR},
    "expired": {"expires_at": NOON - HOUR},
    "rotated": {"rotated_at": NOON - HOUR, "expires_at": NOON - HOUR},
    "for others": {"for_all_workers": False, "worker_ids": ("other",)},
}


@pytest.fixture
def effects(server):
    """Return a change applier without other Servers."""
    services = server.services
    return ChangeApplier(
        directory=services.directory,
        sessions=services.sessions,
        refusals=services.refusals,
        traces=services.traces,
        token_origins=services.token_origins,
        token_counts=services.token_counts,
        counters=services.admission.counters,
        held_requests=services.held_requests,
        events=services.events,
        cluster=ClusterHandlers(
            presence=lambda *_: None, signing_keys=lambda: None, broadcast=(), missed=lambda: None
        ),
        clock=server.clock,
    )


def changed(record, change):
    """Return a record with a change, or None."""
    return None if change is None else msgspec.structs.replace(record, **change)


def passes(step, *arguments):
    """Return whether a check passes."""
    try:
        step(*arguments)
    except RefusedError:
        return False
    return True


class AllChecks:
    """A Worker with a token, and all the checks of it."""

    def __init__(self, server, effects, worker_id, token, broker_token):
        self.services, self.effects, self.worker_id = server.services, effects, worker_id
        self.token, self.broker_token = token, broker_token
        self.verified = self.services.verifier.verify(token)
        self.credential = parse_credential(self.verified.claims.cred)
        self.entry = self.services.directory.find_worker(worker_id)
        self.key = self.services.directory.find_api_key(self.credential.value)
        self.broker = self.services.directory.find_resource_by_name("broker")

    async def answers(self, entry, key):
        """Log in and connect while entry and key are valid, change them, and return which checks pass."""
        services = self.services
        services.directory.apply(self.changes(self.entry, self.key))
        services.brokers.check_login(self.broker, self.worker_id, self.broker_token)
        session, _ = services.sessions.attach(self.entry, boot(), self.verified.claims.cred)
        poll, _peer = await polling(services.sessions, session)
        self.effects.on_change(self.changes(entry, key))
        await asyncio.sleep(0)
        connection = Connection(username=self.worker_id, age_s=0)
        answered = {
            "token": passes(services.verifier.verify, self.token),
            "token again": passes(services.verifier.recheck, self.verified),
            "session": not poll.done() or (await poll).kind == "renew",
            "broker": passes(services.brokers.check_worker, self.broker, self.worker_id),
            "connection": passes(services.brokers.check_connection, self.broker, connection, ()),
        }
        services.sessions.sign_off(self.worker_id, "boot-0001")
        await poll
        return answered

    def changes(self, entry, key):
        """Return the changes that set the entry and the key."""
        changes = [WorkerChanged(self.worker_id, entry)]
        return changes if self.key is None else [*changes, ApiKeyChanged(self.key.public_id, key)]


async def test_all_checks_agree_for_a_worker_with_an_api_key(server, effects, admin, press):
    """For each state of the entry and each state of the key, tokens, sessions and brokers give the same answer."""
    await define(server, admin, for_all_workers=True)
    tokens = [
        (await server.token_by_key(*press, **form)).json()["access_token"]
        for form in ({}, {"resource": AUDIENCE})
    ]
    asked = AllChecks(server, effects, press[0], *tokens)
    seen = set()
    for entry_change, key_change in itertools.product(ENTRIES.values(), KEYS.values()):
        entry, key = changed(asked.entry, entry_change), changed(asked.key, key_change)
        problem = standing_problem(entry, asked.credential, key=key, now=server.clock())
        seen.add(problem)

        answered = await asked.answers(entry, key)

        assert set(answered.values()) == {problem is None}, (entry_change, key_change, problem, answered)
        # A Worker that was enabled again gets a new token if its key is valid.
        may_ask = problem is None or (problem is Problem.EARLIER_EPOCH and key == asked.key)
        assert ((await server.token_by_key(*press)).status_code == 200) is may_ask, (entry_change, key_change)
    assert seen == {None, *Problem} - {Problem.IDENTITY_KEY_REPLACED}, (
        "add the state to ENTRIES or KEYS above"
    )


async def test_all_checks_agree_for_a_worker_with_an_identity_key(server, effects, admin):
    """None of them accepts an entry with a problem; the session of a Worker that replaced its key is told to get a new token."""
    await define(server, admin, for_all_workers=True, include_enrolled=True)
    worker_id, key = await server.enrolled()
    tokens = []
    for form in ({}, {"resource": AUDIENCE}):
        asked_for = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": server.assertion(key, worker_id),
        }
        tokens.append((await server.http.post("/oauth2/token", data=asked_for | form)).json()["access_token"])
    asked = AllChecks(server, effects, worker_id, *tokens)
    for name in ENTRIES.keys() - {"other strategy"}:
        entry = changed(asked.entry, ENTRIES[name])
        problem = standing_problem(entry, asked.credential, key=None, now=server.clock())

        answered = await asked.answers(entry, None)

        assert answered.pop("session") is (problem in {None, Problem.IDENTITY_KEY_REPLACED}), name
        assert set(answered.values()) == {problem is None}, (name, problem, answered)


@pytest.mark.parametrize(
    ("change", "status"),
    [({}, "live"), ("revoked", "revoked"), ("expired", "expired"), ("rotated", "expired")],
)
def test_the_status_shown_for_a_key_matches_the_checks(change, status):
    """A key is shown as live if and only if Workers can use it."""
    key = api_key(**(KEYS[change] or {} if change else {}))

    assert key_status(key, NOON) == status
    assert (key_end(key, now=NOON) is None) is (status == "live")
