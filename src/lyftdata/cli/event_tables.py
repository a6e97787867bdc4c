"""What `lyftdata events` prints about destinations."""

from typing import Any

from lyftdata.cli.output import echo_err, print_fields, print_table, when
from lyftdata.core.text import clean_text


def show_destinations(found: list[dict[str, Any]]) -> None:
    """Print destinations as a table."""
    rows = [
        (
            one["name"],
            one["transport"],
            one["endpoint"] or one["file"],
            _state(one),
            str(one["waiting"]),
            when(one["last_success_at"]),
        )
        for one in found
    ]
    columns = ("name", "transport", "to", "state", "waiting", "last success")
    print_table(columns, rows, empty="There is no event destination yet.")


def show_destination(found: dict[str, Any]) -> None:
    """Print a destination, its progress, and which events wait for it."""
    until = found["previous_secret_until"]
    print_fields(
        [
            ("Name", found["name"]),
            ("Transport", found["transport"]),
            ("To", found["url"] or found["file"]),
            ("Events", " ".join(found["events"]) or "all"),
            ("Labels", " ".join(found["labels"]) or "any"),
            ("Certificates", "its own" if found["ca"] else "the system's"),
            ("State", _state(found) + _stopped_since(found)),
            *_rejected_fields(found["rejected"]),
            (
                "Delivered",
                f"{found['delivered']}, up to event {found['through']}"
                if found["delivered"]
                else f"nothing yet, starting after event {found['through']}",
            ),
            ("Waiting", describe_waiting(found) + _span(found["queue"])),
            *_queue_fields(found["queue"]),
            ("Lost", str(found["lost"])),
            ("Skipped", str(found["skipped"])),
            ("Last success", when(found["last_success_at"])),
            (
                "Last error",
                f"{found['last_error']} {when(found['last_error_at'])}" if found["last_error"] else "-",
            ),
            ("Next attempt", when(found["next_attempt_at"])),
            ("Previous secret", f"signs too until {when(until)}" if until else "-"),
            ("Created", f"{when(found['created_at'])} by {found['created_by']}"),
        ]
    )


def show_rejected(rejected: dict[str, Any] | None, number: int) -> None:
    """Show what is about to be skipped; if it is another event that is rejected, the Server will refuse."""
    if rejected is not None and rejected["number"] == number:
        echo_err(clean_text(f"{number} {rejected['type']} {rejected['subject']} by {rejected['actor']}", 400))
        for label, value in _rejected_fields(rejected):
            echo_err(clean_text(f"{label}: {value}", 400))


def describe_waiting(found: dict[str, Any]) -> str:
    """Return how many events wait, as part of a sentence."""
    count = found["waiting"]
    return "1 event waits" if count == 1 else f"{count or 'no'} events wait"


def _span(queue: dict[str, Any] | None) -> str:
    """Return the numbers of the waiting events in the audit log, and since when they wait; "" if there are none."""
    if queue is None:
        return ""
    first, last = queue["first"], queue["last"]
    numbers = f"event {first}" if first == last else f"from event {first} to event {last}"
    more = " and later ones" if queue["has_more"] else ""
    return f", {numbers}{more}, since {when(queue['since'])}"


def _queue_fields(queue: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Return the waiting events by type, and the events that are delivered next."""
    if queue is None:
        return []
    types = ", ".join(f"{each['count']} {each['type']}" for each in queue["types"])
    following = [
        ("Next" if number == 0 else "", f"{one['number']} {one['type']} {one['subject']} by {one['actor']}")
        for number, one in enumerate(queue["next"])
    ]
    return [("Waiting by type", types), *following]


def _state(found: dict[str, Any]) -> str:
    if found["is_paused"]:
        return "paused"
    return "failing" if found["failures"] else "delivering"


def _stopped_since(found: dict[str, Any]) -> str:
    since = found["paused_at"] or found["failing_since"]
    return f" since {when(since)}" if since else ""


def _rejected_fields(rejected: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Return which event the receiver rejects, how often and since when, and what it answers."""
    if rejected is None:
        return []
    times = "once" if rejected["times"] == 1 else f"{rejected['times']} times"
    return [
        ("Rejected", f"event {rejected['number']}, {times}, since {when(rejected['since'])}"),
        ("Answer", rejected["answer"]),
    ]
