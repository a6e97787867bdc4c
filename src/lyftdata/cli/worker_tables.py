"""Prints Workers and their sessions."""

from datetime import datetime
from pathlib import Path
from typing import Any

from lyftdata.cli.output import (
    echo,
    echo_err,
    print_fields,
    print_table,
    when,
)
from lyftdata.core.disabling import MAX_NOTE
from lyftdata.core.names import format_labels
from lyftdata.core.text import clean_text, count

_NOTE_IN_LIST = 40
_DECISIONS = {None: "-", "continue": "continue", "as_new": "as new"}


def print_next_steps(
    answer: dict[str, Any], url: str, key_name: str | None, *, tls_ca: Path | None = None
) -> None:
    """
    Print what to do on the host of a new Worker.

    Args:
        answer: The Worker, and the API key that was issued for it.
        url: The Server.
        key_name: An existing API key that it may use.
        tls_ca: The CA that this command has used to reach the Server; the Worker needs it too.
    """
    worker, issued = answer["worker"], answer["api_key"]
    echo_err(f"Worker added: {clean_text(worker['name'])} (ID {worker['id']})")
    if key_name is not None:
        echo_err(f"It may use the API key {key_name}, which is not shown again.")
    elif issued is None:
        echo_err(
            f"Next, issue a key for it:  lyftdata api-key issue NAME --worker {worker['id']}   (or re-use one you have)"
        )
    else:
        echo_err(f"API key {issued['name']}, for this Worker alone.")
    echo_err("Then, on its host, with the key in a file (0600):")
    echo_err(f"  export LYFTDATA_URL={url} LYFTDATA_WORKER_ID={worker['id']} LYFTDATA_WORKER_API_KEY_FILE=…")
    if trust := ca_line(tls_ca):
        echo_err(trust)
    echo_err("  lyftdata run worker")


def ca_line(tls_ca: Path | None) -> str:
    """Return the shell line that sets the CA, which the Worker needs too; "" without one."""
    return "" if tls_ca is None else f"  export LYFTDATA_TLS_CA=…   (a copy of {clean_text(str(tls_ca))})"


def state_of(worker: dict[str, Any]) -> str:
    """Return the word for the state of a Worker."""
    if worker["archived_at"]:
        return "archived"
    if worker["superseded_by"]:
        return "superseded"
    if worker["enabled"] and worker["approval"]:
        return str(worker["approval"])
    return str(worker["status"]) if worker["enabled"] else "disabled"


def _state_with_end(worker: dict[str, Any]) -> str:
    """Return the state for a list, with the end and the note of disabling."""
    state, until, note = state_of(worker), worker["disabled_until"], worker["disabled_note"]
    if state != "disabled":
        return state
    state += f" until {until}" if until else ""
    return state + (f" ({clean_text(note, _NOTE_IN_LIST)})" if note else "")


