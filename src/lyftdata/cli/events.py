"""`lyftdata events`: manages where events of the audit log are delivered."""

from pathlib import Path
from typing import Any

import click

from lyftdata.cli.confirm import confirm, confirm_existing, require_terminal, yes_option
from lyftdata.cli.event_tables import describe_waiting, show_destination, show_destinations, show_rejected
from lyftdata.cli.output import (
    echo_err,
    emit,
    json_option,
    key_output,
    output_option,
    print_json,
    url_option,
    when,
)
from lyftdata.core.durations import parse_duration
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.text import clean_text

_ALL_LABELS, _ALL_EVENTS = "--all-workers", "--all-events"


@click.group()
def events() -> None:
    """
    Deliver events of the audit log to webhooks, syslog servers and files.

    \b
    Example:
      lyftdata events add siem --webhook https://siem.example.com/hooks/lyftdata --event 'worker.*'
    """


_event_option = click.option(
    "--event",
    "events",
    multiple=True,
    metavar="TYPE",
    help="Which events: a type, a group such as 'worker.*', or '*'; may be given several times. All unless given.",
)
_label_option = click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="LABEL",
    help="Only events about Workers with this label, KEY or KEY=VALUE; may be given several times.",
)
_ca_option = click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of the certificates to trust (PEM) instead of the system's.",
)


@events.command()
@click.argument("name")
@click.option("--webhook", metavar="URL", help="Send signed webhooks (Standard Webhooks) to this URL.")
@click.option(
    "--syslog", metavar="URL", help="Send syslog (RFC 5424) to tls://HOST[:PORT] or tcp://HOST[:PORT]."
)
@click.option("--file", "to_file", is_flag=True, help="Write JSON lines to NAME.jsonl on the Server's host.")
@_event_option
@_label_option
@_ca_option
@output_option
@json_option
@url_option
def add(
    name: str,
    webhook: str | None,
    syslog: str | None,
    events: tuple[str, ...],
    labels: tuple[str, ...],
    ca: Path | None,
    output: Path | None,
    url: str | None,
    *,
    to_file: bool,
    as_json: bool,
) -> None:
    """
    Add a destination: events are delivered to it from now on.

    The secret that signs a webhook is printed on standard output, once, and everything else on standard error.

    \b
    Example:
      lyftdata events add siem --syslog tls://siem.example.com:6514 --ca siem-ca.pem
    """
    from lyftdata.cli.api import Api

    transport, target = _chosen(webhook, syslog, to_file=to_file)
    body: dict[str, Any] = {
        "name": name,
        "transport": transport,
        "url": target,
        "events": list(events),
        "labels": list(labels),
        "ca": "" if ca is None else _read(ca),
    }
    with Api(url) as api, key_output(output, kind="secret") as secret_out:
        added = api.post("/event-destinations", body)
        secret = added["secret"]
        if as_json:
            print_json({**added, "secret": None if secret is None else secret_out.for_json(secret)})
            return
        echo_err(f"Event destination added: {clean_text(added['destination']['name'])}")
        if secret is not None:
            echo_err("Its receiver verifies messages with this secret.")
            secret_out.show_or_save(secret)


@events.command("set")
@click.argument("name")
@click.option("--to", "target", metavar="URL", help="Another URL of the same kind.")
@_event_option
@click.option(_ALL_EVENTS, is_flag=True, help="Deliver events of every type.")
@_label_option
@click.option(_ALL_LABELS, is_flag=True, help="Stop filtering by labels.")
@_ca_option
@click.option("--system-ca", is_flag=True, help="Trust the system's certificates again.")
@json_option
@url_option
def set_(
    name: str,
    target: str | None,
    events: tuple[str, ...],
    labels: tuple[str, ...],
    ca: Path | None,
    url: str | None,
    *,
    all_events: bool,
    all_workers: bool,
    system_ca: bool,
    as_json: bool,
) -> None:
    """
    Change a destination: each option replaces the previous value.

    \b
    Example:
      lyftdata events set siem --event 'worker.*' --event 'api_key.*'
    """
    from lyftdata.cli.api import Api, path_part

    _check_not_both(events, all_events, _ALL_EVENTS)
    _check_not_both(labels, all_workers, _ALL_LABELS)
    _check_not_both(ca, system_ca, "--system-ca")
    body: dict[str, Any] = {}
    if target is not None:
        body["url"] = target
    if events or all_events:
        body["events"] = list(events)
    if labels or all_workers:
        body["labels"] = list(labels)
    if ca is not None or system_ca:
        body["ca"] = "" if ca is None else _read(ca)
    if not body:
        raise click.UsageError("Nothing to change: give at least one option.")
    with Api(url) as api:
        changed = api.patch(f"/event-destinations/{path_part(name)}", body)
    emit(
        changed,
        as_json=as_json,
        show=lambda found: echo_err(f"Event destination changed: {clean_text(found['name'])}"),
    )


@events.command("list")
@json_option
@url_option
def list_(url: str | None, *, as_json: bool) -> None:
    """
    List destinations, and the progress of each.

    \b
    Example:
      lyftdata events list
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/event-destinations")["items"]
    emit(found, as_json=as_json, show=show_destinations)


@events.command()
@click.argument("name")
@json_option
@url_option
def show(name: str, url: str | None, *, as_json: bool) -> None:
    """
    Show a destination, its progress, and which events wait for it.

    \b
    Example:
      lyftdata events show siem
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        found = api.get(f"/event-destinations/{path_part(name)}")
    emit(found, as_json=as_json, show=show_destination)


