"""`lyftdata enrollment issue`, `list`, `show`, `rotate` and `revoke`: enrollment keys that operators issue."""

from pathlib import Path
from typing import Any

import click

from lyftdata.cli.confirm import confirm, confirm_existing, yes_option
from lyftdata.cli.key_rotation import ends_in, parse_previous_end, previous_end_options
from lyftdata.cli.output import (
    KeyOutput,
    echo_err,
    emit,
    json_option,
    key_output,
    output_option,
    print_fields,
    print_json,
    print_table,
    url_option,
    when,
)
from lyftdata.core.durations import parse_duration
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.names import format_labels, parse_label_text


@click.command()
@click.argument("name")
@click.option(
    "--expires",
    metavar="DURATION",
    help="Lifetime, for example 24h or 7d; without it the key does not expire.",
)
@click.option("--uses", type=click.IntRange(1), help="How many Workers it may enroll; without it any number.")
@click.option(
    "--worker-name",
    metavar="PATTERN",
    help="Only Workers with a matching name: * is any text, ? one character.",
)
@click.option(
    "--from",
    "networks",
    multiple=True,
    metavar="NETWORK",
    help="Only from this network, such as 10.4.0.0/16; may be given several times.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="A label for each Worker that it enrolls; may be given several times.",
)
@click.option(
    "--ephemeral",
    is_flag=True,
    help="Its Workers are removed when they sign off, or after a short absence.",
)
@click.option(
    "--mode",
    type=click.Choice(["auto", "approve", "warn"]),
    default="auto",
    show_default=True,
    help="auto: matching Workers are admitted at once. approve: they wait until an operator approves them. warn: those that "
    "--worker-name or --from would refuse are admitted too, and recorded.",
)
@click.option(
    "--approve-from",
    "approve_networks",
    multiple=True,
    metavar="NETWORK",
    help="With --mode approve: a Worker from this network needs no operator; may be given several times.",
)
@click.option(
    "--approve-name",
    metavar="PATTERN",
    help="With --mode approve: a Worker with a matching name needs no operator; with --approve-from, both must match.",
)
@output_option
@json_option
@url_option
def issue(
    name: str,
    expires: str | None,
    uses: int | None,
    worker_name: str | None,
    networks: tuple[str, ...],
    labels: tuple[str, ...],
    mode: str,
    approve_networks: tuple[str, ...],
    approve_name: str | None,
    output: Path | None,
    url: str | None,
    *,
    ephemeral: bool,
    as_json: bool,
) -> None:
    """
    Issue an enrollment key, with which Workers that match its rules can enroll.

    The key is printed on standard output, once and nowhere else; everything else goes to standard error. The Worker reads it
    from LYFTDATA_AUTO_ENROLLMENT_KEY.

    \b
    Example:
      lyftdata enrollment issue press-02-key --uses 1 --expires 24h --output press-02.key
      lyftdata enrollment issue etl-hosts --expires 7d --worker-name 'etl-*' --from 10.4.0.0/16 --label team=etl
      lyftdata enrollment issue partner-hosts --mode approve --approve-from 10.4.0.0/16
      lyftdata enrollment issue old-hosts --from 10.4.0.0/16 --mode warn --expires 30d
    """
    from lyftdata.cli.api import Api

    body = {
        "name": name,
        "expires_in_s": parse_seconds(expires, "--expires"),
        "max_uses": uses,
        "worker_name": worker_name,
        "networks": list(networks),
        "labels": _labels(labels),
        "ephemeral": ephemeral,
        "mode": mode,
        "approve_name": approve_name,
        "approve_networks": list(approve_networks),
    }
    with Api(url) as api, key_output(output) as key_out:
        answer = api.post("/enrollment/keys", body)
        _print_key(answer, key_out, as_json=as_json, done="issued")


@click.command("list")
@json_option
@url_option
def list_(url: str | None, *, as_json: bool) -> None:
    """
    List enrollment keys, without the keys themselves; `startup` is the one in LYFTDATA_AUTO_ENROLLMENT_KEY.

    \b
    Example:
      lyftdata enrollment list
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/enrollment/keys")["items"]
    emit(found, as_json=as_json, show=_show_table)


@click.command()
@click.argument("name")
@json_option
@url_option
def show(name: str, url: str | None, *, as_json: bool) -> None:
    """
    Show one enrollment key, without the key itself.

    \b
    Example:
      lyftdata enrollment show etl-hosts
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        found = api.get(f"/enrollment/keys/{path_part(name)}")
    emit(found, as_json=as_json, show=_show_one)


