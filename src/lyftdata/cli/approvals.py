"""`lyftdata enrollment pending`, `approve` and `deny`: Workers that wait for approval."""

from collections.abc import Sequence
from typing import Any

import click

from lyftdata.cli.confirm import confirm, yes_option
from lyftdata.cli.output import echo_err, emit, json_option, print_json, print_table, url_option, when
from lyftdata.core.text import clean_text, count

_EXIT_FAILED = 1


@click.command()
@json_option
@url_option
def pending(url: str | None, *, as_json: bool) -> None:
    """
    List the Workers that wait for approval, the longest waiting first.

    The fingerprint is that of the Worker's identity key: its host logs the same one (`awaiting_approval`).

    \b
    Example:
      lyftdata enrollment pending
      lyftdata enrollment pending --json | jq -r '.[].id'
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/enrollment/pending")["items"]
    emit(found, as_json=as_json, show=_show_pending)


@click.command()
@click.argument("worker_ids", metavar="ID...", nargs=-1, required=True)
@json_option
@url_option
def approve(worker_ids: tuple[str, ...], url: str | None, *, as_json: bool) -> int:
    """
    Approve Workers that wait, or that were denied: they are admitted at once.

    \b
    Example:
      lyftdata enrollment approve w-7k2m9qxr w-3c8d1fgh
    """
    return _decide("approve", worker_ids, url, done="approved", as_json=as_json)


@click.command()
@click.argument("worker_ids", metavar="ID...", nargs=-1, required=True)
@yes_option
@json_option
@url_option
def deny(worker_ids: tuple[str, ...], url: str | None, *, yes: bool, as_json: bool) -> int:
    """
    Deny Workers that wait: their programs end. The enrollment key keeps working: revoke it if it leaked.

    \b
    Example:
      lyftdata enrollment deny w-7k2m9qxr --yes
    """
    who = f"Worker {worker_ids[0]}" if len(worker_ids) == 1 else count(len(worker_ids), "Worker")
    confirm(f"Deny {who}?", yes=yes)
    return _decide("deny", worker_ids, url, done="denied", as_json=as_json)


def _decide(action: str, worker_ids: Sequence[str], url: str | None, *, done: str, as_json: bool) -> int:
    """Send a decision about Workers and report the results; returns 1 if it failed for any of them."""
    from lyftdata.cli.api import Api

    with Api(url) as api:
        decided = api.post(f"/enrollment/{action}", {"worker_ids": list(worker_ids)})["items"]
    failed = [one for one in decided if one["problem"]]
    if as_json:
        print_json(decided)
    for one in failed:
        echo_err(f"Error: {clean_text(one['id'])}: {clean_text(one['detail'] or one['problem'], 300)}")
    for one in decided if not as_json else ():
        if not one["problem"]:
            echo_err(f"Worker {one['id']} ({clean_text(one['name'] or '?')}) {done}")
    return _EXIT_FAILED if failed else 0


def _show_pending(found: list[dict[str, Any]]) -> None:
    columns = ("id", "name", "fingerprint", "address", "host", "key", "waiting since", "expires")
    rows = [
        (
            worker["id"],
            worker["name"],
            worker["thumbprint"],
            worker["address"] or "-",
            worker["host"].get("hostname", "-"),
            worker["enrollment_key"] or worker["enrolled_with"] or "-",
            when(worker["requested_at"]),
            when(worker["expires_at"]),
        )
        for worker in found
    ]
    print_table(columns, rows, empty="No Worker waits for approval.")
    for worker in found:
        if worker["name_holder"]:
            echo_err(
                f"Note: {worker['name_holder']} has the name {clean_text(worker['name'])} now; approving {worker['id']} supersedes it if it is offline."
            )
