"""`lyftdata audit`: reads, checks and exports the audit log."""

import json
import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from lyftdata.cli.output import (
    echo,
    echo_err,
    emit,
    json_option,
    print_exactly,
    print_table,
    url_option,
    when,
)
from lyftdata.cli.progress import show_progress
from lyftdata.core.progress import OnProgress, ignore_progress

if TYPE_CHECKING:
    from lyftdata.cli.api import Api

_REPORT_EVERY = 100


@click.group()
def audit() -> None:
    """
    List, export and verify the audit log.

    \b
    Example:
      lyftdata audit verify
    """


_FILTERS = (
    click.option(
        "--action", help="Only this action, for example worker.disabled; worker.* for all that begin with it."
    ),
    click.option("--subject", help="Only events about this subject, for example worker:press-01."),
    click.option(
        "--by",
        "actor",
        metavar="NAME",
        help="Only events of this actor: an operator, server, enrollment, or api_token:NAME.",
    ),
    click.option(
        "--since",
        metavar="TIME",
        callback=lambda _context, _option, text: text and _read_time(text),
        help="Only from this time on, such as 2026-03-01T12:00Z.",
    ),
    click.option(
        "--until",
        metavar="TIME",
        callback=lambda _context, _option, text: text and _read_time(text),
        help="Only before this time.",
    ),
)


def _filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


@audit.command("list")
@_filter_options
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="At most this many."
)
@json_option
@url_option
def list_(limit: int, url: str | None, *, as_json: bool, **wanted: str | None) -> None:
    """
    List decisions about trust, the latest first.

    \b
    Example:
      lyftdata audit list --subject worker:press-01
      lyftdata audit list --by olga --action 'worker.*' --since 2026-03-01T00:00Z
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/audit", limit=limit, **wanted)["items"]
    emit(found, as_json=as_json, show=_show_table)


@audit.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv", "signed"]),
    default="jsonl",
    show_default=True,
    help="JSON lines, comma-separated values, or JSON lines with a signed checkpoint for a third party.",
)
@_filter_options
@url_option
def export(form: str, url: str | None, **wanted: str | None) -> None:
    """
    Print every event that matches the options, the oldest first.

    A signed export contains the whole log and takes no filter. It can be verified without the Server, with its public key
    (`lyftdata audit key`).

    \b
    Example:
      lyftdata audit export > audit.jsonl
      lyftdata audit export --format signed > audit.signed.jsonl
    """
    from lyftdata.cli.api import Api, query_string

    # On a terminal, the printed events show the progress.
    with Api(url) as api, show_progress(wanted=not sys.stdout.isatty()) as on_progress:
        given = {name: text for name, text in wanted.items() if text}
        asked = {"format": form} | given
        total = 0 if on_progress is ignore_progress or given else _count_events(api)
        on_progress("Exporting", 0, total)
        for done, line in enumerate(api.lines(f"/audit/export?{query_string(asked)}"), start=1):
            print_exactly(line)
            if done % _REPORT_EVERY == 0:
                on_progress("Exporting", done, total)


@audit.command()
@json_option
@url_option
def verify(url: str | None, *, as_json: bool) -> int:
    """
    Check that no event was changed, inserted, moved or removed from the middle; exit 1 if one was.

    If the log was truncated or rolled back while no Server ran, the next start detects it by the checkpoint in the Server's data
    directory.

    \b
    Example:
      lyftdata audit verify
    """
    from lyftdata.cli.api import Api

    with Api(url) as api, show_progress() as on_progress:
        report = _follow_check(api, on_progress)
    emit(report, as_json=as_json, show=_show_report)
    return 0 if report["ok"] else 1


@audit.command()
@click.option(
    "--at",
    required=True,
    metavar="TIME",
    callback=lambda _context, _option, text: _read_time(text),
    help="A time in the past with its zone, such as 2026-03-01T12:00Z.",
)
@click.option("--worker", "worker_id", help="Only the Worker with this ID.")
@json_option
@url_option
def access(at: str, worker_id: str | None, url: str | None, *, as_json: bool) -> None:
    """
    List which Workers had access at a given time, and with which credential.

    Workers that were deleted since are listed too. Each enrollment key in force could have added others; so could
    LYFTDATA_AUTO_ENROLLMENT_KEY, which is a setting and not in the log.

    \b
    Example:
      lyftdata audit access --at 2026-03-01T12:00Z --worker press-01
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/audit/access", at=at, worker_id=worker_id)
    emit(found, as_json=as_json, show=_show_access)


