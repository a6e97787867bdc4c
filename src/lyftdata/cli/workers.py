"""`lyftdata workers`: manages Worker entries."""

from pathlib import Path
from typing import Any

import click

from lyftdata.cli.confirm import confirm_listed, yes_option
from lyftdata.cli.output import (
    KeyOutput,
    echo,
    emit,
    json_option,
    key_output,
    print_json,
    url_option,
)
from lyftdata.cli.worker_changes import (
    change_each,
    delete,
    disable,
    enable,
    label,
    parse_label_options,
    rotate_key,
    undo,
)
from lyftdata.cli.worker_tables import (
    print_next_steps,
    show_decided_copy,
    show_repeated,
    show_sessions,
    show_token_counts,
    show_worker,
    show_workers,
)
from lyftdata.cli.worker_watch import follow_workers
from lyftdata.core.text import clean_text

_STATES = [
    "online",
    "offline",
    "never_connected",
    "disabled",
    "superseded",
    "pending",
    "denied",
    "expired",
    "archived",
]


@click.group()
def workers() -> None:
    """
    Add, list, disable and delete Workers.

    \b
    Example:
      lyftdata workers add press-01 --issue-key
      lyftdata workers list
    """


for _command in (label, rotate_key, disable, enable, delete, undo):
    workers.add_command(_command)


@workers.command()
@click.argument("name")
@click.option("--id", "worker_id", help="The Worker's ID; generated unless given.")
@click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label; may be given several times."
)
@click.option(
    "--issue-key",
    is_flag=True,
    help="Issue an API key for this Worker only, and print it; for a range, one for each Worker.",
)
@click.option("--shared-key", is_flag=True, help="Issue one API key for all the Workers of a range.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the key to a new file (0600) instead of standard output; for a range, a new directory with an environment file for each Worker.",
)
@click.option("--use-key", "key_name", metavar="NAME", help="Allow it to use this existing API key.")
@json_option
@url_option
def add(
    name: str,
    worker_id: str | None,
    labels: tuple[str, ...],
    key_name: str | None,
    output: Path | None,
    url: str | None,
    *,
    issue_key: bool,
    shared_key: bool,
    as_json: bool,
) -> None:
    """
    Add a Worker that authenticates with an API key, or many at once.

    With --issue-key the key is printed on standard output, once, and everything else on standard error.

    A range in NAME stands for up to 500 Workers: all of them are added, or none. --id takes a range of the same size. With
    --output DIRECTORY each Worker gets a file NAME.env there (0600), with the Server's address, its ID and its key.

    \b
    Example:
      lyftdata workers add press-01 --id press-01 --label zone=eu-1 --issue-key
      lyftdata workers add press-02 --use-key press-keys
      lyftdata workers add 'press-[01-20]' --issue-key --output press-keys
    """
    from lyftdata.cli.api import Api
    from lyftdata.cli.new_workers import add_many
    from lyftdata.core.name_patterns import is_name_pattern

    if is_name_pattern(name):
        add_many(
            name,
            ids=worker_id,
            labels=parse_label_options(labels),
            issue_key=issue_key,
            shared_key=shared_key,
            existing_key=key_name,
            output=output,
            url=url,
            as_json=as_json,
        )
        return
    if shared_key:
        raise click.UsageError("--shared-key is for the Workers of a range, such as 'press-[01-20]'.")
    body = {
        "name": name,
        "id": worker_id,
        "labels": parse_label_options(labels),
        "issue_key": issue_key,
        "api_key": key_name,
    }
    if output is not None and not issue_key:
        raise click.UsageError("--output is for the key of --issue-key.")
    with Api(url) as api, key_output(output) as key_out:
        answer = api.post("/workers", body)
        if as_json:
            print_json({**answer["worker"], "issued_key": _issued_key(answer["api_key"], key_out)})
            return
        print_next_steps(answer, api.url, key_name, tls_ca=api.tls_ca)
        if answer["api_key"]:
            key_out.show_or_save(clean_text(answer["api_key"]["key"]))
        else:
            echo(answer["worker"]["id"])


