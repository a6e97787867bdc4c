"""
Rotates the Server's secret key on its host, while every Server is stopped.

The order makes a crash harmless. A key in the data directory is replaced in three steps: the new one is written next to it
(secret.key.next), the database is changed in one transaction, and the new one is renamed to secret.key. Whatever is left after a
crash, the database shows which of the two keys is in force (`secret_keys.find_secret_key`); the next start, or the next run of this
command, finishes or discards the rest. Keys in settings stay as they are: the database is changed, and Servers that have both keys
use the one that fits.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from lyftdata.core.audit import KEY_ROTATED
from lyftdata.core.enrollment_secrets import fingerprint
from lyftdata.core.errors import SettingsError
from lyftdata.core.progress import OnProgress, ignore_progress
from lyftdata.core.records import AuditEvent
from lyftdata.core.secret import Secret
from lyftdata.core.secret_key import key_forms
from lyftdata.core.settings import read_settings
from lyftdata.server.clock import Clock, RandomBytes, random_bytes, utc_now
from lyftdata.server.cluster.membership import DEAD_AFTER
from lyftdata.server.runtime import secret_keys
from lyftdata.server.runtime.audit_acceptance import find_difference
from lyftdata.server.runtime.maintenance import StateLocation, secret_key_of
from lyftdata.server.runtime.operator_recovery import url_of, who_on_host
from lyftdata.server.runtime.settings_table import TABLE
from lyftdata.server.runtime.settings_values import is_shared_database
from lyftdata.store import StoreError, backup, key_rotation
from lyftdata.store.key_rotation import DatabaseKeys, Handover, RotatedKey

_NONCE_BYTES = 12


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """
    The result of a run.

    `changed` is None if the database already had the new key, because an earlier run was interrupted. `file` is the file with the
    current key, None if it is in the settings.
    """

    changed: RotatedKey | None
    file: Path | None


def read_enrollment_keys(environ: Mapping[str, str]) -> list[Secret]:
    """Return the enrollment keys in the settings, whose fingerprints depend on the secret key; raises SettingsError."""
    values, _ = read_settings(
        [setting for setting in TABLE if setting.field in {"enrollment_key", "enrollment_key_previous"}],
        environ=environ,
        flags={},
        read_file=lambda path: Path(path).read_text(encoding="utf-8"),
    )
    return [secret for secret in values.values() if secret is not None]


def rotate_secret_key(
    place: StateLocation,
    *,
    enrollment_keys: list[Secret],
    clock: Clock = utc_now,
    random_source: RandomBytes = random_bytes,
    on_progress: OnProgress = ignore_progress,
) -> Rotation:
    """
    Move the database, and the key in the data directory, to a new secret key.

    Args:
        place: Where the Server's state is, the current key, and the next key if there is one.
        enrollment_keys: Those in the settings: their fingerprints change, also in the entries of the Workers that enrolled with them.
        clock: Aware UTC time.
        random_source: Generates the new key, and nonces.
        on_progress: Called with the progress.

    Raises:
        SettingsError: A key is missing or cannot be written.
        StoreError: A Server is running, the database cannot be used, or it does not fit the key; nothing was changed.
    """
    url = url_of(place)
    _check_keys_given(place)
    with _without_servers(place):
        file = place.secret_key_file()
        if file is not None and secret_keys.settle_secret_key(place.staging_dir, database=url):
            return Rotation(changed=None, file=file)
        current = secret_key_of(place, url)
        text = secret_keys.make_secret_key(random_source)
        if place.secret_key_next is not None:
            text = place.secret_key_next.reveal().encode()
        new = key_forms(text)[0]
        if new == current:
            # Not earlier: in an older database the same text stands for another key; from now on it is stretched.
            _check_keys_differ(place)
            return Rotation(changed=None, file=file)
        _check_kept_checkpoint(place)
        if file is not None:
            secret_keys.write_next_secret_key(place.staging_dir, text)
        try:
            changed = key_rotation.rotate(
                url,
                old=_database_keys(current),
                new=_database_keys(new),
                renamed=_renamed(enrollment_keys, current, new),
                describe=lambda handover: _event(handover, clock),
                nonce=lambda: random_source(_NONCE_BYTES),
                silent_for=DEAD_AFTER,
                on_progress=on_progress,
            )
        finally:
            if file is not None:
                on_progress("Replacing secret.key", 0, 1)
                secret_keys.settle_secret_key(place.staging_dir, database=url)
                on_progress("Replacing secret.key", 1, 1)
        return Rotation(changed=changed, file=file)


@contextlib.contextmanager
def _without_servers(place: StateLocation) -> Iterator[None]:
    """Lock a database that is a file, so that no Server can use it; for a shared one the transaction checks for running Servers."""
    if is_shared_database(place.database_url):
        yield
        return
    with backup.locked(place.sqlite_file()):
        yield


def _check_keys_given(place: StateLocation) -> None:
    if place.secret_key is None and is_shared_database(place.database_url):
        raise SettingsError(
            ["LYFTDATA_SECRET_KEY: must be set to the key that the Servers on this database have."]
        )
    if place.secret_key is not None and place.secret_key_next is None:
        raise SettingsError(
            [
                "LYFTDATA_SECRET_KEY_NEXT: must be set to the new key, since LYFTDATA_SECRET_KEY is set. "
                "Make one with: lyftdata enrollment generate-key"
            ]
        )


def _check_keys_differ(place: StateLocation) -> None:
    if place.secret_key is None or place.secret_key_next is None:
        return
    if place.secret_key.reveal() == place.secret_key_next.reveal():
        raise SettingsError(
            [
                "LYFTDATA_SECRET_KEY_NEXT: must differ from LYFTDATA_SECRET_KEY, which is the key to replace. "
                "Make one with: lyftdata enrollment generate-key"
            ]
        )


def _check_kept_checkpoint(place: StateLocation) -> None:
    difference = find_difference(place)
    if difference is not None:
        raise StoreError(
            f"{difference.problem} Nothing was changed.",
            hint="If you restored a backup, accept the log first: lyftdata admin accept-audit-log",
        )


def _database_keys(secret_key: bytes) -> DatabaseKeys:
    return DatabaseKeys(
        audit_key=secret_keys.audit_key_of(secret_key),
        kek=secret_keys.kek_of(secret_key),
    )


def _renamed(enrollment_keys: list[Secret], current: bytes, new: bytes) -> dict[str, str]:
    old_pepper, new_pepper = map(secret_keys.fingerprint_pepper_of, (current, new))
    return {fingerprint(key, old_pepper): fingerprint(key, new_pepper) for key in enrollment_keys}


def _event(handover: Handover, clock: Clock) -> AuditEvent:
    details = {
        "head": f"{handover.number}:{handover.hash.hex()}",
        "previous_audit_key": handover.previous_public_key,
        "audit_key": handover.public_key,
        "signing_keys": str(handover.signing_keys),
    }
    return AuditEvent(
        at=clock(),
        actor="host",
        action=KEY_ROTATED,
        subject="secret_key",
        details=details | who_on_host(),
    )
