"""`lyftdata enrollment rehearse`: shows which Workers other rules of an enrollment key would refuse."""

from typing import Any

import click

from lyftdata.cli.enrollment_keys import parse_seconds
from lyftdata.cli.output import echo, emit, json_option, print_table, url_option, when
from lyftdata.core.text import count

_EXIT_REFUSED = 1


@click.command()
@click.argument("key", metavar="KEY")
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=30,
    show_default=True,
    help="Replay the attempts of this many days.",
)
@click.option(
    "--expires", metavar="DURATION", help="Lifetime from the issue of the key, for example 24h or 7d."
)
@click.option("--uses", type=click.IntRange(1), help="How many Workers it may enroll.")
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
    "--mode",
    type=click.Choice(["auto", "approve", "warn"]),
    help="As for `issue`. Without it a key of mode warn is rehearsed as auto.",
)
@click.option(
    "--approve-from",
    "approve_networks",
    multiple=True,
    metavar="NETWORK",
    help="With mode approve: a Worker from this network needs no operator; may be given several times.",
)
@click.option(
    "--approve-name",
    metavar="PATTERN",
    help="With mode approve: a Worker with a matching name needs no operator.",
)
@json_option
@url_option
def rehearse(
    key: str,
    days: int,
    expires: str | None,
    uses: int | None,
    worker_name: str | None,
    networks: tuple[str, ...],
    mode: str | None,
    approve_networks: tuple[str, ...],
    approve_name: str | None,
    url: str | None,
    *,
    as_json: bool,
) -> int:
    """
    Show which Workers would be refused if an enrollment key had other rules; exit 1 if a Worker that was admitted would be.

    Recorded attempts, admitted and refused, are replayed in order, as if the key had been issued with these rules; rules that are not
    given stay as they are. Nothing is changed. KEY is the name of a key, or `startup`.

    \b
    Example:
      lyftdata enrollment rehearse etl-hosts
      lyftdata enrollment rehearse startup --days 90 --from 10.4.0.0/16 --worker-name 'etl-*'
    """
    from lyftdata.cli.api import Api, path_part

    body = {
        "days": days,
        "expires_in_s": parse_seconds(expires, "--expires"),
        "max_uses": uses,
        "worker_name": worker_name,
        "networks": list(networks) or None,
        "mode": mode,
        "approve_name": approve_name,
        "approve_networks": list(approve_networks) or None,
    }
    with Api(url) as api:
        found = api.post(f"/enrollment/keys/{path_part(key)}/rehearse", body)
    emit(found, as_json=as_json, show=_show)
    return _EXIT_REFUSED if found["newly_refused"] else 0


def _show(found: dict[str, Any]) -> None:
    echo(
        f"{count(found['attempts'], 'attempt')} since {when(found['since'])}: {found['admitted']} would be admitted, "
        f"{found['pending']} would wait for approval, {found['refused']} would be refused."
    )
    echo(
        f"Of these, {found['newly_refused']} were admitted and would be refused, "
        f"{found['newly_let_in']} were refused and would be admitted or wait."
    )
    if found["complete_since"] > found["since"]:
        echo(f"Attempts before {when(found['complete_since'])} may be missing: they were not kept.")
    rows = [
        (
            group["worker_name"],
            group["address"],
            str(group["attempts"]),
            when(group["last_at"]),
            group["recorded"],
            group["outcome"],
            ",".join(group["codes"]) or "-",
        )
        for group in found["items"]
    ]
    if rows:
        print_table(
            ("worker name", "address", "attempts", "last", "was", "would be", "by rule"), rows, empty=""
        )
    if found["left_out"]:
        echo(f"and {count(found['left_out'], 'more group')} of attempts")
