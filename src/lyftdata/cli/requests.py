"""`lyftdata requests`: change requests that wait for a second operator, and the rules about what one must confirm."""

from typing import TYPE_CHECKING, Any

import click

from lyftdata.cli.confirm import confirm, require_terminal, yes_option
from lyftdata.cli.output import (
    echo,
    echo_err,
    emit,
    json_option,
    print_fields,
    print_json,
    print_table,
    url_option,
    when,
)
from lyftdata.core.second_operator import DEFAULT, ProtectedAction
from lyftdata.core.text import clean_text

if TYPE_CHECKING:
    from lyftdata.cli.api import Api

_CHOICES = click.Choice([action.value for action in ProtectedAction])
_MAX_TEXT = 1_000


@click.group()
def requests() -> None:
    """
    Confirm or decline what another operator asks for; choose which actions a second operator must confirm.

    \b
    Example:
      lyftdata requests list
      lyftdata requests confirm 3f9a1c20b7d4
      lyftdata requests require --proposed
    """


@requests.command("list")
@click.option("--waiting", is_flag=True, help="Only those that wait.")
@json_option
@url_option
def list_(url: str | None, *, waiting: bool, as_json: bool) -> None:
    """
    List requests that wait for a second operator, and those decided within 30 days.

    \b
    Example:
      lyftdata requests list --waiting
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/change-requests")["items"]
    emit(
        [one for one in found if not waiting or one["state"] == "pending"],
        as_json=as_json,
        show=_show_table,
    )


@requests.command()
@click.argument("request_id", metavar="REQUEST")
@json_option
@url_option
def show(request_id: str, url: str | None, *, as_json: bool) -> None:
    """
    Show a request: what was asked for, by whom, and its state.

    \b
    Example:
      lyftdata requests show 3f9a1c20b7d4
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get(_path(request_id))
    emit(found, as_json=as_json, show=_show)


@requests.command("confirm")
@click.argument("request_id", metavar="REQUEST")
@click.option("--note", default="", help="A note for the requester and the audit log.")
@yes_option
@json_option
@url_option
def confirm_(request_id: str, note: str, url: str | None, *, yes: bool, as_json: bool) -> None:
    """
    Confirm what another operator asks for: it is done at once, exactly as shown, or not at all.

    If it creates a first password, that is printed on standard output, once.

    \b
    Example:
      lyftdata requests confirm 3f9a1c20b7d4 --note "talked to Ada"
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        _ask_about(api, request_id, "Confirm it, and do it now?", yes=yes)
        done = api.post(f"{_path(request_id)}/confirm", {"note": note})
    if as_json:
        print_json(done)
        return
    echo_err(f"Done: {clean_text(done['request']['statement'], _MAX_TEXT)}")
    if done["password"] is not None:
        echo_err(f"The first password of {clean_text(done['operator'])} is shown once:")
        echo(done["password"])


@requests.command()
@click.argument("request_id", metavar="REQUEST")
@click.option("--note", default="", help="A note for the requester and the audit log.")
@yes_option
@url_option
def decline(request_id: str, note: str, url: str | None, *, yes: bool) -> None:
    """
    Decline what another operator asks for: nothing is done.

    \b
    Example:
      lyftdata requests decline 3f9a1c20b7d4 --note "these are in use"
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        _ask_about(api, request_id, "Decline it?", yes=yes)
        api.post(f"{_path(request_id)}/decline", {"note": note})
    echo_err("Declined")


@requests.command()
@click.argument("request_id", metavar="REQUEST")
@url_option
def withdraw(request_id: str, url: str | None) -> None:
    """
    Withdraw your own request.

    \b
    Example:
      lyftdata requests withdraw 3f9a1c20b7d4
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        api.post(f"{_path(request_id)}/withdraw")
    echo_err("Withdrawn")


@requests.command()
@click.argument("request_id", metavar="REQUEST")
@click.argument("reason")
@url_option
def explain(request_id: str, reason: str, url: str | None) -> None:
    """
    Give the reason for your request, once, for the operator who decides and for the audit log.

    \b
    Example:
      lyftdata requests explain 3f9a1c20b7d4 "rack 7 was sold"
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        api.post(f"{_path(request_id)}/reason", {"reason": reason})
    echo_err("The reason is in the request")