def _issued_key(issued: dict[str, Any] | None, key_out: KeyOutput) -> dict[str, Any] | None:
    return issued and {**issued, "key": key_out.for_json(issued["key"])}


@workers.command("list")
@click.argument("query", required=False)
@click.option("--status", type=click.Choice(_STATES), help="Only these.")
@click.option("--strategy", type=click.Choice(["api_key", "auto_enrollment"]), help="Only these.")
@click.option("--label", help="Only those with this label: KEY or KEY=VALUE.")
@click.option("--search", help="Only those with this text in name, ID, host, address, key or label.")
@click.option(
    "--inactive-for",
    metavar="TIME",
    help="Only those that have neither connected nor got a token for this long, for example 30d.",
)
@click.option(
    "--key-rotation",
    type=click.Choice(["asked", "done", "never"]),
    help="Only those that were asked to rotate their identity key and have not yet, that have rotated it, or that never did.",
)
@click.option(
    "--presence",
    type=click.Choice(["expected", "missing", "lost", "returning", "away"]),
    help="Only Workers that are expected to be connected: those that are not (missing), or a part of these: lost within the "
    "hour, still returning after a restart of the Server, or away.",
)
@json_option
@url_option
def list_(
    query: str | None,
    status: str | None,
    strategy: str | None,
    label: str | None,
    search: str | None,
    inactive_for: str | None,
    key_rotation: str | None,
    presence: str | None,
    url: str | None,
    *,
    as_json: bool,
) -> None:
    """
    List Workers.

    QUERY is a search in one argument: words to find in name, ID, host, address, key or label, and terms such as
    host:rack1, status:offline, zone=eu-1, seen:<1h. A '-' before a word excludes what it finds. If QUERY begins with
    '-', put '--' before it. All filters must match.

    \b
    Example:
      lyftdata workers list 'status:offline zone=eu-1 -gpu'
      lyftdata workers list 'host:rack1 seen:>7d'
      lyftdata workers list --status offline
      lyftdata workers list --strategy api_key --inactive-for 30d
      lyftdata workers list --json | jq -r '.[].id'
    """
    from lyftdata.cli.api import Api
    from lyftdata.core.query_words import quote

    if query is not None and not query.strip():
        raise click.UsageError("QUERY is empty: leave it out to list every Worker.")
    if search is not None:
        query = f"{query or ''} {quote(search)}".strip()
    with Api(url) as api:
        found = list(
            api.every(
                "/workers",
                status=status,
                strategy=strategy,
                label=label,
                q=query,
                inactive_for=inactive_for,
                key_rotation=key_rotation,
                presence=presence,
            )
        )
    is_filtered = any((query, status, strategy, label, inactive_for, key_rotation, presence))
    emit(found, as_json=as_json, show=lambda found: show_workers(found, is_filtered=is_filtered))


@workers.command()
@click.argument("worker_id", metavar="ID")
@json_option
@url_option
def show(worker_id: str, url: str | None, *, as_json: bool) -> None:
    """
    Show one Worker, how many tokens it got in the last 24 hours, and the origins of its latest token requests.

    \b
    Example:
      lyftdata workers show press-01
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        path = f"/workers/{path_part(worker_id)}"
        worker = api.get(path)
        worker["token_origins"] = api.get(f"{path}/token-origins")["items"]
        worker["token_counts"] = api.get(f"{path}/token-counts")
        worker["copies"] = api.get(f"{path}/copies")["items"]
    emit(worker, as_json=as_json, show=show_worker)


@workers.command()
@json_option
@url_option
def repeated(url: str | None, *, as_json: bool) -> None:
    """
    List clients that register again at each start instead of keeping their registration.

    \b
    Example:
      lyftdata workers repeated
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/registrations/repeated")["items"]
    emit(found, as_json=as_json, show=show_repeated)