@click.command()
@click.argument("name")
@yes_option
@json_option
@url_option
def revoke(name: str, url: str | None, *, yes: bool, as_json: bool) -> None:
    """
    Revoke an enrollment key: it enrolls no more Workers. Those that it has enrolled stay.

    \b
    Example:
      lyftdata enrollment revoke etl-hosts
    """
    from lyftdata.cli.api import Api, path_part

    path = f"/enrollment/keys/{path_part(name)}"
    with Api(url) as api:
        workers = _workers(api.get(path)["workers"])
        confirm(f"Revoke enrollment key {name}? {workers} that it has enrolled will stay.", yes=yes)
        revoked = api.post(f"{path}/revoke")
    emit(
        revoked,
        as_json=as_json,
        show=lambda key: echo_err(
            f"Enrollment key {key['name']} revoked; {_workers(key['workers'])} that it has enrolled will stay"
        ),
    )


@click.command()
@click.argument("name")
@previous_end_options
@yes_option
@output_option
@json_option
@url_option
def rotate(
    name: str,
    grace: str | None,
    until: str | None,
    output: Path | None,
    url: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """
    Replace an enrollment key by its next generation, which is printed on standard output, once.

    The rules stay; uses are counted from 0 and the lifetime begins again. The old key stops working at once, or at the time given by
    --grace or --until. `lyftdata enrollment show` lists the hosts that still use it.

    \b
    Example:
      lyftdata enrollment rotate etl-hosts --grace 24h --output etl.key
    """
    from lyftdata.cli.api import Api, path_part

    end = parse_previous_end(grace, until)
    path = f"/enrollment/keys/{path_part(name)}"
    with Api(url) as api, key_output(output) as key_out:
        question = f"Rotate enrollment key {name}? The old key stops working {end.words}."
        confirm_existing(api, path, question, yes=yes)
        answer = api.post(f"{path}/rotate", end.body)
        _print_key(answer, key_out, as_json=as_json, done="rotated")


@click.command("end-previous")
@click.argument("name")
@yes_option
@json_option
@url_option
def end_previous(name: str, url: str | None, *, yes: bool, as_json: bool) -> None:
    """
    End a rotation now: the older generations of an enrollment key enroll no more Workers.

    Workers that they have enrolled stay.

    \b
    Example:
      lyftdata enrollment end-previous etl-hosts
    """
    from lyftdata.cli.api import Api, path_part

    path = f"/enrollment/keys/{path_part(name)}"
    with Api(url) as api:
        confirm_existing(api, path, f"End the older generations of enrollment key {name}?", yes=yes)
        key = api.post(f"{path}/end-previous")
    emit(
        key,
        as_json=as_json,
        show=lambda k: echo_err(f"Enrollment key {k['name']}: only generation {k['generation']} works"),
    )


def _print_key(answer: dict[str, Any], key_out: KeyOutput, *, as_json: bool, done: str) -> None:
    key = answer["enrollment_key"]
    if as_json:
        print_json({**key, "key": key_out.for_json(answer["key"])})
        return
    echo_err(f"Enrollment key {key['name']} {done}: {_rules(key)}.")
    if key["max_uses"] is None and key["expires_at"] is None:
        echo_err("It never expires and enrolls any number of Workers: consider --uses and --expires.")
    if key["mode"] == "warn" and not key["worker_name"] and not key["networks"]:
        echo_err("It has no rule to warn about: add --worker-name or --from.")
    key_out.show_or_save(answer["key"])


def _rules(key: dict[str, Any]) -> str:
    """Return the rules of a key as a sentence."""
    who = f"for Workers named {key['worker_name']}" if key["worker_name"] else "for Workers of any name"
    where = f"from {', '.join(key['networks'])}" if key["networks"] else "from anywhere"
    count = f"{_workers(key['max_uses'])} at most" if key["max_uses"] else "any number of them"
    end = f"until {key['expires_at']}" if key["expires_at"] else "without expiry"
    approval = "" if key["mode"] == "auto" else f", {_admission(key)}"
    leave = ", removed when they leave" if key["ephemeral"] else ""
    return f"{who}, {where}, {count}, {end}{leave}{approval}"


def _admission(key: dict[str, Any]) -> str:
    """Return how the key admits Workers, as a phrase."""
    if key["mode"] == "auto":
        return "admitted at once"
    if key["mode"] == "warn":
        return "admitted at once, also with other names and from other networks, which is recorded"
    exempt = [f"from {', '.join(key['approve_networks'])}"] if key["approve_networks"] else []
    exempt += [f"named {key['approve_name']}"] if key["approve_name"] else []
    return "admitted when an operator approves" + (f", at once if {' and '.join(exempt)}" if exempt else "")


def parse_seconds(text: str | None, option: str) -> int | None:
    """Return a duration given on the command line in seconds, None if it was not given; raises UsageError."""
    if text is None:
        return None
    try:
        return int(parse_duration(text).total_seconds())
    except InvalidInputError as error:
        raise click.UsageError(f"{option} {error.message}") from error


def _labels(parts: tuple[str, ...]) -> dict[str, str]:
    try:
        return parse_label_text(",".join(parts))
    except InvalidInputError as error:
        raise click.UsageError(f"{error.field}: {error.message}") from error


def _workers(count: int) -> str:
    return "1 Worker" if count == 1 else f"{count} Workers"


def _uses(key: dict[str, Any]) -> str:
    if key["uses"] is None:
        return "-"
    return str(key["uses"]) if key["max_uses"] is None else f"{key['uses']} of {key['max_uses']}"


def _show_table(found: list[dict[str, Any]]) -> None:
    columns = (
        "name",
        "fingerprint",
        "status",
        "uses",
        "workers",
        "expires",
        "mode",
        "worker name",
        "from",
        "last used",
    )
    rows = [
        (
            key["name"],
            key["fingerprint"],
            key["status"],
            _uses(key),
            str(key["workers"]),
            when(key["expires_at"]),
            f"warn, {key['warned']} warned" if key["warned"] else key["mode"],
            key["worker_name"] or "-",
            ",".join(key["networks"]) or "-",
            when(key["last_used_at"]),
        )
        for key in found
    ]
    print_table(
        columns, rows, empty="There are no enrollment keys. Issue one with: lyftdata enrollment issue NAME"
    )


def _show_one(key: dict[str, Any]) -> None:
    by = f" by {key['created_by']}" if key["created_by"] else ""
    print_fields(
        [
            ("Name", key["name"]),
            ("Fingerprint", f"{key['fingerprint']} (generation {key['generation']})"),
            ("Earlier fingerprints", ", ".join(key["fingerprints"][1:]) or "-"),
            ("Public ID", key["public_id"] or "- (LYFTDATA_AUTO_ENROLLMENT_KEY)"),
            ("Status", key["status"]),
            ("Uses", _uses(key)),
            ("Enrolled", _workers(key["workers"])),
            ("Worker name", key["worker_name"] or "any"),
            ("From", ", ".join(key["networks"]) or "everywhere"),
            ("Labels", format_labels(key["labels"]) or "-"),
            ("Ephemeral", "yes: its Workers are removed when they leave" if key["ephemeral"] else "no"),
            ("Mode", f"{key['mode']}: Workers are {_admission(key)}"),
            ("Against its rules", _workers(key["warned"])),
            ("Waiting for approval", _workers(key["pending"])),
            ("Expires", when(key["expires_at"])),
            ("Revoked", when(key["revoked_at"])),
            ("Last used", when(key["last_used_at"])),
            *_previous_fields(key),
            ("Created", f"{when(key['created_at'])}{by}"),
            ("Rotated", when(key["rotated_at"])),
        ]
    )


def _previous_fields(key: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a line for each older generation that still works, and one for the hosts that have used it since the rotation."""
    fields: list[tuple[str, str]] = []
    for old in key["previous"]:
        hosts = [f"{host['worker_name']} from {host['address'] or '?'}" for host in old["hosts"]]
        fields += [
            ("Older generation", f"{old['fingerprint']}, {ends_in(old)}"),
            ("Still used by", ", ".join(hosts) or "no host since the rotation"),
        ]
    return fields
