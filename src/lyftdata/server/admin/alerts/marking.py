"""Marks alerts as snoozed, and limits how many of a kind are shown."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lyftdata.core.snoozing import ID_LENGTH, SnoozedAlertRecord, alert_digest, is_worse
from lyftdata.server.admin.schemas.status import Alert, AlertKind, Snoozed

MAX_OF_A_KIND = 5
# Copied identities share a kind with duplicate starts, which may be snoozed: their keys begin with this.
KEY_OF_A_COPY = "copy:"
# Somebody may be attacking the Server or its operators, or keeping others from learning it, or one operator waits for another, who has a day.
_NEVER_SNOOZED = frozenset(
    {
        AlertKind.AUDIT_LOG,
        AlertKind.CHANGE_REQUEST,
        AlertKind.EVENTS_PAUSED,
        AlertKind.PASSKEY_COPIED,
        AlertKind.WORKERS_LOST,
    }
)


def mark_snoozed(alert: Alert, snoozed: Mapping[str, SnoozedAlertRecord]) -> Alert:
    """Return an alert with its ID, whether it can be snoozed, and whether it is."""
    digest = alert_digest(alert.kind.value, alert.key)
    record = snoozed.get(digest)
    is_snoozed = record is not None and not is_worse(record, alert.about)
    update: dict[str, Any] = {"id": digest[:ID_LENGTH], "can_snooze": _can_snooze(alert)}
    if record is not None and is_snoozed:
        by = record.by.removeprefix("operator:")
        update["snoozed"] = Snoozed(until=record.until, at=record.at, by=by, note=record.note)
    return alert.model_copy(update=update)


def _can_snooze(alert: Alert) -> bool:
    """Return whether an alert can wait: not where somebody attacks the Server or its operators, or one operator waits for another."""
    is_copy = alert.kind is AlertKind.DUPLICATE and alert.key.startswith(KEY_OF_A_COPY)
    return alert.kind not in _NEVER_SNOOZED and not is_copy


def first_of_a_kind(
    alerts: Sequence[Alert],
    snoozed: Mapping[str, SnoozedAlertRecord],
    more: Callable[[int], Alert] | None = None,
) -> list[Alert]:
    """Return the first few alerts of a kind that are not snoozed, how many more there are, and those that are snoozed."""
    asleep = [mark_snoozed(alert, snoozed).snoozed is not None for alert in alerts]
    awake = [alert for alert, is_asleep in zip(alerts, asleep, strict=True) if not is_asleep]
    rest = len(awake) - MAX_OF_A_KIND
    line = [more(rest)] if more is not None and rest > 0 else []
    kept = [alert for alert, is_asleep in zip(alerts, asleep, strict=True) if is_asleep]
    return [*awake[:MAX_OF_A_KIND], *line, *kept]
