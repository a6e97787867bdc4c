"""Checks the Server's database: connection, rights, locks, the end of the audit log, and the signing keys in it."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, make_url

from lyftdata.core.errors import SettingsError
from lyftdata.core.event_destinations import MAX_PAUSE
from lyftdata.core.keyring import KeyDecryptionError, active_key, decrypt_signing_key
from lyftdata.core.records import SigningKeyRecord
from lyftdata.core.text import clean_text
from lyftdata.doctor import findings
from lyftdata.doctor.database_connections import check_connections
from lyftdata.doctor.findings import Finding, is_stopped_by
from lyftdata.server.admin.audit_checkpoints import ACCEPT
from lyftdata.server.admin.kept_checkpoint import KeptCheckpoint
from lyftdata.server.runtime.audit_acceptance import find_difference
from lyftdata.server.runtime.data_dir import database_file
from lyftdata.server.runtime.maintenance import StateLocation, secret_key_of
from lyftdata.server.runtime.operator_recovery import url_of
from lyftdata.server.runtime.secret_keys import kek_of
from lyftdata.server.runtime.settings import ServerSettings
from lyftdata.store.dialects import exposure, rights
from lyftdata.store.direct_write import read_directly
from lyftdata.store.errors import StoreError
from lyftdata.store.lock_wait import find_stuck_lock
from lyftdata.store.schema import writer_lock
from lyftdata.store.tables import event_destinations, signing_keys

# A Server's own writes take less than a second.
_LOCK_WITHIN_S = 3.0


def check_database(settings: ServerSettings, *, now: datetime) -> Iterator[Finding]:
    """Yield what is wrong with the database, which may be in use; nothing before the first start has created it."""
    place = _place(settings)
    found = list(_check_connection(settings))
    yield from found
    if is_stopped_by(found) or not _exists(place):
        return
    for check in (_check_lock, _check_audit_log):
        try:
            yield from check(place)
        except (StoreError, SettingsError) as error:
            yield Finding(findings.DATABASE_UNUSABLE, error.message, error.hint or "Start the Server once.")
            return
    if settings.database_url is not None:
        yield from check_connections(settings, settings.database_url.reveal())
    yield from _check_signing_keys(place, now=now)
    yield from _check_events(place, now=now)


def has_database(settings: ServerSettings) -> bool:
    """Return whether a Server with these settings has created its database, or the settings name one that cannot be reached."""
    try:
        return _exists(_place(settings))
    except StoreError:
        return True


def find_signing_key(settings: ServerSettings, *, now: datetime) -> str | None:
    """Return the ID of the key that signs now according to the database; None if that cannot be read."""
    place = _place(settings)
    try:
        records = _signing_keys(place) if _exists(place) else []
    except StoreError:
        return None
    return active_key(records, now).kid if records else None


def _place(settings: ServerSettings) -> StateLocation:
    return StateLocation(
        staging_dir=settings.staging_dir,
        database_url=settings.database_url,
        allow_unverified_database=settings.allow_unverified_database,
        secret_key=settings.secret_key,
        secret_key_next=settings.secret_key_next,
    )


def _exists(place: StateLocation) -> bool:
    if place.database_url is None:
        return database_file(place.staging_dir).exists()
    url = make_url(place.database_url.reveal())
    if url.get_backend_name() == "sqlite":
        return Path(str(url.database)).exists()
    return bool(exposure.ask_postgresql(url, _lock_table))


def _lock_table(conn: Connection) -> list[str]:
    name = conn.exec_driver_sql(f"SELECT to_regclass('{writer_lock.name}')::text").scalar()
    return [] if name is None else [str(name)]


def _check_connection(settings: ServerSettings) -> Iterator[Finding]:
    """Connect to PostgreSQL; the mode of an SQLite file is checked with the directory."""
    if settings.database_url is None:
        return
    url = settings.database_url.reveal()
    try:
        exposed, missing = exposure.ask(url), exposure.ask_postgresql(url, rights.find_missing)
    except StoreError as error:
        yield Finding(
            findings.DATABASE_UNUSABLE,
            error.message,
            error.hint or "Start the database, or correct LYFTDATA_DATABASE_URL.",
        )
        return
    for right, statement in missing:
        yield Finding(
            findings.DATABASE_RIGHTS_MISSING,
            f"LYFTDATA_DATABASE_URL: its role lacks {right}.",
            f"As the owner of the tables: {statement}",
        )
    for sentence in exposed:
        what, _, fix = sentence.rpartition(": ")
        yield Finding(findings.DATABASE_EXPOSED, what or sentence, fix)


def _check_lock(place: StateLocation) -> Iterator[Finding]:
    holders = find_stuck_lock(url_of(place), within_s=_LOCK_WITHIN_S)
    if holders is not None:
        who = holders or "a session that is not shown"
        yield Finding(
            findings.DATABASE_LOCKED,
            f"The lock for writing has not been free for {_LOCK_WITHIN_S:g} s. Held by: {who}.",
            "End that session (PostgreSQL: SELECT pg_terminate_backend(PID)) or stop that program.",
        )


def _check_audit_log(place: StateLocation) -> Iterator[Finding]:
    """Compare the audit log with the last checkpoint, if there is one."""
    if not KeptCheckpoint(place.staging_dir).path.exists():
        return
    difference = find_difference(place)
    if difference is not None:
        yield Finding(findings.AUDIT_LOG_CUT, difference.problem, f"If you restored a backup: {ACCEPT}")


def _check_signing_keys(place: StateLocation, *, now: datetime) -> Iterator[Finding]:
    try:
        secret_key = secret_key_of(place, url_of(place))
        records = _signing_keys(place)
        if records:
            decrypt_signing_key(active_key(records, now), kek=kek_of(secret_key))
    except KeyDecryptionError as error:
        yield Finding(findings.SIGNING_KEYS_UNREADABLE, error.message, error.hint or "Restore a backup.")
    except (StoreError, SettingsError) as error:
        yield Finding(
            findings.SIGNING_KEYS_UNREADABLE,
            clean_text(error.message, 300),
            error.hint or "Start the Server once.",
        )


def _check_events(place: StateLocation, *, now: datetime) -> Iterator[Finding]:
    try:
        deliveries = read_directly(url_of(place), event_destinations.all_deliveries)
        destinations = read_directly(url_of(place), event_destinations.all_destinations)
    except StoreError:
        # The schema is of another version: that was found with the signing keys.
        return
    for destination in destinations:
        if destination.paused_at is not None and now - destination.paused_at >= MAX_PAUSE:
            yield Finding(
                findings.EVENTS_PAUSED,
                f"{destination.name} has been paused since {destination.paused_at.isoformat()}.",
                f"lyftdata events resume {destination.name}",
            )
    for name, delivery in sorted(deliveries.items()):
        if delivery.failures:
            since = (
                "ever"
                if delivery.last_success_at is None
                else f"since {delivery.last_success_at.isoformat()}"
            )
            yield Finding(
                findings.EVENTS_NOT_DELIVERED,
                f"No event was delivered to {name} {since}: {clean_text(delivery.last_error, 300)}",
                f"Repair it, and see: lyftdata events test {name}",
            )
        if delivery.lost:
            yield Finding(
                findings.EVENTS_LOST,
                f"{delivery.lost} events were not delivered to {name}.",
                f"Keep events for longer (LYFTDATA_AUDIT_RETENTION); if it is not used any more: lyftdata events delete {name}",
            )


def _signing_keys(place: StateLocation) -> list[SigningKeyRecord]:
    return read_directly(url_of(place), signing_keys.all_signing_keys)
