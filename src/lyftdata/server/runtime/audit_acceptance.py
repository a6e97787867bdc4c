"""
Accepts, on the Server's host, an audit log that does not contain the last saved checkpoint, as after restoring a backup.

The acceptance is an event in the log, with the content of the saved checkpoint: the log continues, and shows for ever that it once
went further. The saved checkpoint is renamed.
"""

from pathlib import Path

import msgspec

from lyftdata.core.audit_checkpoints import Checkpoint, CheckpointError
from lyftdata.core.errors import ConflictError
from lyftdata.core.records import AuditEvent
from lyftdata.server.admin.audit_checkpoints import describe_cut
from lyftdata.server.admin.kept_checkpoint import KeptCheckpoint
from lyftdata.server.clock import Clock, utc_now
from lyftdata.server.runtime.maintenance import StateLocation, secret_key_of
from lyftdata.server.runtime.operator_recovery import url_of, who_on_host
from lyftdata.server.runtime.secret_keys import audit_key_of
from lyftdata.store import WriteTx, audit_log, audit_tree
from lyftdata.store.direct_write import read_directly, write_directly


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What the saved checkpoint says and the log does not confirm; `kept` is None if the file is not a checkpoint."""

    kept: Checkpoint | None
    length: int
    problem: str


def find_difference(place: StateLocation) -> Difference | None:
    """
    Return why the audit log does not contain the saved checkpoint; None if it does, or if none is saved.

    Raises:
        SettingsError, StoreError: The state cannot be read.
    """
    url = url_of(place)
    audit_key = audit_key_of(secret_key_of(place, url))
    file = KeptCheckpoint(place.staging_dir)
    try:
        kept = file.load()
    except CheckpointError:
        length = read_directly(url, audit_log.last_number)
        return Difference(kept=None, length=length, problem=f"{file.path} does not hold a checkpoint.")
    if kept is None:
        return None
    is_too_old, length, root = read_directly(
        url,
        lambda conn: (
            audit_log.begins_after(conn, kept.size),
            audit_log.last_number(conn),
            audit_tree.root_at(conn, kept.size, audit_key=audit_key),
        ),
    )
    if root == kept.root or is_too_old:
        return None
    return Difference(kept=kept, length=length, problem=describe_cut(kept, root, length=length))


def accept(place: StateLocation, difference: Difference, *, clock: Clock = utc_now) -> Path:
    """
    Record that the log is accepted as it is, and rename the saved checkpoint; return its new path.

    Raises:
        ConflictError: There is no difference any more.
        SettingsError, StoreError: The state cannot be used; nothing was changed.
    """
    if find_difference(place) != difference:
        raise ConflictError(
            "audit_log_moved", "The audit log or the kept checkpoint changed.", hint="Run it again."
        )
    now = clock()
    kept = difference.kept
    details = {} if kept is None else {"kept_size": str(kept.size), "kept_root": kept.root.hex()}

    def op(tx: WriteTx) -> None:
        tx.audit(
            AuditEvent(
                at=now,
                actor="host",
                action="audit_log.accepted",
                subject="audit_log",
                details=details | {"length": str(difference.length)} | who_on_host(),
            )
        )

    url = url_of(place)
    write_directly(url, op, audit_key=audit_key_of(secret_key_of(place, url)))
    return KeptCheckpoint(place.staging_dir).put_aside(now)