@audit.command()
@click.argument("number", type=click.IntRange(1))
@url_option
def proof(number: int, url: str | None) -> None:
    """
    Print a proof that event NUMBER is in the log, for someone who has only the public key.

    The proof is a C2SP tlog-proof that contains the event. It can be verified without the Server (`lyftdata audit key`).

    \b
    Example:
      lyftdata audit proof 41 > disabled-press-01.tlog-proof
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        for line in api.lines(f"/audit/{number}/proof"):
            print_exactly(line)


@audit.command()
@json_option
@url_option
def checkpoint(url: str | None, *, as_json: bool) -> None:
    """
    Print a signed checkpoint of the present log: the number of events, and the root of their Merkle tree.

    It is a C2SP tlog-checkpoint. Keep it somewhere else: a later export that does not contain it was changed or truncated.

    \b
    Example:
      lyftdata audit checkpoint > monday.txt
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        signed = api.get("/audit/checkpoint")
    emit(signed, as_json=as_json, show=_show_checkpoint)


@audit.command()
@json_option
@url_option
def key(url: str | None, *, as_json: bool) -> None:
    """
    Print the public key that checks checkpoints, signed exports and proofs, as NAME+ID+KEY.

    Give it to those who verify, to keep: a key that arrives together with what it verifies proves nothing.

    \b
    Example:
      lyftdata audit key > audit.key
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        shown = api.get("/audit/key")
    emit(shown, as_json=as_json, show=lambda shown: echo(str(shown["key"])))


def _read_time(text: str) -> str:
    """Check a time here, since the Server's error for another text does not name the option."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise click.BadParameter(
            "must be a time with its zone, such as 2026-03-01T12:00Z or 2026-03-01T13:00+01:00."
        )
    return at.isoformat()


def _show_access(found: dict[str, Any]) -> None:
    rows = [
        (one["worker_id"], one["name"], one["strategy"], one["access"], ", ".join(one["by"]) or "-")
        for one in found["workers"]
    ]
    print_table(("id", "name", "strategy", "access", "by"), rows, empty="There were no Workers.")
    for name in found["enrollment_keys"]:
        echo(f"In force: enrollment key {name}")


def _show_checkpoint(signed: dict[str, Any]) -> None:
    from lyftdata.core.audit_checkpoints import read_checkpoint

    note = str(signed["note"])
    # Attack: terminal escape sequences, and made-up lines. An answer that is not a checkpoint is an error, and not printed.
    read_checkpoint(note)
    for line in note.rstrip("\n").split("\n"):
        echo(line)


def _follow_check(api: "Api", on_progress: OnProgress) -> dict[str, Any]:
    """Have the Server check the log, which may take longer than the timeout of a request; return its report."""
    from lyftdata.cli.api import ApiError

    on_progress("Checking the audit log", 0, 0)
    for line in api.lines("/audit/verify/progress"):
        progress = json.loads(line)
        if "report" in progress:
            return dict(progress["report"])
        on_progress("Checking the audit log", progress["done"], progress["total"])
    raise ApiError("The Server ended the check before it was done.", hint="Run it again.")


def _count_events(api: "Api") -> int:
    """Return a lower bound for the number of events in the log."""
    latest = api.get("/audit", limit=1)["items"]
    return int(latest[0]["number"]) if latest else 0


def _show_table(found: list[dict[str, Any]]) -> None:
    columns = ("number", "when", "actor", "action", "subject", "address", "details")
    rows = [
        (
            str(event["number"]),
            when(event["at"]),
            event["actor"],
            event["action"],
            event["subject"],
            event["address"] or "-",
            " ".join(f"{key}={value}" for key, value in event["details"].items()),
        )
        for event in found
    ]
    print_table(columns, rows, empty="No matching events; actions are listed without --action.")


def _show_report(report: dict[str, Any]) -> None:
    if report["ok"]:
        older = f" after {report['removed']} that were removed by age" if report["removed"] else ""
        echo(
            f"The audit log is intact: {report['checked']} events{older}. Head {report['head_number']}:{report['head_hash']}"
        )
        return
    echo_err(f"THE AUDIT LOG WAS CHANGED. {report['problem']}")
    echo(f"First bad event: {report['first_bad']}; {report['checked']} events before it are right.")
