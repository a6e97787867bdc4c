"""`lyftdata fleet`: shows whether all expected Workers are connected, and manages the accepted versions of their agents."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from lyftdata.cli.confirm import confirm, yes_option
from lyftdata.cli.output import echo, echo_err, emit, json_option, print_table, url_option, when
from lyftdata.core.text import clean_text, count

if TYPE_CHECKING:
    from lyftdata.cli.api import Api

_EXIT_INCOMPLETE = 1
_EXIT_AFFECTED = 1
_SHOWN_BEFORE_ASKING = 20
_PAGE = 1_000


@click.group()
def fleet() -> None:
    """
    See whether the fleet is complete, and which versions its agents have.

    \b
    Example:
      lyftdata fleet status
      lyftdata fleet versions
      lyftdata fleet policy --warn-below 1.4 --refuse-below 1.2 --from 2027-03-01
    """


@fleet.command()
@click.option("--check", is_flag=True, help="Exit 1 unless every expected Worker is connected.")
@json_option
@url_option
def status(url: str | None, *, check: bool, as_json: bool) -> None:
    """
    Show how many of the expected Workers are connected, and what the lost ones have in common.

    Expected are enabled Workers that were connected within seven days and have no label always=no.

    \b
    Example:
      lyftdata fleet status
      lyftdata fleet status --check || lyftdata workers list --presence missing
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/fleet")
    emit(found, as_json=as_json, show=_show)
    if check and found["level"] not in {"good", "none"}:
        raise click.exceptions.Exit(_EXIT_INCOMPLETE)


def _show(found: dict[str, Any]) -> None:
    echo(f"{clean_text(found['title'], 500)}.")
    if found["detail"]:
        echo(clean_text(found["detail"], 1_000))