@requests.command()
@json_option
@url_option
def rules(url: str | None, *, as_json: bool) -> None:
    """
    Show which actions a second operator must confirm.

    \b
    Example:
      lyftdata requests rules
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/second-operator")
    emit(found, as_json=as_json, show=_show_rules)


@requests.command()
@click.argument("actions", metavar="[ACTION]...", nargs=-1, type=_CHOICES)
@click.option("--proposed", is_flag=True, help="Require it for the proposed actions.")
@click.option(
    "--above",
    type=click.IntRange(min=0),
    metavar="N",
    help="Let one operator delete or disable up to N Workers within an hour; 10 unless given.",
)
@click.option("--nothing", is_flag=True, help="Turn it off.")
@yes_option
@json_option
@url_option
def require(
    actions: tuple[str, ...],
    above: int | None,
    url: str | None,
    *,
    proposed: bool,
    nothing: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """
    Require a second operator to confirm these ACTIONs, and no others; `requests rules` lists them.

    You can add actions alone. Removing one, raising the number or turning it off waits for a second operator.

    \b
    Example:
      lyftdata requests require --proposed
      lyftdata requests require delete_workers refuse_agents --above 50
      lyftdata requests require --nothing
    """
    from lyftdata.cli.api import Api

    if [bool(actions), proposed, nothing].count(True) != 1:
        raise click.UsageError("Give actions, --proposed or --nothing.")
    chosen = sorted(DEFAULT) if proposed else [] if nothing else list(actions)
    confirm(
        "Stop requiring a second operator for anything?"
        if nothing
        else f"Let a second operator confirm: {', '.join(chosen)}, and what manages operators?",
        yes=yes,
    )
    body: dict[str, Any] = {"actions": chosen}
    with Api(url) as api:
        if above is None:
            current = api.get("/second-operator")
            body["above"] = current["above"]
        else:
            body["above"] = above
        done = api.put("/second-operator", body)
    emit(done, as_json=as_json, show=_show_rules)


def _path(request_id: str) -> str:
    from lyftdata.cli.api import path_part

    return f"/change-requests/{path_part(request_id)}"


def _ask_about(api: "Api", request_id: str, question: str, *, yes: bool) -> None:
    """Show a request and ask for confirmation; without a terminal and without --yes nothing is done."""
    if yes:
        return
    require_terminal(question)
    _show(api.get(_path(request_id)))
    confirm(question, yes=False)


def _show(found: dict[str, Any]) -> None:
    who = found["requested_by"] + (f", by the API token {found['api_token']}" if found["api_token"] else "")
    print_fields(
        [
            ("Request", found["id"]),
            ("State", found["state"]),
            ("Will be done", found["statement"]),
            ("Asked for by", who),
            ("Reason", found["reason"] or "-"),
            ("Since", when(found["requested_at"])),
            ("Until", when(found["expires_at"])),
            ("Can confirm", ", ".join(found["confirmers"]) or "-"),
            ("Decided by", found["decided_by"] or "-"),
            ("Note", found["note"] or "-"),
        ]
    )
    for worker_id in found["operation"].get("worker_ids", []):
        echo(f"Worker        {clean_text(worker_id)}")


def _show_table(found: list[dict[str, Any]]) -> None:
    rows = [
        (one["id"], one["state"], one["requested_by"], when(one["expires_at"]), one["statement"])
        for one in found
    ]
    print_table(("request", "state", "asked for by", "until", "what"), rows, empty="No requests.")


def _show_rules(found: dict[str, Any]) -> None:
    rows = [
        (
            one["action"],
            "yes" if one["required"] else "no",
            "always, once on" if one["always"] else "proposed" if one["proposed"] else "",
            one["meaning"],
        )
        for one in found["actions"]
    ]
    print_table(("action", "second operator", "", "what"), rows, empty="")
    echo_err(
        f"One operator may delete or disable {found['above']:,} Workers within an hour, where these are on."
    )
    echo_err(f"Who can confirm: {', '.join(found['able'])}")
