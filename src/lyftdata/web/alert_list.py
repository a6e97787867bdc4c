"""Arranges the alerts of the overview: the most urgent in full, the others in a fold whose line says how many, and of which kinds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from lyftdata.server.admin.schemas.status import Alert, AlertKind

T = TypeVar("T")

_MAX_SHOWN = 3
_KINDS: Mapping[AlertKind, str] = {
    AlertKind.DUPLICATE: "Workers that run twice",
    AlertKind.REFUSED: "refusals",
    AlertKind.AGENT_TOO_OLD: "agents that are too old",
    AlertKind.OTHER_NETWORK: "tokens from another network",
    AlertKind.APPROVAL: "approvals",
    AlertKind.CHANGE_REQUEST: "requests for a second operator",
    AlertKind.PASSKEY_COPIED: "copied passkeys",
    AlertKind.SETTING: "settings",
    AlertKind.KEY_EXPIRES: "API keys",
    AlertKind.KEY_ROTATION: "rotations of API keys",
    AlertKind.INACTIVE: "inactive Workers",
    AlertKind.REPEATED_REGISTRATIONS: "repeated registrations",
    AlertKind.SIGNING_KEY: "signing keys",
    AlertKind.WORKERS_LOST: "lost Workers",
    AlertKind.AUDIT_LOG: "the audit log",
    AlertKind.EVENTS_WAIT: "events that wait",
    AlertKind.EVENTS_PAUSED: "paused events",
}


class AlertList(msgspec.Struct, frozen=True):
    """What needs an operator, the most urgent first; `kinds` says what the folded alerts are about."""

    shown: Sequence[Alert] = ()
    folded: Sequence[Alert] = ()
    kinds: str = ""
    is_folded_urgent: bool = False

    @property
    def total(self) -> int:
        """Return how many there are, folded ones too."""
        return len(self.shown) + len(self.folded)


def arrange_alerts(alerts: Sequence[Alert]) -> AlertList:
    """
    Return alerts as the overview lists them.

    Those that cannot be snoozed come first: somebody may be attacking, or waits for a decision, and none of them may be folded
    while a lesser one is shown. Apart from that their order is kept.
    """
    # The line that says how many more there are has no ID: it goes where its kind goes.
    urgent = {alert.kind for alert in alerts if alert.id and not alert.can_snooze}

    def is_urgent(alert: Alert) -> bool:
        return not alert.can_snooze and (bool(alert.id) or alert.kind in urgent)

    ordered = sorted(alerts, key=lambda alert: not is_urgent(alert))
    shown, folded = fold([_split_warning(alert) for alert in ordered], _MAX_SHOWN)
    return AlertList(shown, folded, _kinds_of(folded), any(map(is_urgent, folded)))


def fold(items: Sequence[T], at_most: int) -> tuple[Sequence[T], Sequence[T]]:
    """Return the first items, and those that are folded: never a single one, since its line would take its place."""
    if len(items) <= at_most + 1:
        return items, []
    return items[:at_most], items[at_most:]


def _kinds_of(alerts: Sequence[Alert]) -> str:
    counts = Counter(_KINDS[alert.kind] for alert in alerts)
    return ", ".join(f"{name} ({number})" if number > 1 else name for name, number in counts.items())


def _split_warning(alert: Alert) -> Alert:
    """Return a warning about a setting with its first sentence, what is wrong, as the title; the rest says what to do."""
    if alert.kind is not AlertKind.SETTING or alert.detail:
        return alert
    title, dot, detail = alert.title.partition(". ")
    return alert.model_copy(update={"title": title, "detail": detail}) if dot else alert
