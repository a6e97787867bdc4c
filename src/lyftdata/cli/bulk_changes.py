"""Changes all Workers that a search finds: shows them, asks for confirmation, and changes no others."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from lyftdata.cli.confirm import confirm, require_terminal
from lyftdata.cli.output import echo, echo_err, print_json
from lyftdata.core.text import clean_text, count

if TYPE_CHECKING:
    from lyftdata.cli.api import Api

where_option = click.option(
    "--where",
    metavar="QUERY",
    help="All Workers that this search finds, instead of Workers by ID; the syntax is that of `workers list`.",
)
expect_option = click.option(
    "--expect",
    type=click.IntRange(min=0),
    metavar="N",
    help="Change nothing unless --where finds exactly this many Workers.",
)
_UNCHANGED = {"rotate-key": "without an identity key to rotate"}


def check_target(worker_ids: Sequence[str], where: str | None, expect: int | None) -> None:
    """
    Check that either IDs or a search are given, and --expect only with a search.

    Raises:
        click.UsageError: Says what is missing or not allowed.
    """
    if where is not None and not where.strip():
        # A script with an unset variable must not change every Worker.
        raise click.UsageError("--where is empty.")
    if (where is None) != bool(worker_ids):
        raise click.UsageError("Give the IDs of Workers, or --where QUERY.")
    if expect is not None and where is None:
        raise click.UsageError("--expect goes with --where.")


def change_where(
    api: "Api",
    action: str,
    where: str,
    *,
    question: str,
    done: str,
    expect: int | None,
    yes: bool,
    as_json: bool = False,
    labels: dict[str, str] | None = None,
    disabling: dict[str, str | None] | None = None,
) -> int:
    """
    Show which Workers a search finds, ask for confirmation, and change them: all or none.

    Args:
        api: The Server.
        action: The name of the action in the API.
        where: The search.
        question: The question, with `{}` for the number of Workers.
        done: What was done, such as "disabled".
        expect: How many Workers there must be; None for any number.
        yes: Go on without asking.
        as_json: Print the Server's answer.
        labels: For the action `label`.
        disabling: For the action `disable`: the fields for the note and the end.

    Returns:
        The exit code.

    Raises:
        ApiError: The search is invalid, finds no Workers, or others than were shown.
        click.UsageError, click.Abort: As for `confirm`.
    """
    if not yes:
        require_terminal(question.format(f"all Workers that '{clean_text(where)}' finds"))
    found = api.post("/workers/match", {"q": where})
    _show(found)
    if expect is not None and found["count"] != expect:
        raise click.ClickException(
            f"Nothing was changed: the search finds {count(found['count'], 'Worker')}, and {expect:,} were expected."
        )
    confirm(question.format(count(found["count"], "Worker")), yes=yes)
    answer = api.post(
        "/workers/changes",
        {
            "action": action,
            "q": where,
            "labels": labels or {},
            **(disabling or {}),
            "match": found["match"],
            "expect": expect,
        },
    )
    if as_json:
        print_json(answer)
    else:
        _say(answer, action, done)
    return 0


def _show(found: dict[str, Any]) -> None:
    first = found["first"]
    echo_err(f"The search finds {count(found['count'], 'Worker')}:")
    for worker in first:
        state = worker["status"] if worker["enabled"] else "disabled"
        echo_err(f"  {clean_text(worker['id'])}  {clean_text(worker['name'])}  {state.replace('_', ' ')}")
    if found["count"] > len(first):
        echo_err(f"  and {found['count'] - len(first):,} more")


def _say(answer: dict[str, Any], action: str, done: str) -> None:
    echo_err(f"{count(answer['changed'], 'Worker')} {done}")
    for key, why in (("unchanged", _UNCHANGED.get(action, "so already")), ("gone", "deleted meanwhile")):
        if answer[key]:
            echo_err(f"{count(len(answer[key]), 'Worker')} {why}")
    if answer["undo_until"]:
        echo_err(f"To undo it within 15 minutes: lyftdata workers undo {answer['number']}")


def undo_change(api: "Api", number: int, *, as_json: bool) -> int:
    """Undo a change, and name the Workers that were not restored; return 1 if there are any."""
    undone = api.post(f"/workers/changes/{number}/undo")
    if as_json:
        print_json(undone)
    else:
        echo(f"{count(undone['restored'], 'Worker')} as before")
    for key, why in (
        ("changed_since", "was changed since: it stays as it is."),
        ("gone", "was deleted since."),
    ):
        for worker_id in undone[key]:
            echo_err(f"Error: {clean_text(worker_id)} {why}")
    return 1 if undone["changed_since"] or undone["gone"] else 0