@fleet.command()
@click.option(
    "--over",
    type=click.Choice(["week", "quarter", "year"]),
    help="Show the changes over time: over a week by the hour, over a quarter or a year by the day.",
)
@json_option
@url_option
def versions(over: str | None, url: str | None, *, as_json: bool) -> None:
    """
    Count the versions of the Workers' agents, as last reported.

    With --over it lists each hour, or day, in which the numbers changed, in UTC. Hours are kept for 8 days, one hour of each day for
    400 days.

    \b
    Example:
      lyftdata fleet versions
      lyftdata fleet versions --over quarter
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        if over is not None:
            history = api.get("/fleet/versions/history", period=over)
            emit(history, as_json=as_json, show=_show_version_history)
            return
        found = api.get("/fleet/versions")["items"]
    emit(found, as_json=as_json, show=_show_versions)


@fleet.command()
@click.option("--warn-below", default="", metavar="VERSION", help="Warn agents of earlier versions.")
@click.option("--refuse-below", default="", metavar="VERSION", help="Refuse agents of earlier versions.")
@click.option(
    "--from",
    "from_",
    default="",
    metavar="TIME",
    help="Refuse from this date or time, and warn until then; at once unless given.",
)
@click.option("--clear", is_flag=True, help="Remove the policy.")
@click.option(
    "--check", is_flag=True, help="Change nothing; exit 1 if the policy warns or refuses any Worker."
)
@yes_option
@json_option
@url_option
def policy(
    warn_below: str,
    refuse_below: str,
    from_: str,
    url: str | None,
    *,
    clear: bool,
    check: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """
    Show or set the minimum version of accepted agents.

    Without a version it shows the policy. With one it first shows which Workers would be warned or refused, and asks. Agents report
    the version themselves: this keeps a fleet up to date, and does not keep an attacker out.

    \b
    Example:
      lyftdata fleet policy --warn-below 1.4 --refuse-below 1.2 --from 2027-03-01
      lyftdata fleet policy --refuse-below 1.4 --check
      lyftdata fleet policy --clear
    """
    from lyftdata.cli.api import Api

    body = _policy_body(warn_below, refuse_below, from_)
    if clear and (body is not None or check):
        raise click.UsageError("--clear cannot be combined with other options.")
    with Api(url) as api:
        if clear:
            confirm("Remove the fleet policy? No agent will be warned or refused.", yes=yes)
            api.delete("/fleet/policy")
            echo_err("The fleet policy is removed.")
            return
        if body is not None and not check:
            _set_policy(api, body, yes=yes)
        found = _fetch_effect(api, body if check else None)
    emit(found, as_json=as_json, show=_show_policy)
    if check and found["total"]:
        raise click.exceptions.Exit(_EXIT_AFFECTED)


def _policy_body(warn_below: str, refuse_below: str, from_: str) -> dict[str, Any] | None:
    from lyftdata.core.errors import InvalidInputError
    from lyftdata.core.fleet_policy import parse_refuse_from

    if not (warn_below or refuse_below or from_):
        return None
    try:
        refuse_from = parse_refuse_from(from_)
    except InvalidInputError as error:
        raise click.UsageError(f"--from {error.message}") from error
    return {
        "warn_below": warn_below,
        "refuse_below": refuse_below,
        "refuse_from": None if refuse_from is None else refuse_from.isoformat(),
    }


def _set_policy(api: "Api", body: dict[str, Any], *, yes: bool) -> None:
    """Show what the policy would do now, ask, and save it."""
    if not yes:
        found = api.post(f"/fleet/policy/preview?limit={_SHOWN_BEFORE_ASKING}", body)
        _show_affected(found, to=echo_err, most=_SHOWN_BEFORE_ASKING)
        confirm(f"Set this policy? It {_describe_effect(found)}.", yes=yes)
    api.put("/fleet/policy?limit=0", body)


def _fetch_effect(api: "Api", body: dict[str, Any] | None) -> Any:
    """Return the effect of a policy, or of the current one without a body, with every Worker that it affects."""

    def page(after: str | None) -> Any:
        if body is None:
            return api.get("/fleet/policy", limit=_PAGE, after=after)
        position = "" if after is None else f"&after={after}"
        return api.post(f"/fleet/policy/preview?limit={_PAGE}{position}", body)

    found = page(None)
    after = found.pop("next")
    while after is not None:
        following = page(after)
        found["items"] += following["items"]
        after = following["next"]
    return found


def _describe_effect(found: dict[str, Any]) -> str:
    now = f"refuses {count(found['refused'], 'Worker')} now and warns {found['warned']:,}"
    return f"{now}, of which {found['refused_later']:,} will be refused" if found["refused_later"] else now


def _show_affected(found: dict[str, Any], *, to: Any, most: int | None = None) -> None:
    listed = found["items"][:most]
    for one in listed:
        until = f" from {one['refused_from']}" if one["refused_from"] and one["standing"] == "warned" else ""
        verb = "refused" if one["standing"] == "refused" or until else "warned"
        state = "online" if one["online"] else "offline"
        to(f"{one['name']} ({one['id']}): agent {one['version']}, {state}: {verb}{until}")
    if found["total"] > len(listed):
        to(f"and {found['total'] - len(listed):,} more{'; --check lists them' if most else ''}")


def _show_policy(found: dict[str, Any]) -> None:
    policy = found["policy"]
    if policy is None:
        echo("No fleet policy: agents of every version are accepted.")
        return
    if policy["warn_below"]:
        echo(f"Warned: agents below {policy['warn_below']}.")
    if policy["refuse_below"]:
        echo(f"Refused: agents below {policy['refuse_below']}, from {policy['refuse_from']} on.")
    echo(f"It {_describe_effect(found)}.")
    if found["unknown"]:
        echo(f"Workers that report no version, which are neither warned nor refused: {found['unknown']:,}.")
    if found["items"]:
        _show_affected(found, to=echo)
    if found["refused_agents"]:
        rows = [
            (
                one["name"],
                one["version"],
                one["hostname"] or "-",
                one["address"],
                f"{one['attempts']:,}",
                f"{one['starts']:,}",
                f"{one['entries']:,}",
                when(one["last_at"]),
            )
            for one in found["refused_agents"]
        ]
        columns = (
            "refused within the hour",
            "version",
            "host",
            "address",
            "attempts",
            "starts",
            "entries",
            "last",
        )
        print_table(columns, rows, empty="")


def _show_version_history(history: dict[str, Any]) -> None:
    rows: list[tuple[str, str]] = []
    for step in history["points"]:
        counts = [f"{one['version'] or '(none)'}: {one['workers']:,}" for one in step["versions"]]
        if step["others"]:
            counts.append(f"others: {step['others']:,}")
        said = ", ".join(counts)
        if not rows or rows[-1][1] != said:
            rows.append((f"{datetime.fromisoformat(step['at']):%Y-%m-%d %H:%M}", said))
    print_table(("since (UTC)", "workers by version"), rows, empty="Nothing was counted yet.")


def _show_versions(found: list[dict[str, Any]]) -> None:
    rows = [
        (one["version"] or "(none)", f"{one['workers']:,}", f"{one['online']:,}", one["standing"])
        for one in found
    ]
    print_table(("version", "workers", "online", "standing"), rows, empty="No Worker was connected yet.")
