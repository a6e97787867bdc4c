"""
Applies committed changes to this Server's memory and to the Workers connected to it.

Called in the event loop after the commit and before the operator gets an answer: when `disable` returns, the
Worker's session at this Server has already ended. A session at a peer ends once that peer has read the change, within a second.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec

import msgspec

from lyftdata.core.fleet_policy import VersionStanding
from lyftdata.core.log_events.server import CHANGE_NOT_APPLIED, REFUSAL_NOT_RECORDED
from lyftdata.core.records import PresenceRecord, WorkerRecord
from lyftdata.core.refusals import ApiKeyRefusedError, RefusedError
from lyftdata.core.standing import Problem
from lyftdata.core.tokens import parse_credential
from lyftdata.log import emit, get_logger
from lyftdata.server.admission.approval_queue import HeldRequests
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.refusal_log import RefusalLog
from lyftdata.server.admission.signature_counters import SignatureCounters
from lyftdata.server.admission.token_counts import TokenCounts
from lyftdata.server.admission.token_issuer import find_problem
from lyftdata.server.admission.token_origins import TokenOrigins
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.sessions.session import RENEW, ROTATE_KEY, Directive, Session
from lyftdata.server.streams.events import Event, Events
from lyftdata.store.changes import (
    AllChanged,
    ApiKeyChanged,
    Broadcast,
    Change,
    FleetPolicyChanged,
    PresenceChanged,
    SigningKeysChanged,
    WorkerChanged,
)

_log = get_logger(__name__)

P = ParamSpec("P")


class ClusterHandlers(msgspec.Struct, frozen=True, kw_only=True):
    """What to call for changes published by peers, apart from the directory."""

    presence: Callable[[str, PresenceRecord | None], None]
    signing_keys: Callable[[], None]
    broadcast: Sequence[Callable[[str, Mapping[str, Any]], None]]
    missed: Callable[[], None]
    """Called when broadcasts may have been missed."""


class ChangeApplier:
    """Passes changes from the store to the directory, the sessions and the listeners."""

    def __init__(
        self,
        *,
        directory: Directory,
        sessions: Sessions,
        refusals: RefusalLog,
        traces: ActivityLog,
        token_origins: TokenOrigins,
        token_counts: TokenCounts,
        counters: SignatureCounters,
        held_requests: HeldRequests,
        events: Events,
        cluster: ClusterHandlers,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._sessions = sessions
        self._refusals = refusals
        self._traces = traces
        self._token_origins = token_origins
        self._token_counts = token_counts
        self._counters = counters
        self._held_requests = held_requests
        self._events = events
        self._cluster = cluster
        self._clock = clock

    def on_change(self, changes: Sequence[Change]) -> None:
        """Apply a commit's changes; the directory first, so that nothing acts on the old state."""
        changes = [one for change in changes for one in self._one_by_one(change)]
        before = {
            c.worker_id: self._directory.find_worker(c.worker_id)
            for c in changes
            if isinstance(c, WorkerChanged)
        }
        self._directory.apply(changes)
        self._events.count_change()
        for change in changes:
            self._attempt(self._apply, change, before)

    def _attempt(self, step: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run a step; its failure must not prevent the steps that follow."""
        try:
            step(*args, **kwargs)
        except Exception:  # noqa: BLE001 - whatever it is, it must not keep another Worker connected
            emit(_log, CHANGE_NOT_APPLIED, exc_info=True, step=getattr(step, "__name__", ""))

    def _one_by_one(self, change: Change) -> list[Change]:
        """Return the change itself or, for a full reload, a change for each thing that differs."""
        if not isinstance(change, AllChanged):
            return [change]
        self._cluster.missed()
        there = {record.worker_id: record for record in change.presence}
        return [
            *self._directory.differences(change),
            *(PresenceChanged(w, there.get(w)) for w in there.keys() | set(self._sessions.online_ids())),
            SigningKeysChanged(),
        ]

    def _apply(self, change: Change, before: Mapping[str, WorkerRecord | None]) -> None:
        match change:
            case WorkerChanged(worker_id=worker_id):
                self._worker_changed(worker_id, before[worker_id])
            case ApiKeyChanged(public_id=public_id):
                self._key_changed(public_id)
            case PresenceChanged(worker_id=worker_id, record=record):
                if record is not None:
                    self._traces.seen.add(worker_id)
                self._cluster.presence(worker_id, record)
            case SigningKeysChanged():
                self._cluster.signing_keys()
            case FleetPolicyChanged():
                self._policy_changed()
            case Broadcast(topic=topic, body=body):
                for receive in self._cluster.broadcast:
                    self._attempt(receive, topic, body)
            case _:
                # Resources and revoked tokens end no session: a session's token is for this Server, and a session does not depend on one token.
                pass

    def _worker_changed(self, worker_id: str, before: WorkerRecord | None) -> None:
        now = self._directory.find_worker(worker_id)
        session = self._sessions.find_here(worker_id)
        if session is not None:
            renew = now is not None and before is not None and _changes_identity(before, now)
            self._attempt(self._check, session, renew=renew)
            asked_before = None if before is None else before.rotation_asked_at
            if now is not None and now.rotation_asked_at not in {None, asked_before}:
                self._sessions.send_directive(worker_id, ROTATE_KEY)
        self._held_requests.note_change(worker_id)
        if now is None:
            self._traces.forget(worker_id)
            self._token_origins.forget(worker_id)
            self._token_counts.forget(worker_id)
            self._counters.forget(worker_id)
        self._events.publish(Event("worker" if now is not None else "worker_deleted", worker_id))

    def _key_changed(self, public_id: str) -> None:
        key = self._directory.find_api_key(public_id)
        # When the poll began, a key that expires soon (rotated, with a grace period) may have had no end: the next poll is held
        # at most until the key expires.
        ends = key is not None and key.expires_at is not None
        for worker_id in self._sessions.online_with_key(public_id):
            session = self._sessions.find_here(worker_id)
            if session is not None:
                self._attempt(self._check, session, renew=ends)

    def _policy_changed(self) -> None:
        """End the sessions of agents that the policy now refuses; those that it refuses later are refused when they poll."""
        policy = self._directory.fleet_policy
        if policy is None:
            return
        now = self._clock()
        for session in self._sessions:
            version = session.boot.host.get("agent_version", "")
            if policy.standing_of(version, now=now) is VersionStanding.REFUSED:
                refused = policy.refusal(version, worker_id=session.worker_id)
                self._attempt(self._stop, session, refused)

    def _stop(self, session: Session, refused: RefusedError) -> None:
        self._sessions.stop(session.worker_id, stop_directive(refused, self._reference(refused, session)))

    def _check(self, session: Session, *, renew: bool) -> None:
        problem = find_problem(self._directory, session.worker_id, session.credential, now=self._clock())
        if problem is Problem.IDENTITY_KEY_REPLACED:
            # The Worker's owner has replaced the key, and the Worker can get a token with the new one. The old token is not accepted any more.
            self._sessions.send_directive(session.worker_id, RENEW)
        elif problem is not None:
            self._stop(session, self._refusal(problem, session))
        elif renew:
            self._sessions.send_directive(session.worker_id, RENEW)

    def _reference(self, refused: RefusedError, session: Session) -> str:
        """Record why a session ends; it must end even if that fails."""
        try:
            return self._refusals.record(refused, address=session.boot.address, limited=False).reference
        except Exception:  # noqa: BLE001
            emit(_log, REFUSAL_NOT_RECORDED, exc_info=True, worker=session.worker_id)
            return ""

    def _refusal(self, problem: Problem, session: Session) -> RefusedError:
        """Return why a connected Worker must disconnect; it has proved its key, and may learn the cause."""
        cause, worker_id = problem.cause, session.worker_id
        worker = self._directory.find_worker(worker_id)
        if worker is not None and problem is Problem.SUPERSEDED:
            by = worker.superseded_by or ""
            return cause(f"Superseded by {by}.", claimed_worker=worker_id, other_worker=by)
        proved = parse_credential(session.credential)
        key = self._directory.find_api_key(proved.value) if proved.kind == "key" else None
        if key is not None and issubclass(cause, ApiKeyRefusedError):
            return cause(f"API key '{key.name}'.", claimed_worker=worker_id, api_key=key.name)
        return cause(claimed_worker=worker_id)


def stop_directive(refused: RefusedError, reference: str) -> Directive:
    """Return the directive that says to a Worker that has proved its key why it must stop, and whether it may retry."""
    return Directive(
        kind="stop",
        code=refused.code,
        final=refused.final,
        reason=refused.meaning,
        remedy=refused.remedy,
        reference=reference,
    )


def _changes_identity(before: WorkerRecord, now: WorkerRecord) -> bool:
    return (before.name, before.labels, before.thumbprint) != (now.name, now.labels, now.thumbprint)
