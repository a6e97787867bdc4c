"""`lyftdata workers` label, rotate-key, disable, enable, delete, undo: changes some Workers by ID, or all that a search finds."""

from collections.abc import Sequence
from typing import Any

import click

from lyftdata.cli.bulk_changes import (
    change_where,
    check_target,
    expect_option,
    undo_change,
    where_option,
)
from lyftdata.cli.confirm import confirm, yes_option
from lyftdata.cli.many_workers import EXIT_FAILED, change_workers, confirm_workers
from lyftdata.cli.output import echo, echo_err, json_option, print_json, url_option
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.names import parse_label_text


@click.command()
@click.argument("words", nargs=-1, metavar="[ID] [KEY=VALUE]...")
@click.option(
    "--worker", "others", multiple=True, metavar="ID", help="Another Worker; may be given several times."
)
@click.option("--add", is_flag=True, help="With --where: add the labels, and keep the present ones.")
@where_option
@expect_option
@yes_option
@json_option
@url_option
def label(
    words: tuple[str, ...],
    others: tuple[str, ...],
    where: str | None,
    expect: int | None,
    url: str | None,
    *,
    add: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """
    Replace a Worker's labels; without labels, remove them all. With --where and --add, add labels to many Workers.

    \b
    Example:
      lyftdata workers label press-01 zone=eu-1 gpu
      lyftdata workers label press-01 zone=eu-1 --worker press-02 --worker press-03
      lyftdata workers label --where 'host:rack7' --add rack=7
    """
    from lyftdata.cli.api import Api

    # With --where, all arguments are labels.
    ids, given = ((), words) if where is not None else (words[:1], words[1:])
    check_target((*ids, *others), where, expect)
    if add != (where is not None):
        raise click.UsageError(
            "--where and --add go together: labels of many Workers are added, not replaced."
        )
    if where is None:
        if not ids:
            raise click.UsageError("Give the ID of a Worker.")
        body = {"labels": parse_label_options(given)}
        return change_each((*ids, *others), body, url, as_json=as_json, done="labelled")
    if not given:
        raise click.UsageError("Give the labels to add.")
    with Api(url) as api:
        return change_where(
            api,
            "label",
            where,
            question="Add labels to {}?",
            done="labelled",
            expect=expect,
            yes=yes,
            as_json=as_json,
            labels=parse_label_options(given),
        )


@click.command("rotate-key")
@click.argument("worker_ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every Worker that has an identity key.")
@where_option
@expect_option
@yes_option
@json_option
@url_option
def rotate_key(
    worker_ids: tuple[str, ...],
    where: str | None,
    expect: int | None,
    url: str | None,
    *,
    every: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """
    Ask Workers to rotate their identity key. They stay connected, and their programs keep running.

    A connected Worker does so at once, any other when it connects. Its current key is valid until it has used the new one.
    `workers list --key-rotation asked` lists those that have not rotated yet: they are offline, or third-party clients.

    \b
    Example:
      lyftdata workers rotate-key w-7k2m9qxr
      lyftdata workers rotate-key --where 'zone=eu-1' --yes --expect 40
      lyftdata workers rotate-key --all --yes
    """
    from lyftdata.cli.api import Api

    if [every, bool(worker_ids), where is not None].count(True) != 1:
        raise click.UsageError("Give the IDs of Workers, --where QUERY, or --all.")
    if not every:
        check_target(worker_ids, where, expect)
    elif expect is not None:
        raise click.UsageError("--expect goes with --where.")
    with Api(url) as api:
        if where is not None:
            return change_where(
                api,
                "rotate-key",
                where,
                question="Ask {} to rotate the identity key?",
                done="asked to rotate the identity key",
                expect=expect,
                yes=yes,
                as_json=as_json,
            )
        if every:
            confirm("Ask every Worker that has an identity key to rotate it?", yes=yes)
        asked = api.post("/workers/rotate-keys", {"ids": list(worker_ids), "all": every})
    left_out = [worker_id for worker_id in dict.fromkeys(worker_ids) if worker_id not in asked["ids"]]
    if as_json:
        print_json(asked)
    elif asked["asked"] or every:
        echo(_asked(asked["asked"]))
    for worker_id in left_out:
        echo_err(
            f"Error: {worker_id} has no identity key to rotate: it has an API key (lyftdata api-key rotate), or was superseded."
        )
    return EXIT_FAILED if left_out else 0


def _asked(count: int) -> str:
    who = "1 Worker was" if count == 1 else f"{count:,} Workers were"
    return f"{who} asked to rotate the identity key. See: lyftdata workers list --key-rotation asked"


@click.command()
@click.argument("worker_ids", metavar="[ID]...", nargs=-1)
@click.option("--note", help="Why, for other operators; the Worker does not see it.")
@click.option(
    "--until",
    metavar="TIME",
    help="When the Server enables them again: a time such as 2026-03-01T12:00Z, or a duration from now, such as 2h.",
)
@where_option
@expect_option
@yes_option
@json_option
@url_option
def disable(
    worker_ids: tuple[str, ...],
    note: str | None,
    until: str | None,
    where: str | None,
    expect: int | None,
    url: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> int:
    """
    Disable Workers: their programs stop at once; they reconnect when enabled.

    Repeat it to change the note and the end. Without --until they stay disabled until you enable them, even if they had an end before.
    With --where, a Worker that is already disabled keeps its note, and the later of the two ends.

    \b
    Example:
      lyftdata workers disable press-01 press-02 --yes
      lyftdata workers disable press-01 --note "disk is replaced" --until 2h
      lyftdata workers disable --where 'zone=eu-1' --note "power is switched off" --until 2026-03-01T18:00Z
      lyftdata workers disable --where 'status:offline zone=eu-1' --yes --expect 40
    """
    from lyftdata.cli.api import Api

    check_target(worker_ids, where, expect)
    with Api(url) as api:
        if where is not None:
            return change_where(
                api,
                "disable",
                where,
                question="Disable {}? Their sessions and programs stop at once.",
                done="disabled",
                expect=expect,
                yes=yes,
                as_json=as_json,
                disabling={"disabled_note": note, "disabled_until": until},
            )
        confirm_workers(
            api,
            worker_ids,
            one="Disable Worker {}? Its session and its program stop at once.",
            several="Disable {} Workers? Their sessions and programs stop at once.",
            yes=yes,
        )
    body = {"enabled": False, "disabled_note": note or "", "disabled_until": until or ""}
    return change_each(worker_ids, body, url, as_json=as_json, done="disabled")


@click.command()
@click.argument("worker_ids", metavar="[ID]...", nargs=-1)
@where_option
@expect_option
@yes_option
@json_option
@url_option
def enable(
    worker_ids: tuple[str, ...],
    where: str | None,
    expect: int | None,
    url: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> int:
    """
    Enable disabled Workers. Workers named by ID are enabled without confirmation.

    \b
    Example:
      lyftdata workers enable press-01 press-02
      lyftdata workers enable --where 'status:disabled zone=eu-1'
    """
    from lyftdata.cli.api import Api

    check_target(worker_ids, where, expect)
    if where is not None:
        with Api(url) as api:
            return change_where(
                api,
                "enable",
                where,
                question="Enable {}?",
                done="enabled",
                expect=expect,
                yes=yes,
                as_json=as_json,
            )
    return change_each(worker_ids, {"enabled": True}, url, as_json=as_json, done="enabled")


@click.command()
@click.argument("worker_ids", metavar="[ID]...", nargs=-1)
@where_option
@expect_option
@yes_option
@url_option
def delete(
    worker_ids: tuple[str, ...], where: str | None, expect: int | None, url: str | None, *, yes: bool
) -> int:
    """
    Delete Workers: their programs stop at once, permanently.

    A host that still has an enrollment key can enroll again, as a new Worker; the agent of an ephemeral Worker does so by itself at
    its next start. To keep a host out, disable its Worker, and revoke the key.

    \b
    Example:
      lyftdata workers delete press-01 press-02
      lyftdata workers delete --where 'status:offline seen:>90d'
    """
    from lyftdata.cli.api import Api, path_part

    check_target(worker_ids, where, expect)
    with Api(url) as api:
        if where is not None:
            return change_where(
                api,
                "delete",
                where,
                question="Delete {}? Their sessions end at once, and their identities cannot be brought back.",
                done="deleted",
                expect=expect,
                yes=yes,
            )
        confirm_workers(
            api,
            worker_ids,
            one="Delete Worker {}? Its session ends at once, and its identity cannot be brought back.",
            several="Delete {} Workers? Their sessions end at once, and their identities cannot be brought back.",
            yes=yes,
        )
        return change_workers(
            worker_ids, lambda worker_id: api.delete(f"/workers/{path_part(worker_id)}"), done="deleted"
        )


@click.command()
@click.argument("number", type=click.IntRange(min=1))
@json_option
@url_option
def undo(number: int, url: str | None, *, as_json: bool) -> int:
    """
    Undo a change of many Workers: what --where disabled, enabled or labelled in the last 15 minutes.

    The change has printed its NUMBER. You can undo only your own changes. A Worker that was changed since stays as it is; it is
    named, and the exit code is 1.

    \b
    Example:
      lyftdata workers undo 4711
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        return undo_change(api, number, as_json=as_json)


def change_each(
    worker_ids: Sequence[str], body: dict[str, Any], url: str | None, *, as_json: bool, done: str
) -> int:
    """Change each of these Workers by a PATCH with this body; return the exit code."""
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        return change_workers(
            worker_ids,
            lambda worker_id: api.patch(f"/workers/{path_part(worker_id)}", body),
            done=done,
            as_json=as_json,
        )


def parse_label_options(parts: tuple[str, ...]) -> dict[str, str]:
    """Return labels given as arguments or options; raises click.UsageError."""
    try:
        return parse_label_text(",".join(parts))
    except InvalidInputError as error:
        raise click.UsageError(f"{error.field}: {error.message}") from error
