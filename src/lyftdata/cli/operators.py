"""`lyftdata operators`: manages operators' accounts."""

from typing import Any

import click

from lyftdata.cli import api_tokens
from lyftdata.cli.confirm import confirm, confirm_listed, yes_option
from lyftdata.cli.output import echo, echo_err, emit, json_option, print_json, print_table, url_option, when
from lyftdata.cli.scopes import scope_field, scope_option
from lyftdata.cli.second_factor import find_passkey
from lyftdata.core.names import format_labels

_ROLES = click.Choice(["admin", "viewer"])


@click.group()
def operators() -> None:
    """
    Manage who may sign in, their sessions, and API tokens.

    \b
    Example:
      lyftdata operators add ada --role viewer
    """


operators.add_command(api_tokens.token)


@operators.command()
@click.argument("name")
@click.option("--role", type=_ROLES, default="viewer", show_default=True, help="What they may do.")
@scope_option("Limit them to Workers with this label, and to their keys and resources")
@json_option
@url_option
def add(name: str, role: str, labels: tuple[str, ...], url: str | None, *, as_json: bool) -> None:
    """
    Add an operator; a first password is generated and printed on standard output, once.

    \b
    Example:
      lyftdata operators add ada --role viewer
      lyftdata operators add anna --role admin --label team=etl
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        answer = api.post("/operators", {"name": name, "role": role} | scope_field(labels))
    _print_password(answer, as_json=as_json, done=f"Operator {name} added as {role}")


@operators.command("list")
@json_option
@url_option
def list_(url: str | None, *, as_json: bool) -> None:
    """
    List operators.

    \b
    Example:
      lyftdata operators list
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/operators")["items"]
    emit(found, as_json=as_json, show=_show_table)


@operators.command("set-role")
@click.argument("name")
@click.argument("role", type=_ROLES)
@url_option
def set_role(name: str, role: str, url: str | None) -> None:
    """
    Make an operator an admin or a viewer.

    \b
    Example:
      lyftdata operators set-role ada admin
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        api.patch(f"/operators/{path_part(name)}", {"role": role})
    echo_err(f"Operator {name} is now {role}")


@operators.command("set-scope")
@click.argument("name")
@scope_option("Limit them to Workers with this label, instead of their present limit")
@click.option("--none", "no_scope", is_flag=True, help="Remove the limit: their role applies to everything.")
@url_option
def set_scope(name: str, labels: tuple[str, ...], url: str | None, *, no_scope: bool) -> None:
    """
    Limit an operator to Workers with certain labels, or remove the limit; their sessions end at once.

    \b
    Example:
      lyftdata operators set-scope anna --label team=etl
      lyftdata operators set-scope anna --none
    """
    from lyftdata.cli.api import Api, path_part

    if bool(labels) == no_scope:
        raise click.UsageError("Give --label, or --none to remove the limit.")
    with Api(url) as api:
        changed = api.patch(
            f"/operators/{path_part(name)}", scope_field(labels) if labels else {"no_scope": True}
        )
    scope = format_labels(changed["operator"]["scope"] or {})
    echo_err(f"Operator {name} is limited to {scope}" if scope else f"Operator {name} has no limit now")


@operators.command("reset-password")
@click.argument("name")
@yes_option
@json_option
@url_option
def reset_password(name: str, url: str | None, *, yes: bool, as_json: bool) -> None:
    """
    Give an operator a new first password, printed once; their sessions end, and their API tokens are revoked.

    \b
    Example:
      lyftdata operators reset-password ada --yes
    """
    from lyftdata.cli.api import Api, path_part

    question = f"Reset the password of {name}? Their sessions end and their API tokens are revoked, at once."
    with Api(url) as api:
        confirm_listed(api, "/operators", "name", name, question, yes=yes)
        answer = api.patch(f"/operators/{path_part(name)}", {"reset_password": True})
    _print_password(answer, as_json=as_json, done=f"Password of {name} reset")


@operators.command("reset-second-factor")
@click.argument("name")
@yes_option
@url_option
def reset_second_factor(name: str, url: str | None, *, yes: bool) -> None:
    """
    Remove app, passkeys and recovery codes of an operator who has lost them; their sessions end.

    \b
    Example:
      lyftdata operators reset-second-factor ada
    """
    from lyftdata.cli.api import Api, path_part

    question = (
        f"Remove the second factor of {name}? Then their password alone signs them in; their sessions end."
    )
    with Api(url) as api:
        confirm_listed(api, "/operators", "name", name, question, yes=yes)
        api.delete(f"/operators/{path_part(name)}/second-factor")
    echo_err(f"Second factor of {name} removed")


@operators.command()
@click.argument("name")
@json_option
@url_option
def passkeys(name: str, url: str | None, *, as_json: bool) -> None:
    """
    List the passkeys of an operator.

    \b
    Example:
      lyftdata operators passkeys ada
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        found = api.get(f"/operators/{path_part(name)}/passkeys")["items"]
    emit(found, as_json=as_json, show=_show_passkeys)