@events.command()
@click.argument("name")
@json_option
@url_option
def test(name: str, url: str | None, *, as_json: bool) -> None:
    """
    Send a test event to a destination, now; exit 1 if it was not accepted.

    \b
    Example:
      lyftdata events test siem
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        result = api.post(f"/event-destinations/{path_part(name)}/test")
    if as_json:
        print_json(result)
    elif result["delivered"]:
        echo_err(f"{clean_text(result['name'])} has accepted the test event.")
    else:
        echo_err(f"Not delivered: {clean_text(result['error'], 300)}")
    if not result["delivered"]:
        click.get_current_context().exit(1)


@events.command()
@click.argument("name")
@json_option
@url_option
def pause(name: str, url: str | None, *, as_json: bool) -> None:
    """
    Pause a destination: its events wait in the audit log.

    \b
    Example:
      lyftdata events pause siem
    """
    _set_paused(name, url, paused=True, as_json=as_json, done="Paused")


@events.command()
@click.argument("name")
@json_option
@url_option
def resume(name: str, url: str | None, *, as_json: bool) -> None:
    """
    Resume a destination, or try one that has failed at once.

    \b
    Example:
      lyftdata events resume siem
    """
    _set_paused(name, url, paused=False, as_json=as_json, done="Resumed")


@events.command()
@click.argument("name")
@click.argument("number", type=click.IntRange(min=1))
@click.option("--reason", required=True, help="Why it cannot be delivered; do not repeat what is rejected.")
@yes_option
@json_option
@url_option
def skip(name: str, number: int, reason: str, url: str | None, *, yes: bool, as_json: bool) -> None:
    """
    Skip the event that a receiver has rejected three times: those after it are delivered.

    NUMBER is that of the event, as `lyftdata events show NAME` has it; no other event is skipped.

    \b
    Example:
      lyftdata events skip siem 41 --reason "the firewall rejects its text"
    """
    from lyftdata.cli.api import Api, path_part

    path = f"/event-destinations/{path_part(name)}"
    question = f"Skip event {number} for {name}? It is never delivered there."
    with Api(url) as api:
        if not yes:
            require_terminal(question)
            show_rejected(api.get(path)["rejected"], number)
        confirm(question, yes=yes)
        changed = api.post(f"{path}/skip", {"number": number, "reason": reason})
    emit(
        changed,
        as_json=as_json,
        show=lambda found: echo_err(
            f"Event {number} was skipped for {clean_text(found['name'])}; {describe_waiting(found)}"
        ),
    )


@events.command("rotate-secret")
@click.argument("name")
@click.option(
    "--overlap",
    metavar="DURATION",
    default="24h",
    show_default=True,
    help="How long messages are signed with the previous secret too; 0s ends it at once.",
)
@yes_option
@output_option
@json_option
@url_option
def rotate_secret(
    name: str, overlap: str, output: Path | None, url: str | None, *, yes: bool, as_json: bool
) -> None:
    """
    Generate a new secret for a webhook; for a time, messages are signed with both.

    \b
    Example:
      lyftdata events rotate-secret siem --overlap 24h --output siem.secret
    """
    from lyftdata.cli.api import Api, path_part

    try:
        seconds = 0 if overlap.strip() in {"0", "0s"} else int(parse_duration(overlap).total_seconds())
    except InvalidInputError as error:
        raise click.BadParameter(error.message, param_hint="--overlap") from error
    path = f"/event-destinations/{path_part(name)}"
    with Api(url) as api, key_output(output, kind="secret") as secret_out:
        if seconds == 0:
            question = f"End the present secret of {name} now? Its receiver rejects messages until it has the new one."
            confirm_existing(api, path, question, yes=yes)
        made = api.post(f"{path}/secret", {"overlap_s": seconds})
        if as_json:
            print_json({**made, "secret": secret_out.for_json(made["secret"])})
            return
        until = made["previous_secret_until"]
        also = f"; messages are signed with the previous one too until {when(until)}" if until else ""
        echo_err(f"{clean_text(made['name'])} has a new secret{also}.")
        secret_out.show_or_save(made["secret"])


@events.command()
@click.argument("name")
@yes_option
@json_option
@url_option
def delete(name: str, url: str | None, *, yes: bool, as_json: bool) -> None:
    """
    Delete a destination: events that wait for it are not delivered.

    \b
    Example:
      lyftdata events delete siem
    """
    from lyftdata.cli.api import Api, path_part

    path = f"/event-destinations/{path_part(name)}"
    with Api(url) as api:
        question = f"Delete the event destination {name}? What waits for it is not delivered."
        confirm_existing(api, path, question, yes=yes)
        api.delete(path)
    emit(
        {"name": name, "deleted": True},
        as_json=as_json,
        show=lambda _: echo_err(f"Event destination deleted: {name}"),
    )


def _set_paused(name: str, url: str | None, *, paused: bool, as_json: bool, done: str) -> None:
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        changed = api.patch(f"/event-destinations/{path_part(name)}", {"paused": paused})
    emit(
        changed,
        as_json=as_json,
        show=lambda found: echo_err(f"{done}: {clean_text(found['name'])}; {describe_waiting(found)}"),
    )


def _chosen(webhook: str | None, syslog: str | None, *, to_file: bool) -> tuple[str, str]:
    """Return the transport and its URL; raises click.UsageError unless exactly one was given."""
    given = [
        (transport, target)
        for transport, target in (
            ("webhook", webhook),
            ("syslog", syslog),
            ("file", "" if to_file else None),
        )
        if target is not None
    ]
    if len(given) != 1:
        raise click.UsageError("Give exactly one of --webhook, --syslog and --file.")
    return given[0]


def _check_not_both(value: object, clears: bool, option: str) -> None:  # noqa: FBT001 - read next to the option's name
    if value and clears:
        raise click.UsageError(f"{option} and values for it contradict each other.")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{file} cannot be read as PEM.", param_hint="--ca") from error
