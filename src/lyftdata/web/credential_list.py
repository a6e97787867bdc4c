"""Arranges the API keys of the overview that are being rotated or expire soon, with their alerts: the most urgent first."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from lyftdata.core.records import ApiKeyRecord
from lyftdata.server.admin.schemas.api_keys import ApiKey, PreviousKey
from lyftdata.server.admin.schemas.status import Alert, AlertKind
from lyftdata.web.alert_list import fold

CREDENTIAL_KINDS = frozenset({AlertKind.KEY_EXPIRES, AlertKind.KEY_ROTATION})
"""The alerts that are shown here, and not among the others."""

MAX_KEYS = 12
"""How many keys are listed at most; every key that has an alert is among them."""
_MAX_SHOWN = 2


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """An API key and its alerts: `expires` about its newest generation, `ends` about older ones, by generation."""

    key: ApiKey
    expires: Alert | None
    ends: Mapping[int, Alert]

    @property
    def alerts(self) -> Sequence[Alert]:
        """Return its alerts."""
        return [*([] if self.expires is None else [self.expires]), *self.ends.values()]

    @property
    def is_snoozed(self) -> bool:
        """Return whether all its alerts are snoozed; one without an alert is not."""
        return bool(self.alerts) and all(alert.snoozed is not None for alert in self.alerts)


class CredentialList(msgspec.Struct, frozen=True):
    """The keys in full, those that are folded, those that are snoozed, and how many more there are on the page of API keys."""

    shown: Sequence[Credential] = ()
    folded: Sequence[Credential] = ()
    snoozed: Sequence[Credential] = ()
    more: int = 0


def most_pressing(
    groups: Sequence[Sequence[ApiKeyRecord]], alerts: Sequence[Alert], *, now: datetime
) -> list[Sequence[ApiKeyRecord]]:
    """Return the keys, each with all its generations, in the order in which they are listed: those with an alert first, by when they end."""
    named = {alert.subject for alert in alerts if alert.kind in CREDENTIAL_KINDS}

    def urgency(group: Sequence[ApiKeyRecord]) -> tuple[bool, float, str]:
        ends = [record.expires_at for record in group if record.revoked_at is None and record.expires_at]
        first = min((end.timestamp() for end in ends if end > now), default=float("inf"))
        return group[0].name not in named, first, group[0].name

    return sorted(groups, key=urgency)


def arrange_credentials(keys: Sequence[ApiKey], alerts: Sequence[Alert], *, more: int = 0) -> CredentialList:
    """
    Return keys as the overview lists them.

    Args:
        keys: The first of them, in order.
        alerts: All current alerts.
        more: How many keys there are in addition.
    """
    found = [_credential(key, alerts) for key in keys]
    shown, folded = fold([one for one in found if not one.is_snoozed], _MAX_SHOWN)
    return CredentialList(shown, folded, [one for one in found if one.is_snoozed], more)


def _credential(key: ApiKey, alerts: Sequence[Alert]) -> Credential:
    own = [alert for alert in alerts if alert.subject == key.name]
    expires = next((alert for alert in own if alert.kind is AlertKind.KEY_EXPIRES), None)
    ends = {
        old.generation: alert
        for old in key.previous
        for alert in own
        if alert.kind is AlertKind.KEY_ROTATION and alert.key == _rotation_key(key, old)
    }
    return Credential(key=key, expires=expires, ends=ends)


def _rotation_key(key: ApiKey, old: PreviousKey) -> str:
    return f"{key.name}:{old.generation}"
