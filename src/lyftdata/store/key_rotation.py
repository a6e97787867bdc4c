"""
Moves a database to another secret key, in one transaction: all of it, or nothing.

1. No Server may use the database, and its whole audit log is verified with the old key.
2. Every event is hashed, every checkpoint signed, and every signing key and event destination encrypted with the new key. The old signatures
   of the checkpoints stay, so that those who have the old public key can still verify them.
3. An audit event records it, and names the end of the log under the old key and both public keys. A checkpoint that ends with this event
   is signed with both keys: with a proof of the event, those who trust the old public key learn the new one.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta

import msgspec
from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError

from lyftdata.core.audit_checkpoints import (
    Checkpoint,
    add_event,
    join_peaks,
    published_key,
    read_checkpoint,
    sign_checkpoint,
)
from lyftdata.core.event_destinations import seal_target, unseal_target
from lyftdata.core.keyring import decrypt_signing_key, encrypt_signing_key
from lyftdata.core.merkle_tree import CompactRange
from lyftdata.core.progress import OnProgress, ignore_progress
from lyftdata.core.records import AuditEvent, ChainedAuditEvent, CheckpointRecord
from lyftdata.core.sealing import UnsealError
from lyftdata.core.totp import seal_totp_secret, unseal_totp_secret
from lyftdata.store import audit_log, audit_tree, migrate
from lyftdata.store.dialects import dialect, postgresql
from lyftdata.store.direct_write import check_version
from lyftdata.store.errors import StoreError, problem_of
from lyftdata.store.tables import (
    audit_checkpoints,
    enrollment_key_uses,
    event_destinations,
    known_networks,
    second_factors,
    servers,
    signing_keys,
    workers,
)
from lyftdata.store.writer.transaction import WriteTx


class DatabaseKeys(msgspec.Struct, frozen=True):
    """The keys for a database that are derived from a secret key."""

    audit_key: bytes
    kek: bytes


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the audit log under the old key, and the public keys of its checkpoints."""

    number: int
    hash: bytes
    previous_public_key: str
    public_key: str
    signing_keys: int


class RotatedKey(msgspec.Struct, frozen=True, kw_only=True):
    """What was changed; `event` is the number of the audit event that records it."""

    event: int
    handover: Handover
    checkpoints: int
    workers: int


def rotate(
    url: str | URL,
    *,
    old: DatabaseKeys,
    new: DatabaseKeys,
    renamed: Mapping[str, str],
    describe: Callable[[Handover], AuditEvent],
    nonce: Callable[[], bytes],
    silent_for: timedelta,
    on_progress: OnProgress = ignore_progress,
) -> RotatedKey:
    """
    Move a database to another key. The caller has locked a database that is a file.

    Args:
        url: SQLAlchemy URL of an existing database.
        old: Its current keys.
        new: Its new keys.
        renamed: Fingerprints of enrollment keys that are settings: the old one, and the one under the new key.
        describe: Returns the audit event that records it.
        nonce: Returns 12 random bytes.
        silent_for: A Server without a heartbeat for that long has stopped.
        on_progress: Called with the progress; if it raises, nothing is changed.

    Raises:
        StoreError: A Server is running, the database cannot be used, or its audit log does not fit the old key or was changed;
            nothing was changed.
        KeyDecryptionError: A signing key does not fit the old key; nothing was changed.
    """
    engine = dialect.make_engine(url)
    try:
        dialect.check_file_permissions(engine)
        with engine.begin() as conn:
            check_version(migrate.current_version(conn))
            dialect.lock_out_other_writers(conn)
            if dialect.is_shared(engine):
                postgresql.allow_long_write(conn)
                _check_no_server(conn, silent_for)
            tree = _verify(conn, old.audit_key, on_progress)
            rotation = _Rotation(conn, old=old, new=new, tree=tree)
            rotated = rotation.run(renamed, describe, nonce, on_progress)
            on_progress("Committing", 0, 1)
        on_progress("Committing", 1, 1)
    except DBAPIError as error:
        raise StoreError(
            f"The database failed: {problem_of(error)}.",
            hint="Run it again: it finds out which key the database has.",
        ) from error
    finally:
        engine.dispose()
    return rotated


def _check_no_server(conn: Connection, silent_for: timedelta) -> None:
    live = servers.list_live(conn, silent_for=silent_for)
    running = [server for server in servers.all_servers(conn) if server.id in live]
    if running:
        names = ", ".join(f"{server.host} ({server.address})" for server in running)
        raise StoreError(
            f"Servers are using the database: {names}.", hint="Stop every Server first. Nothing was changed."
        )


