"""`lyftdata incident`: shows which Workers used a leaked key or an address, and cuts them off."""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lyftdata.cli.confirm import confirm, yes_option
from lyftdata.cli.output import (
    echo,
    echo_err,
    json_option,
    print_fields,
    print_json,
    print_table,
    url_option,
    when,
)
from lyftdata.cli.progress import show_progress
from lyftdata.core.incidents import find_public_id
from lyftdata.core.text import count
from lyftdata.private_files import write_private_atomic

if TYPE_CHECKING:
    from lyftdata.cli.api import Api

EXIT_FAILED = 1
_ASK_AGAIN_S = 0.2
_WAIT_S = 60.0
_MAX_KEY_LENGTH = 4_096


@click.command()
@click.argument("subject")
@click.option(
    "--since",
    default="",
    metavar="TIME",
    help="A time such as 2026-03-01T12:00Z, or how long ago, such as 24h.",
)
@click.option(
    "--cut-off",
    "cut_off",
    multiple=True,
    metavar="ID|all|none",
    help="Cut off this Worker (may be given several times), all of them, or none: only the key is revoked then.",
)
@click.option("--delete", is_flag=True, help="Delete the entries instead of disabling them.")
@click.option("--keep-key", is_flag=True, help="Do not revoke the key.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the report to this file, as JSON.",
)
@yes_option
@json_option
@url_option
def incident(
    subject: str,
    since: str,
    cut_off: tuple[str, ...],
    output: Path | None,
    url: str | None,
    *,
    delete: bool,
    keep_key: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """
    Show which Workers used a leaked key or an address, and cut them off.

    SUBJECT is the name or public ID of a key, the ID or name of a Worker, or an address or network; if that is ambiguous, write
    api-key:NAME, enrollment-key:NAME, worker:ID, address:NETWORK or host:HOSTNAME. With - the leaked key is read from standard
    input, and only its public ID is sent. Nothing is changed without --cut-off.

    \b
    Example:
      lyftdata incident press-keys --since 24h
      lyftdata incident - < leaked.txt
      lyftdata incident press-keys --since 24h --cut-off all --output incident.json
      lyftdata incident 203.0.113.0/24 --cut-off press-01 --cut-off press-02
    """
    from lyftdata.cli.api import Api

    subject, workers = _read_subject(subject), _parse_targets(cut_off, changes=delete or keep_key)
    with Api(url) as api:
        report = api.get("/incident", subject=subject, since=since)
        progress = None
        if workers is None:
            if not as_json:
                _show(report)
        else:
            revokes = report["subject"]["can_be_revoked"] and not keep_key
            if not as_json:
                _show(report)
            _check_known(api, report, workers)
            confirm(_question(report, workers, revokes=revokes, delete=delete), yes=yes)
            body = {
                "subject": report["subject"]["text"],
                "since": since,
                "workers": workers,
                "action": "delete" if delete else "disable",
                "revoke_key": revokes,
            }
            progress = _cut_off(api, body)
            report = api.get("/incident", subject=report["subject"]["text"], since=since)
        if output is not None:
            write_private_atomic(output, (json.dumps(report, indent=2) + "\n").encode())
            echo_err(f"The report is in {output}.")
        if as_json:
            print_json(report if progress is None else progress)
    return EXIT_FAILED if progress is not None and progress["still_connected"] else 0


def _read_subject(subject: str) -> str:
    if subject == "-":
        public_id = find_public_id(sys.stdin.read(_MAX_KEY_LENGTH))
        if public_id is None:
            raise click.ClickException(
                "Standard input holds no API key and no enrollment key of the form lyftdata_…"
            )
        return public_id
    if find_public_id(subject) is not None:
        raise click.UsageError(
            "SUBJECT is the key itself, which others can read in the list of processes. Give its name, or - and the key on standard input."
        )
    return subject


def _parse_targets(cut_off: tuple[str, ...], *, changes: bool) -> str | list[str] | None:
    """Return `all`, a list of IDs (empty for none), or None if nothing is to be changed."""
    if not cut_off:
        if changes:
            raise click.UsageError("--delete and --keep-key say how to cut off: give --cut-off too.")
        return None
    if cut_off in {("all",), ("none",)}:
        return "all" if cut_off == ("all",) else []
    if {"all", "none"} & set(cut_off):
        raise click.UsageError("--cut-off all and --cut-off none are given alone.")
    return list(cut_off)


def _check_known(api: "Api", report: dict[str, Any], workers: str | list[str]) -> None:
    """Check that each chosen Worker exists: the Server ignores those that are gone, so a mistyped ID would seem to be cut off."""
    from lyftdata.cli.api import path_part

    listed = {worker["id"] for worker in report["workers"]}
    for worker_id in workers if isinstance(workers, list) else []:
        if worker_id not in listed:
            api.get(f"/workers/{path_part(worker_id)}")


def _question(report: dict[str, Any], workers: str | list[str], *, revokes: bool, delete: bool) -> str:
    number = report["workers_total"] if workers == "all" else len(workers)
    action = "Delete" if delete else "Disable"
    parts = [f"{action} {count(number, 'Worker')}?" if number else "Disable no Worker?"]
    if workers == "all":
        parts.append(f"Connected now, and stopped at once: {report['connected']}.")
    if revokes:
        parts.append(f"{report['subject']['name']} is revoked for good.")
    return " ".join(parts)


def _cut_off(api: "Api", body: dict[str, Any]) -> dict[str, Any]:
    """Cut off the Workers, and wait until the last one is disconnected."""
    begin_s = time.monotonic()
    progress: dict[str, Any] = api.post("/incident/cut-offs", body)
    with show_progress() as report:
        while progress["still_connected"] and time.monotonic() - begin_s < _WAIT_S:
            report("Cutting off", progress["workers"] - progress["still_connected"], progress["workers"])
            time.sleep(_ASK_AGAIN_S)
            progress = api.get(f"/incident/cut-offs/{progress['number']}")
    took_s = time.monotonic() - begin_s
    if progress["still_connected"]:
        echo_err(
            f"{count(progress['still_connected'], 'Worker')} still connected: {' '.join(progress['still_connected_ids'])}"
        )
    else:
        echo_err(
            f"{count(progress['workers'], 'Worker')} cut off, the last one within {took_s:.1f} s. Audit event {progress['number']}."
        )
    return progress


def _show(report: dict[str, Any]) -> None:
    subject = report["subject"]
    state = {True: "valid", False: "revoked, expired or used up", None: "-"}[subject["is_live"]]
    print_fields(
        [
            ("Incident", subject["text"]),
            ("Key", state),
            ("Since", report["since"] or "the first record"),
            ("Workers", str(report["workers_total"])),
            ("Connected now", str(report["connected"])),
            ("Networks", ", ".join(report["networks"]) or "-"),
        ]
    )
    echo("")
    print_table(
        ("id", "name", "status", "connected since", "address", "host", "because", "last token"),
        [
            (
                worker["id"],
                worker["name"],
                worker["state"],
                when(worker["connected_since"]),
                worker["address"] or "-",
                worker["hostname"] or "-",
                ", ".join(reason.replace("_", " ") for reason in worker["reasons"]),
                when(worker["last_token_at"]),
            )
            for worker in report["workers"]
        ],
        empty="No Worker.",
    )
    if report["tokens"]:
        echo("")
        print_table(
            ("tokens for", "audience", "workers", "from", "last", "valid until"),
            [
                (
                    tokens["resource"] or "-",
                    tokens["audience"],
                    str(tokens["workers"]),
                    ", ".join(tokens["networks"]),
                    when(tokens["last_at"]),
                    when(tokens["valid_until"]),
                )
                for tokens in report["tokens"]
            ],
            empty="",
        )
    echo_err("By hand:")
    for step in report["by_hand"]:
        echo_err(f"  {step['text']}")
    echo_err("Not recorded:")
    for sentence in report["not_recorded"]:
        echo_err(f"  {sentence}")