@operators.command("remove-passkey")
@click.argument("name")
@click.argument("passkey")
@yes_option
@url_option
def remove_passkey(name: str, passkey: str, url: str | None, *, yes: bool) -> None:
    """
    Remove a PASSKEY, by its name or ID, of an operator who has lost it; their sessions end.

    \b
    Example:
      lyftdata operators remove-passkey ada "key at my desk"
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        path = f"/operators/{path_part(name)}/passkeys"
        found = find_passkey(api.get(path)["items"], passkey)
        confirm(f"Remove the passkey '{found['name']}' of {name}? Their sessions end.", yes=yes)
        api.delete(f"{path}/{path_part(found['id'])}")
    echo_err(f"Passkey '{found['name']}' of {name} removed")


@operators.command()
@click.argument("name")
@yes_option
@url_option
def delete(name: str, url: str | None, *, yes: bool) -> None:
    """
    Remove an operator; their sessions end, and their API tokens are revoked.

    \b
    Example:
      lyftdata operators delete ada
    """
    from lyftdata.cli.api import Api, path_part

    question = f"Delete operator {name}? Their sessions end and their API tokens are revoked, at once."
    with Api(url) as api:
        confirm_listed(api, "/operators", "name", name, question, yes=yes)
        api.delete(f"/operators/{path_part(name)}")
    echo_err(f"Operator {name} deleted")


@operators.command()
@json_option
@url_option
def sessions(url: str | None, *, as_json: bool) -> None:
    """
    List sessions: yours, or all of them if you are an admin.

    \b
    Example:
      lyftdata operators sessions
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/admin-sessions")["items"]
    emit(found, as_json=as_json, show=_show_sessions)


@operators.command("revoke-session")
@click.argument("session_id", metavar="SESSION")
@yes_option
@url_option
def revoke_session(session_id: str, url: str | None, *, yes: bool) -> None:
    """
    End a signed-in session.

    \b
    Example:
      lyftdata operators revoke-session 5jYq3rU4T0mJqk3zv8l0Wg
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        confirm_listed(api, "/admin-sessions", "id", session_id, f"End session {session_id}?", yes=yes)
        api.delete(f"/admin-sessions/{path_part(session_id)}")
    echo_err("Session ended")


@operators.command("revoke-sessions")
@click.argument("name")
@yes_option
@url_option
def revoke_sessions(name: str, url: str | None, *, yes: bool) -> None:
    """
    End every signed-in session of an operator.

    \b
    Example:
      lyftdata operators revoke-sessions ada
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        confirm_listed(api, "/operators", "name", name, f"End every session of {name}?", yes=yes)
        api.delete(f"/operators/{path_part(name)}/sessions")
    echo_err(f"Sessions of {name} ended")


def _print_password(answer: dict[str, Any], *, as_json: bool, done: str) -> None:
    if as_json:
        print_json({**answer["operator"], "password": answer["password"]})
        return
    echo_err(f"{done}. The first password is shown once:")
    echo(answer["password"])


def _note(operator: dict[str, Any]) -> str:
    # A Server of another version may not report where its operators sign in.
    if operator.get("issuer"):
        return f"signs in at {operator['issuer']}"
    notes = [
        "must change password" if operator["must_change_password"] else "",
        "second factor" if operator.get("second_factor") else "",
    ]
    return ", ".join(note for note in notes if note)


def _show_table(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            o["name"],
            o["role"],
            # A Server of another version may not support scopes.
            format_labels(o.get("scope") or {}) or "-",
            when(o["created_at"]),
            _note(o),
        )
        for o in found
    ]
    print_table(("name", "role", "limited to", "created", "note"), rows, empty="There are no operators.")


def _show_passkeys(found: list[dict[str, Any]]) -> None:
    rows = [(p["name"], p["id"], when(p["created_at"]), when(p["used_at"])) for p in found]
    print_table(("name", "id", "since", "last used"), rows, empty="They have no passkeys.")


def _show_sessions(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            s["id"],
            s["operator"],
            s["address"],
            when(s["created_at"]),
            when(s["expires_at"]),
            "this one" if s["current"] else "",
        )
        for s in found
    ]
    print_table(
        ("session", "operator", "address", "since", "until", ""), rows, empty="There are no sessions."
    )
