"""Decides whether a Worker with a different identity key gets a taken name, and supersedes its holder if so."""

import msgspec

from lyftdata.core.epochs import next_epoch
from lyftdata.core.policy import NamePolicy, decide_same_name
from lyftdata.core.records import WorkerRecord
from lyftdata.core.refusals import NameInUseError
from lyftdata.core.scopes import Scope
from lyftdata.server.admission.returning import ReturningWorkers
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.registry import Sessions
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import presence


class NameClaims:
    """The same rule for a Worker that enrolls, and for one that is approved later."""

    def __init__(
        self,
        *,
        policy: NamePolicy,
        store: Store,
        sessions: Sessions,
        returning: ReturningWorkers,
        clock: Clock,
    ) -> None:
        self.policy = policy
        self._store = store
        self._sessions = sessions
        self._returning = returning
        self._clock = clock

    def find_superseded(
        self,
        tx: WriteTx,
        claimant: WorkerRecord,
        holder: WorkerRecord | None,
        *,
        within: Scope,
        copy_of: str | None = None,
    ) -> WorkerRecord | None:
        """
        Return the Worker that loses its name to the claimant; None if the name is free, or shared.

        Args:
            tx: The transaction that assigns the name.
            claimant: The Worker that requests it.
            holder: The Worker that has it now.
            within: The scope of the key or operator that admits the claimant: a Worker outside keeps its name.
            copy_of: The Worker whose identity the claimant had a copy of. No policy gives the claimant that Worker's name: the original
                must not be affected.

        Raises:
            NameInUseError: The claimant does not get the name.
        """
        if holder is None:
            return None
        if holder.id == copy_of:
            raise NameInUseError(
                f"Held by {holder.id}, whose identity the new Worker had a copy of.",
                claimed_worker=claimant.name,
                other_worker=holder.id,
            )
        try:
            verdict = decide_same_name(
                policy=self.policy, holder=holder, holder_online=self._may_be_online(tx, holder)
            )
        except NameInUseError as error:
            raise NameInUseError(
                f"Held by {holder.id}. {error.detail}", claimed_worker=claimant.name, other_worker=holder.id
            ) from error
        # Reaching beyond a scope: one team's enrollment key could cut off any offline Worker of another team.
        if verdict == "supersede" and not within.covers_worker(holder):
            raise NameInUseError(
                f"Held by {holder.id}, which is outside the scope of the enrollment key, or of the operator.",
                claimed_worker=claimant.name,
                other_worker=holder.id,
            )
        return holder if verdict == "supersede" else None

    def superseded(self, holder: WorkerRecord, *, by: WorkerRecord) -> WorkerRecord:
        """Return the holder's entry, marked as superseded."""
        epoch = next_epoch(holder.epoch, now=self._clock())
        return msgspec.structs.replace(holder, superseded_by=by.id, epoch=epoch)

    def _may_be_online(self, tx: WriteTx, holder: WorkerRecord) -> bool:
        """
        Return whether the holder is connected, or may be reconnecting after a start of the Server.

        With several Servers the database knows who is connected to any of them, or was connected to a dead one.

        Impersonation after a restart: a starting Server has no sessions, and without this an attacker with the enrollment key
        could wait for a restart and take the name of a running Worker. So for the first minutes, every Worker may return unless it was
        seen to leave, or to enroll, since the start. The stored activity is not used: a crash loses its last second.
        """
        if self._sessions.is_online(holder.id):
            return True
        if self._store.is_shared:
            return presence.find(tx.conn, holder.id) is not None
        return self._returning.may_return(holder.id)
