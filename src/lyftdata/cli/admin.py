"""`lyftdata admin`: commands for the Server's state, run on its host: backup, restore, migrate, rotate the secret key, unlock operators."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lyftdata.cli.confirm import confirm, yes_option
from lyftdata.cli.emergency_access import emergency_access
from lyftdata.cli.output import echo, echo_err, emit, json_option, print_json, print_table
from lyftdata.cli.second_operator_off import second_operator_off
from lyftdata.cli.secret_key_rotation import rotate_secret_key
from lyftdata.cli.state_location import find_state, staging_option
from lyftdata.cli.typed_password import read_password
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.secret import Secret
from lyftdata.core.text import clean_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lyftdata.core.audit import ChainReport
    from lyftdata.core.records import OperatorRecord
    from lyftdata.server.runtime.maintenance import StateLocation
    from lyftdata.store.backup import MissingWorker

_MAX_NAMED = 20

_KEY_MATTERS = (
    "The secret key is not in it, on purpose: together they can sign tokens. Keep a copy of {} somewhere else; "
    "without it this backup cannot be used."
)


@click.group()
def admin() -> None:
    """
    Back up, restore and move a Server's state, rotate its secret key, unlock operators; run on the Server's host, as its user.

    \b
    Example:
      lyftdata admin backup /backup/lyftdata-monday.db
    """


admin.add_command(rotate_secret_key)
admin.add_command(emergency_access)
admin.add_command(second_operator_off)


@admin.command()
@click.argument("file", type=click.Path(path_type=Path))
@staging_option
@json_option
def backup(file: Path, staging_dir: str | None, *, as_json: bool) -> int:
    """
    Copy the SQLite database to the new FILE (0600), while the Server runs or not; the copy is checked.

    FILE is never overwritten, and exists only once it is complete. It does not contain the secret key: keep secret.key of the data
    directory somewhere else. Exit 1 if the database is damaged (no FILE is written), or if its audit log was changed (FILE is
    written).

    \b
    Example:
      lyftdata admin backup /backup/lyftdata-monday.db
    """
    place = find_state(staging_dir)
    from lyftdata.cli.progress import show_progress
    from lyftdata.server.runtime.maintenance import back_up

    with show_progress() as on_progress:
        copied = back_up(place, file, on_progress=on_progress)
    emit(
        {
            "file": str(copied.file),
            "bytes": copied.bytes,
            "schema": copied.schema,
            "audit": _audit(copied.audit),
        },
        as_json=as_json,
        show=lambda _: echo(
            f"Backed up to {file} and checked: {copied.bytes} bytes, {copied.audit.checked} audit events."
        ),
    )
    echo_err(_KEY_MATTERS.format(place.secret_key_file() or "what LYFTDATA_SECRET_KEY is set to"))
    if copied.audit.ok:
        return 0
    echo_err(
        f"THE AUDIT LOG DOES NOT FIT THE SECRET KEY: it was changed, or the key is another. {copied.audit.problem}"
    )
    return 1


@admin.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@staging_option
@yes_option
@json_option
def restore(file: Path, staging_dir: str | None, *, yes: bool, as_json: bool) -> None:
    """
    Replace the database of a stopped Server by the backup FILE, which is checked first.

    The previous database is kept next to it, with the time in its name. The secret key that belongs to the backup is needed:
    secret.key in the data directory, or LYFTDATA_SECRET_KEY. Everything that was revoked, disabled or deleted since the backup is
    valid again: look it up in the audit log of the previous database.

    \b
    Example:
      lyftdata admin restore /backup/lyftdata-monday.db
    """
    place = find_state(staging_dir)
    from lyftdata.cli.progress import show_progress
    from lyftdata.server.runtime.maintenance import restore as put_back

    confirm(f"Replace the Server's database {place.sqlite_file()} by {file}?", yes=yes)
    with show_progress() as on_progress:
        restored = put_back(place, file, on_progress=on_progress)
    copied = restored.copied
    emit(
        {
            "file": str(copied.file),
            "kept": None if restored.kept is None else str(restored.kept),
            "schema": copied.schema,
            "audit": _audit(copied.audit),
            "missing_workers": None
            if restored.missing is None
            else [
                {"id": worker.id, "name": worker.name, "strategy": worker.strategy.value}
                for worker in restored.missing
            ],
        },
        as_json=as_json,
        show=lambda _: echo(
            f"Restored {copied.file}: {copied.audit.checked} audit events, the last at its head "
            f"{copied.audit.head_number}:{copied.audit.head_hash.hex()}."
        ),
    )
    if restored.kept is not None:
        echo_err(f"The previous database is kept as {restored.kept}.")
    echo_err(
        "Everything that was revoked, disabled or deleted since this backup is valid again: revoke, disable or delete it again."
    )
    echo_err(
        "Its audit log may end before the last checkpoint that was signed. If the next start says so (audit_log_cut), accept it: "
        "lyftdata admin accept-audit-log"
    )
    if restored.missing is None:
        echo_err("The Workers added since this backup are not known: the previous database cannot be read.")
    elif restored.missing:
        _print_missing_workers(restored.missing)


def _print_missing_workers(missing: "Sequence[MissingWorker]") -> None:
    """Print the Workers that are missing from the restored state, and how to readmit them."""
    from lyftdata.core.records import Strategy

    enrolled = [worker for worker in missing if worker.strategy is Strategy.AUTO_ENROLLMENT]
    added = [worker for worker in missing if worker.strategy is Strategy.API_KEY]
    if enrolled:
        echo_err(f"Enrolled since this backup, and unknown now: {_names(enrolled)}.")
        echo_err(
            "On each of their hosts remove the Worker's directory (LYFTDATA_JOBS_DIR) and start it again."
        )
    if added:
        echo_err(f"Added since this backup, and unknown now: {_names(added)}.")
        echo_err(
            "Add them again with the same ID, and give each a new key (lyftdata workers add NAME --id ID --issue-key)."
        )


def _names(workers: "Sequence[MissingWorker]") -> str:
    shown = ", ".join(f"{clean_text(worker.name, 64)} ({worker.id})" for worker in workers[:_MAX_NAMED])
    rest = len(workers) - _MAX_NAMED
    return shown + (f" and {rest:,} more (--json names all)" if rest > 0 else "")


@admin.command()
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The SQLite database; lyftdata.db in the data directory unless given.",
)
@staging_option
@json_option
def migrate(source: Path | None, staging_dir: str | None, *, as_json: bool) -> None:
    """
    Copy everything from the SQLite database of a stopped Server to an empty PostgreSQL database, and verify it.

    The PostgreSQL database is named by LYFTDATA_DATABASE_URL or LYFTDATA_DATABASE_URL_FILE: the URL holds a password and
    is never on the command line. Everything is done in one transaction; the copy is read back and compared table by table, and
    the audit log is checked. If anything differs, nothing is kept. The SQLite database is not changed.

    \b
    Example:
      LYFTDATA_DATABASE_URL_FILE=/run/secrets/database lyftdata admin migrate
    """
    place = find_state(staging_dir)
    from lyftdata.cli.progress import show_progress
    from lyftdata.server.runtime.maintenance import move_to_postgresql

    with show_progress() as on_progress:
        moved = move_to_postgresql(place, source=source, on_progress=on_progress)
    rows = sum(content.rows for content in moved.tables.values())
    emit(
        {
            "schema": moved.schema,
            "rows": rows,
            "tables": [
                {"name": name, "rows": content.rows, "sha256": content.sha256}
                for name, content in moved.tables.items()
            ],
            "audit": _audit(moved.audit),
        },
        as_json=as_json,
        show=_show_moved,
    )
    echo_err(
        f"Done: {rows} rows are the same on both sides, and all {moved.audit.checked} events of the audit log are intact."
    )
    _print_required_settings(place)


@admin.command()
@click.argument("name")
@click.option(
    "--from",
    "address",
    metavar="ADDRESS",
    help="IP address that the operator signs in from; its network is known from now on, so that guesses from "
    "elsewhere do not lock it out.",
)
@staging_option
def unlock(name: str, address: str | None, staging_dir: str | None) -> None:
    """
    Clear the failed sign-ins that make operator NAME wait, with the Server running or not; it takes effect at once.

    If the guessing continues, NAME soon has to wait again: give --from as well. If all clients have the address of a proxy, name
    it in LYFTDATA_TRUSTED_PROXIES.

    \b
    Example:
      lyftdata admin unlock ada --from 203.0.113.7
    """
    place = find_state(staging_dir)
    from lyftdata.server.runtime.operator_recovery import unlock as unlock_operator

    unlock_operator(place, name, address=address)
    echo_err(f"Operator {name} is unlocked.")


@admin.command("reset-password")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the new password from standard input.")
@staging_option
@yes_option
@json_option
def reset_password(
    name: str, staging_dir: str | None, *, password_stdin: bool, yes: bool, as_json: bool
) -> None:
    """
    Give operator NAME a new first password, printed once, with the Server running or not; it takes effect at once.

    Their sessions and device marks end, their API tokens are revoked, and failed sign-ins are cleared. If the password cannot be
    printed, the old one remains valid.

    \b
    Example:
      lyftdata admin reset-password admin --yes
    """
    place = find_state(staging_dir)
    from lyftdata.server.runtime.operator_recovery import reset_password as reset

    given = read_password("New password", from_stdin=True) if password_stdin else None
    confirm(
        f"Reset the password of {name}? Their sessions end and their API tokens are revoked, at once.",
        yes=yes,
    )
    try:
        reset(place, name, given, announce=_print_operator if as_json else _print_password)
    except InvalidInputError as error:
        raise click.ClickException(f"The password {error.message}.") from error
    if not as_json:
        echo_err(f"Password of {name} reset.")
    elif given is not None:
        print_json({"name": name})


@admin.command("accept-audit-log")
@staging_option
@yes_option
@json_option
def accept_audit_log(staging_dir: str | None, *, yes: bool, as_json: bool) -> None:
    """
    Accept an audit log that does not contain the last checkpoint, because you restored a backup.

    The acceptance is an event in the log. The checkpoint is kept under another name. Restart the Server afterwards: it signs
    checkpoints again.

    \b
    Example:
      lyftdata admin accept-audit-log
    """
    place = find_state(staging_dir)
    from lyftdata.server.runtime.audit_acceptance import accept, find_difference

    found = find_difference(place)
    if found is None:
        emit(
            {"accepted": False, "problem": None, "kept_as": None},
            as_json=as_json,
            show=lambda _: echo(
                "There is nothing to accept: no checkpoint was kept here, or the audit log contains it."
            ),
        )
        return
    echo_err(found.problem)
    confirm("Accept the log as it is? If you did not restore a backup, this is an incident.", yes=yes)
    aside = accept(place, found)
    emit(
        {"accepted": True, "problem": found.problem, "kept_as": str(aside)},
        as_json=as_json,
        show=lambda _: echo(f"Accepted. The checkpoint is kept as {aside}. Restart the Server."),
    )


def _print_password(record: "OperatorRecord", password: Secret) -> None:
    from lyftdata.server.admin.first_password import print_once

    echo_err(f"The new first password of {record.name} is shown once:")
    print_once(f"{password.reveal()}\n")


def _print_operator(record: "OperatorRecord", password: Secret) -> None:
    from lyftdata.server.admin.first_password import print_once

    shown = {"name": record.name, "role": record.role.value, "must_change_password": True}
    print_once(json.dumps({**shown, "password": password.reveal()}, indent=2) + "\n")


def _audit(report: "ChainReport") -> dict[str, Any]:
    return {
        "ok": report.ok,
        "events": report.checked,
        "head": f"{report.head_number}:{report.head_hash.hex()}",
        "problem": report.problem or None,
    }


def _show_moved(moved: dict[str, Any]) -> None:
    rows = [(table["name"], str(table["rows"]), table["sha256"]) for table in moved["tables"]]
    print_table(("table", "rows", "sha256"), rows, empty="No table.")


def _print_required_settings(place: "StateLocation") -> None:
    """Print the settings for Servers on the new database; the secret key stays in its file and is not printed."""
    file = place.secret_key_file()
    echo_err("Start every Server with:")
    echo_err("  LYFTDATA_DATABASE_URL   as it was for this command (or LYFTDATA_DATABASE_URL_FILE)")
    if file is None:
        echo_err("  LYFTDATA_SECRET_KEY     as it was for this command (or LYFTDATA_SECRET_KEY_FILE)")
    else:
        echo_err(f"  LYFTDATA_SECRET_KEY_FILE={file}")
        echo_err("                          on other hosts a copy of that file, handed over as a secret")
    echo_err("  LYFTDATA_PUBLIC_URL     the address by which Workers know the Server, the same as before")
    echo_err(
        "The SQLite database was not changed. Do not start a Server on it again: there would be two states."
    )
