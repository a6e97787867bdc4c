"""Records copies of identities for operators to decide about, and decides which may enroll as new Workers."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.networks import network_of_host
from lyftdata.core.policy import CopyPolicy
from lyftdata.core.records import AuditEvent, CopyDecision, IdentityCopyRecord, WorkerSessionRecord
from lyftdata.core.refusals import EnrollAsNewError, IdentityClonedError, RefusedError
from lyftdata.core.signature_counter import host_label
from lyftdata.server.admission.signature_counters import CONTINUE_WITHIN
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.sessions.session import Session
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import identity_copies, worker_sessions

# A waiting copy asks every half a minute.
_TOUCH_EVERY = timedelta(minutes=1)
_BY_POLICY = "server:policy"
_KNOWN_FOR = timedelta(days=7)


class IdentityCopies:
    """
    The refused copies.

    A caller without an identity key cannot write here; one that has it can write as often as it gets references from the refusal log.

    Args:
        store: Stores the copies.
        sessions: Which Workers are connected, and from where.
        policy: What happens to an undecided copy.
        clock: Returns aware UTC time.
        known_secrets: Redacted in what the copy reports about its host.
    """

    def __init__(
        self,
        *,
        store: Store,
        sessions: Sessions,
        policy: CopyPolicy,
        clock: Clock,
        known_secrets: KnownSecrets,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._policy = policy
        self._clock = clock
        self._known_secrets = known_secrets

    async def cause_for(self, refused: IdentityClonedError) -> RefusedError:
        """Return the refusal for a copy; it says that the copy may enroll as a new Worker, if an operator or the policy has decided so."""
        known = await self._find(refused.claimed_worker, refused.refused_as)
        decision = None if known is None else known.decision
        is_new = decision is CopyDecision.AS_NEW or (
            decision is None and await self._is_new_by_policy(refused)
        )
        if not is_new:
            return refused
        return EnrollAsNewError(refused.detail, claimed_worker=refused.claimed_worker)

    async def record(self, refused: IdentityClonedError, *, reference: str) -> None:
        """
        Record a refused copy; durable when this returns.

        Args:
            refused: The refusal, with both hosts.
            reference: Of this refusal; the copy identifies itself by the first one that it received.
        """
        worker_id, now = refused.claimed_worker, self._clock()
        reference = refused.refused_as or reference
        known = await self._find(worker_id, reference)
        if known is None:
            is_decided = await self._is_new_by_policy(refused)
            found = IdentityCopyRecord(
                reference=reference,
                worker_id=worker_id,
                found_at=now,
                last_at=now,
                host=self._known_secrets.hide(refused.refused.host),
                address=refused.refused.address,
                other_host=self._known_secrets.hide(refused.accepted.host),
                other_address=refused.accepted.address,
                decision=CopyDecision.AS_NEW if is_decided else None,
                decided_at=now if is_decided else None,
                decided_by=_BY_POLICY if is_decided else None,
            )
            await self._store.write(lambda tx: _record(tx, found))
            return
        if _has_ended(known, now=now):
            await self._store.write(lambda tx: _withdraw(tx, known))
        elif known.decision is None and await self._is_new_by_policy(refused):
            await self._store.write(lambda tx: _decide_by_policy(tx, known, now=now))
        if now - known.last_at >= _TOUCH_EVERY:
            await self._store.write(lambda tx: identity_copies.touch_copy(tx, worker_id, reference, at=now))

    async def _is_new_by_policy(self, refused: IdentityClonedError) -> bool:
        """
        Return whether the policy lets a copy enroll as a new Worker without an operator.

        The refused directory may be the original: it is the one that came second. So the Worker must be connected now, from a different
        host or network, and must never have been connected from the refused host before; otherwise an operator decides.
        """
        session = self._sessions.find(refused.claimed_worker)
        if self._policy is not CopyPolicy.AS_NEW or session is None or not _is_elsewhere(refused, session):
            return False
        kept = await self._store.read(lambda conn: worker_sessions.list_sessions(conn, session.worker_id))
        return _goes_back_far(kept, now=self._clock()) and not _was_on(refused.refused.host, kept, session)

    async def _find(self, worker_id: str, reference: str) -> IdentityCopyRecord | None:
        if not reference:
            return None
        return await self._store.read(lambda conn: identity_copies.find_copy(conn, worker_id, reference))


def _record(tx: WriteTx, found: IdentityCopyRecord) -> None:
    kept = identity_copies.list_copies(tx.conn, [found.worker_id]).get(found.worker_id, [])
    # A client that does not send its reference is recorded with each request, but audited once.
    is_known = any(_place(copy) == _place(found) and copy.decision is found.decision for copy in kept)
    identity_copies.record_copy(tx, found)
    if found.decision is not None and not is_known:
        tx.audit(_audit_event(found, at=found.found_at))


def _place(copy: IdentityCopyRecord) -> tuple[str, str]:
    return copy.host, copy.address


def _withdraw(tx: WriteTx, copy: IdentityCopyRecord) -> None:
    # Race: an operator may have decided again since it was read.
    if identity_copies.is_decided_as(tx.conn, copy):
        identity_copies.withdraw_decision(tx, copy)


def _decide_by_policy(tx: WriteTx, copy: IdentityCopyRecord, *, now: datetime) -> None:
    # Race: a decision made by an operator in the meantime takes precedence over the policy.
    if identity_copies.is_decided_as(tx.conn, copy):
        identity_copies.decide_copy(tx, copy, decision=CopyDecision.AS_NEW, at=now, by=_BY_POLICY)
        tx.audit(_audit_event(copy, at=now))


def _audit_event(copy: IdentityCopyRecord, *, at: datetime) -> AuditEvent:
    return AuditEvent(
        at=at,
        actor="server",
        action="worker.copy_decided",
        subject=f"worker:{copy.worker_id}",
        details={
            "decision": CopyDecision.AS_NEW.value,
            "by": "policy",
            "reference": copy.reference,
            "host": copy.host,
            "address": copy.address,
        },
    )


def _has_ended(copy: IdentityCopyRecord, *, now: datetime) -> bool:
    """Return whether a copy was allowed to continue, but has come too late."""
    if copy.decision is not CopyDecision.CONTINUE or copy.decided_at is None:
        return False
    return now >= copy.decided_at + CONTINUE_WITHIN


def _is_elsewhere(refused: IdentityClonedError, session: Session) -> bool:
    host, network = refused.refused.host, network_of_host(refused.refused.address)
    # A directory that names no host cannot be distinguished from the original.
    return bool(host) and (network not in _networks(session) or host != _host(session.boot.host))


def _goes_back_far(kept: Sequence[WorkerSessionRecord], *, now: datetime) -> bool:
    """
    Return whether the stored sessions show where the Worker was: they are complete, or cover a week.

    Takeover: a thief could connect and sign off until the sessions of the original are no longer stored.
    """
    return len(kept) < worker_sessions.KEPT_OF_A_WORKER or kept[-1].started_at <= now - _KNOWN_FOR


def _was_on(host: str, kept: Sequence[WorkerSessionRecord], session: Session) -> bool:
    """Return whether the Worker was connected from this host before, other than from where it is connected now."""
    here, networks = _host(session.boot.host), _networks(session)
    return any(
        host == _host(earlier.host) and (host != here or network_of_host(earlier.address) not in networks)
        for earlier in kept
    )


def _networks(session: Session) -> set[str]:
    return {network_of_host(session.boot.address), *session.earlier_networks}


def _host(facts: Mapping[str, str]) -> str:
    return host_label(facts.get("hostname", ""))