def _why_disabled(worker: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the note and the end of disabling, if any."""
    until, note = worker["disabled_until"], worker["disabled_note"]
    return [
        *(
            [("Disabled until", until if when(until) == until else f"{until} ({when(until)})")]
            if until
            else []
        ),
        *([("Note", clean_text(note, MAX_NOTE))] if note else []),
    ]


def show_workers(found: list[dict[str, Any]], *, is_filtered: bool = False) -> None:
    """Print Workers, one on each line; if a filtered list is empty, say that none matches."""
    columns = ("id", "name", "strategy", "status", "labels", "last seen", "host", "address", "api key")
    rows = [
        (
            worker["id"],
            worker["name"],
            worker["strategy"],
            _state_with_end(worker),
            format_labels(worker["labels"]),
            when(worker["last_seen_at"]),
            worker["host"].get("hostname", "-"),
            worker["address"] or "-",
            worker["api_key"] or "-",
        )
        for worker in found
    ]
    print_table(
        columns,
        rows,
        empty="No Worker matches."
        if is_filtered
        else "There are no Workers. Add one with: lyftdata workers add NAME --issue-key",
    )


def show_worker(worker: dict[str, Any]) -> None:
    """Print one Worker."""
    host = ", ".join(f"{key} {value}" for key, value in worker["host"].items())
    pairs = [
        ("ID", worker["id"]),
        ("Name", worker["name"]),
        ("Strategy", worker["strategy"]),
        ("Status", state_of(worker)),
        *_why_disabled(worker),
        ("Labels", format_labels(worker["labels"]) or "-"),
        ("Last seen", when(worker["last_seen_at"])),
        ("Connected since", when(worker["connected_since"])),
        ("Address", worker["address"] or "-"),
        ("Host", host or "-"),
        ("API key last used", worker["api_key"] or "-"),
        ("Enrolled with", worker["enrolled_with"] or "-"),
        ("Enrolled from", worker["enrolled_from"] or "-"),
        ("Identity key", worker["thumbprint"] or "-"),
        ("Key rotation", _key_rotation(worker)),
        ("Tokens in 24 hours", f"{worker['token_counts']['total']:,}"),
        ("Bound tokens only", "yes (DPoP)" if worker["dpop_bound"] else "no"),
        *([("Approval", worker["approval"])] if worker["approval"] else []),
        ("Superseded by", worker["superseded_by"] or "-"),
        ("Ephemeral", "yes: removed when it leaves" if worker["ephemeral"] else "no"),
        ("Archived", when(worker["archived_at"]) if worker["archived_at"] else "-"),
        ("Created", f"{when(worker['created_at'])} by {worker['created_by']}"),
    ]
    print_fields(pairs)
    if worker["token_origins"]:
        echo("")
        show_token_origins(worker["token_origins"])
    if worker["copies"]:
        _show_copies(worker["copies"])


def show_repeated(found: list[dict[str, Any]]) -> None:
    """Print clients that register again and again."""
    rows = [
        (group["name"], group["address"] or "-", str(group["replaced"]), when(group["latest_at"]))
        for group in found
    ]
    print_table(("name", "host", "replaced", "latest"), rows, empty="No client registers again and again.")


def _key_rotation(worker: dict[str, Any]) -> str:
    match worker["key_rotation"]:
        case "asked":
            return f"asked {when(worker['key_rotation_asked_at'])}, not done yet"
        case "done":
            return f"this key since {when(worker['key_since'])}"
        case "never":
            return "never: the key that it enrolled with"
        case _:
            return "-"


def show_token_origins(found: list[dict[str, Any]]) -> None:
    """Print the origins of a Worker's token requests."""
    rows = [
        (
            origin["address"],
            origin["resource"] or origin["audience"],
            "identity key" if origin["credential_kind"] == "identity_key" else origin["credential"] or "-",
            when(origin["last_at"]),
            f"connected from {origin['session_address']}" if origin["elsewhere_at"] else "-",
        )
        for origin in found
    ]
    print_table(("tokens from", "for", "by", "last", "elsewhere"), rows, empty="")


def show_token_counts(counts: dict[str, Any]) -> None:
    """Print how many tokens a Worker got in each hour, and in all."""
    rows = [
        (f"{datetime.fromisoformat(hour['at']):%Y-%m-%d %H:%M}", f"{hour['tokens']:,}")
        for hour in counts["hours"]
    ]
    print_table(("hour (UTC)", "tokens"), rows, empty="No tokens in this time.")
    if rows:
        echo_err(f"{count(counts['total'], 'token')} in all.")


def _show_copies(found: list[dict[str, Any]]) -> None:
    """Print the directories that were refused as copies of a Worker's identity."""
    echo("")
    echo(
        "Refused as copies of this identity (REFERENCE is what `workers continue-copy` and `workers reenroll-copy` take):"
    )
    rows = [
        (
            copy["reference"],
            when(copy["last_at"]),
            f"{copy['host'] or '?'} ({copy['address']})",
            f"{copy['other_host'] or '?'} ({copy['other_address']})",
            _DECISIONS[copy["decision"]],
        )
        for copy in found
    ]
    print_table(("reference", "last refused", "refused host", "accepted host", "decision"), rows, empty="")


def show_decided_copy(copy: dict[str, Any]) -> None:
    """Print what happens after a decision about a copy."""
    host = clean_text(copy["host"] or copy["address"])
    if copy["decision"] == "as_new":
        echo_err(
            f"{host} enrolls as a new Worker when it asks again, within a minute, if it has an enrollment key."
        )
    else:
        echo_err(f"{host} continues as the Worker when it asks again, within a minute.")


def show_sessions(found: list[dict[str, Any]]) -> None:
    """Print when a Worker was connected."""
    rows = [
        (
            when(session["started_at"]),
            "now" if session["is_open"] else when(session["ended_at"]),
            session["end"].replace("_", " ") or "-",
            session["address"],
            session["host"].get("hostname", "-"),
        )
        for session in found
    ]
    print_table(("from", "to", "ended because", "address", "host"), rows, empty="No session yet.")
