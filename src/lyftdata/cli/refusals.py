"""`lyftdata refusals`: shows which attempts were refused, and why."""

from typing import Any

import click

from lyftdata.cli.output import echo_err, emit, json_option, print_fields, print_table, url_option, when
from lyftdata.core.durations import parse_duration


@click.group()
def refusals() -> None:
    """
    See which attempts were refused, and why.

    \b
    Example:
      lyftdata refusals list
      lyftdata refusals show 7K2M9QXD
    """


@refusals.command("list")
@click.option("--code", help="Only this cause, for example wrong_api_key.")
@click.option("--search", help="Only those with this text in the claimed Worker or the address.")
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="At most this many."
)
@json_option
@url_option
def list_(code: str | None, search: str | None, limit: int, url: str | None, *, as_json: bool) -> None:
    """
    List refused attempts, grouped by cause, claimed Worker and address, the latest first.

    \b
    Example:
      lyftdata refusals list --code wrong_api_key
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/refusals", code=code, q=search, limit=limit)["items"]
    is_filtered = code is not None or search is not None
    emit(found, as_json=as_json, show=lambda groups: _show_table(groups, is_filtered=is_filtered))


@refusals.command()
@click.argument("reference")
@json_option
@url_option
def show(reference: str, url: str | None, *, as_json: bool) -> None:
    """
    Show one refused attempt by the REFERENCE that the Worker logged: what happened, why, and what to do.

    \b
    Example:
      lyftdata refusals show 7K2M9QXD
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        found = api.get(f"/refusals/{path_part(reference)}")
    emit(found, as_json=as_json, show=_show_one)


@refusals.command()
@click.argument("cause")
@click.argument("callers", nargs=-1, required=True, metavar="CALLER...")
@click.option(
    "--for", "span", default="24h", show_default=True, metavar="TIME", help="For how long, at most 90d."
)
@click.option("--note", default="", help="Why, for other operators.")
@url_option
def ignore(cause: str, callers: tuple[str, ...], span: str, note: str, url: str | None) -> None:
    """
    Ignore refusals of a CAUSE for a time: they raise no alerts until then. The callers are still refused.

    CALLER is worker:ID, or address:ADDRESS for callers that are not a Worker.

    \b
    Example:
      lyftdata refusals ignore unknown_worker address:203.0.113.99 --for 7d --note "the old scanner"
    """
    from lyftdata.cli.api import Api

    for_s = int(parse_duration(span).total_seconds())
    with Api(url) as api:
        api.post("/refusals/ignore", {"code": cause, "subjects": list(callers), "for_s": for_s, "note": note})
    echo_err(f"Ignored for {span}.")


@refusals.command()
@click.argument("cause")
@click.argument("callers", nargs=-1, required=True, metavar="CALLER...")
@url_option
def reopen(cause: str, callers: tuple[str, ...], url: str | None) -> None:
    """
    Stop ignoring refusals of a CAUSE.

    \b
    Example:
      lyftdata refusals reopen unknown_worker address:203.0.113.99
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        api.post("/refusals/reopen", {"code": cause, "subjects": list(callers)})
    echo_err("They raise alerts again.")


def _show_table(found: list[dict[str, Any]], *, is_filtered: bool) -> None:
    columns = ("cause", "claimed worker", "address", "count", "last", "reference")
    rows = [
        (
            group["code"],
            group["claimed_worker"] or "-",
            group["address"],
            str(group["count"]),
            when(group["last_at"]),
            group["last_reference"],
        )
        for group in found
    ]
    print_table(columns, rows, empty="No matching refusals." if is_filtered else "No refusals.")


def _show_one(refusal: dict[str, Any]) -> None:
    print_fields(
        [
            ("Reference", refusal["reference"]),
            ("When", when(refusal["at"])),
            ("Claimed Worker", refusal["claimed_worker"] or "-"),
            ("Address", refusal["address"]),
            ("Cause", refusal["code"]),
            ("Meaning", refusal["meaning"]),
            ("Detail", refusal["detail"] or "-"),
            ("What to do", refusal["remedy"]),
            ("Shown", "the cause" if refusal["proved"] else "the reference, and nothing else"),
        ]
    )
