"""`lyftdata admin rotate-secret-key`."""

import os
from typing import Any

import click

from lyftdata.cli.confirm import confirm, yes_option
from lyftdata.cli.output import echo, echo_err, emit, json_option
from lyftdata.cli.state_location import find_state, staging_option


@click.command("rotate-secret-key")
@staging_option
@yes_option
@json_option
def rotate_secret_key(staging_dir: str | None, *, yes: bool, as_json: bool) -> None:
    """
    Replace the Server's secret key by a new one. Stop every Server first.

    In one transaction, the signing keys are encrypted, the audit log is hashed and its checkpoints are signed with the new key. The
    event secret_key.rotated records this; a checkpoint that ends with it is signed with both keys. If the command is interrupted,
    nothing is lost: run it again, or start the Server.

    secret.key in the data directory is replaced by a random key, or by LYFTDATA_SECRET_KEY_NEXT if that is set. If the key is
    in LYFTDATA_SECRET_KEY, set LYFTDATA_SECRET_KEY_NEXT (or _FILE) to the new one, and start the Servers with the new one afterwards.

    Backups made before need the old key: keep a copy of it with them, or make a new backup and delete them. Set
    LYFTDATA_AUTO_ENROLLMENT_KEY as for the Server, so that its fingerprint is changed at the Workers that enrolled with it.

    \b
    Example:
      lyftdata admin rotate-secret-key
    """
    place = find_state(staging_dir)
    from lyftdata.cli.progress import show_progress
    from lyftdata.server.runtime import secret_key_rotation

    enrollment_keys = secret_key_rotation.read_enrollment_keys(os.environ)
    confirm("Replace the secret key? Backups made until now cannot be restored without the old one.", yes=yes)
    with show_progress() as on_progress:
        rotation = secret_key_rotation.rotate_secret_key(
            place, enrollment_keys=enrollment_keys, on_progress=on_progress
        )
    changed = rotation.changed
    shown = {
        "changed": changed is not None,
        "file": None if rotation.file is None else str(rotation.file),
        "event": None if changed is None else changed.event,
        "previous_audit_key": None if changed is None else changed.handover.previous_public_key,
        "audit_key": None if changed is None else changed.handover.public_key,
        "signing_keys": None if changed is None else changed.handover.signing_keys,
        "workers_with_new_fingerprint": None if changed is None else changed.workers,
    }
    emit(shown, as_json=as_json, show=_show_key_rotation)
    if rotation.file is None:
        echo_err("Start every Server with the new key as LYFTDATA_SECRET_KEY.")


def _show_key_rotation(shown: dict[str, Any]) -> None:
    if not shown["changed"]:
        echo(
            "The database already has the new key: an interrupted rotation is complete, or the same key was given again."
        )
        return
    echo(f"Rotated the secret key: event {shown['event']} of the audit log.")
    echo(f"Public key of the audit log: {shown['audit_key']}")
    echo_err(
        "Give it to those who verify exports. After the next start, this proves that it replaced the old one:"
    )
    echo_err(f"  lyftdata audit proof {shown['event']} > handover.tlog-proof")