def _verify(conn: Connection, audit_key: bytes, on_progress: OnProgress) -> CompactRange:
    """Verify the whole log; return its tree up to the last checkpoint."""
    report = audit_tree.verify(conn, key=audit_key, on_progress=on_progress)
    if not report.ok:
        raise StoreError(
            f"The audit log does not fit the secret key, or was changed. {report.problem}",
            hint="Nothing was changed. Give the Server's own secret key; see also: lyftdata audit verify",
        )
    return audit_checkpoints.last_tree(conn, audit_key=audit_key, size=report.head_number)


class _Rotation:
    """The changes of one transaction."""

    def __init__(self, conn: Connection, *, old: DatabaseKeys, new: DatabaseKeys, tree: CompactRange) -> None:
        self._conn = conn
        self._old = old
        self._new = new
        self._tree = tree
        self._origin = _origin(conn)

    def run(
        self,
        renamed: Mapping[str, str],
        describe: Callable[[Handover], AuditEvent],
        nonce: Callable[[], bytes],
        on_progress: OnProgress,
    ) -> RotatedKey:
        """Make every change; the caller commits."""
        while audit_tree.extend(self._conn, self._tree, audit_key=self._old.audit_key):
            pass
        before = audit_log.load_head(self._conn, key=self._old.audit_key)
        head = audit_log.rehash(self._conn, key=self._new.audit_key, on_progress=on_progress)
        tx = WriteTx(self._conn, head=head, audit_key=self._new.audit_key)
        handover = Handover(
            number=before.number,
            hash=before.hash,
            previous_public_key=published_key(self._old.audit_key, origin=self._origin),
            public_key=published_key(self._new.audit_key, origin=self._origin),
            signing_keys=self._encrypt_again(tx, nonce),
        )
        self._seal_targets_again(tx, nonce)
        self._seal_second_factors_again(tx, nonce)
        found = sum(_rename(tx, old, new) for old, new in renamed.items())
        # They are keyed hashes of addresses, and cannot be computed again.
        known_networks.forget_all_networks(tx)
        checkpoints = audit_checkpoints.sign_all_again(tx, audit_key=self._new.audit_key)
        self._append(tx, describe(handover))
        return RotatedKey(event=tx.head.number, handover=handover, checkpoints=checkpoints, workers=found)

    def _encrypt_again(self, tx: WriteTx, nonce: Callable[[], bytes]) -> int:
        records = signing_keys.all_signing_keys(self._conn)
        for record in records:
            key = decrypt_signing_key(record, kek=self._old.kek)
            encrypted = encrypt_signing_key(key, kek=self._new.kek, nonce=nonce())
            signing_keys.replace_encrypted_key(tx, record.kid, encrypted)
        return len(records)

    def _seal_targets_again(self, tx: WriteTx, nonce: Callable[[], bytes]) -> None:
        for record in event_destinations.all_destinations(self._conn):
            try:
                target = unseal_target(record, key=self._old.kek)
            except UnsealError:
                # It could not be read before either: nothing is delivered there, and operators see why.
                continue
            sealed = seal_target(target, name=record.name, key=self._new.kek, nonce=nonce())
            event_destinations.replace_destination(tx, msgspec.structs.replace(record, sealed_target=sealed))

    def _seal_second_factors_again(self, tx: WriteTx, nonce: Callable[[], bytes]) -> None:
        for record in second_factors.all_factors(self._conn):
            try:
                secret = unseal_totp_secret(record.sealed, factor_id=record.id, key=self._old.kek)
            except UnsealError:
                # Its codes were not accepted before either: recovery codes are.
                continue
            sealed = seal_totp_secret(secret, factor_id=record.id, key=self._new.kek, nonce=nonce())
            second_factors.replace_sealed(tx, record.id, sealed)

    def _append(self, tx: WriteTx, event: AuditEvent) -> None:
        """Append the event, and a checkpoint signed with both keys."""
        previous = tx.head.hash
        tx.audit(event)
        audit_log.append(self._conn, tx.events)
        audit_log.write_head(self._conn, tx.head, key=self._new.audit_key)
        number = tx.head.number
        add_event(
            self._tree,
            ChainedAuditEvent(number=number, event=event, previous=previous, hash=tx.head.hash),
        )
        checkpoint = Checkpoint(self._origin, number, self._tree.root())
        note = sign_checkpoint(checkpoint, [self._old.audit_key, self._new.audit_key])
        record = CheckpointRecord(size=number, at=event.at, peaks=join_peaks(self._tree), note=note)
        audit_checkpoints.add_checkpoint(tx, record)


def _rename(tx: WriteTx, old: str, new: str) -> int:
    enrollment_key_uses.rename_fingerprint(tx, old, new)
    return workers.rename_fingerprint(tx, old, new)


def _origin(conn: Connection) -> str:
    """Return the name of the log."""
    last = audit_checkpoints.last_checkpoint(conn)
    if last is None:
        raise StoreError(
            "No checkpoint of the audit log was signed yet.",
            hint="Start the Server once, stop it, and run this again. Nothing was changed.",
        )
    return read_checkpoint(last.note).origin