def _decide_copy(
    worker_id: str, reference: str, decision: str, question: str, *, url: str | None, yes: bool
) -> Any:
    """Decide about a listed copy after the user has confirmed; return the Server's answer."""
    from lyftdata.cli.api import Api, path_part

    path = f"/workers/{path_part(worker_id)}/copies"
    with Api(url) as api:
        confirm_listed(api, path, "reference", reference, question, yes=yes)
        return api.post(f"{path}/{path_part(reference)}", {"decision": decision})


@workers.command("continue-copy")
@click.argument("worker_id", metavar="ID")
@click.argument("reference")
@yes_option
@json_option
@url_option
def continue_copy(worker_id: str, reference: str, url: str | None, *, yes: bool, as_json: bool) -> None:
    """
    Let a directory that was refused as a copy continue as the Worker.

    Do this if its host was restored from a snapshot or a backup, or is the right one of the two. `workers show` prints the
    REFERENCE: that of the copy's first refusal, not of a later one.

    \b
    Example:
      lyftdata workers continue-copy w-7k2m9qxr 7K2M9QXR --yes
    """
    question = f"Let the copy {reference} continue as Worker {worker_id}? Another directory of this identity is refused from then on."
    decided = _decide_copy(worker_id, reference, "continue", question, url=url, yes=yes)
    emit(decided, as_json=as_json, show=show_decided_copy)


@workers.command("reenroll-copy")
@click.argument("worker_id", metavar="ID")
@click.argument("reference")
@yes_option
@json_option
@url_option
def reenroll_copy(worker_id: str, reference: str, url: str | None, *, yes: bool, as_json: bool) -> None:
    """
    Let a directory that was refused as a copy enroll as a new Worker.

    Its agent discards the copied identity and enrolls by itself, under a name of its own, if it has an enrollment key
    (LYFTDATA_AUTO_ENROLLMENT_KEY). The Worker ID is not disturbed. `workers show` prints the REFERENCE: that of the copy's first
    refusal, not of a later one.

    \b
    Example:
      lyftdata workers reenroll-copy w-7k2m9qxr 7K2M9QXR --yes
    """
    question = f"Let the copy {reference} enroll as a new Worker? It discards the identity of {worker_id}."
    decided = _decide_copy(worker_id, reference, "as_new", question, url=url, yes=yes)
    emit(decided, as_json=as_json, show=show_decided_copy)


@workers.command()
@click.argument("worker_id", metavar="ID")
@json_option
@url_option
def sessions(worker_id: str, url: str | None, *, as_json: bool) -> None:
    """
    List when a Worker was connected, from where, and why each session ended.

    \b
    Example:
      lyftdata workers sessions press-01
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        found = api.get(f"/workers/{path_part(worker_id)}/sessions")["items"]
    emit(found, as_json=as_json, show=show_sessions)


@workers.command()
@click.argument("worker_id", metavar="ID")
@click.option(
    "--within",
    default="24h",
    show_default=True,
    metavar="TIME",
    help="How far back, from 1h to 30d; older counts are not kept.",
)
@json_option
@url_option
def tokens(worker_id: str, within: str, url: str | None, *, as_json: bool) -> None:
    """
    Count the tokens that a Worker got, by the hour (UTC), at all Servers together.

    Hours without a token are left out. What other Servers issued in the last minute may be missing.

    \b
    Example:
      lyftdata workers tokens press-01 --within 7d
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        found = api.get(f"/workers/{path_part(worker_id)}/token-counts", within=within)
    emit(found, as_json=as_json, show=show_token_counts)


@workers.command()
@click.argument("worker_id", metavar="ID")
@click.argument("name")
@json_option
@url_option
def rename(worker_id: str, name: str, url: str | None, *, as_json: bool) -> None:
    """
    Give a Worker another name; its ID stays.

    \b
    Example:
      lyftdata workers rename press-01 press-north
    """
    change_each((worker_id,), {"name": name}, url, as_json=as_json, done="renamed")


@workers.command()
@json_option
@url_option
def watch(url: str | None, *, as_json: bool) -> None:
    """
    Show Workers live as they connect and disconnect, until Ctrl-C.

    \b
    Example:
      lyftdata workers watch
    """
    follow_workers(url, as_json=as_json)
