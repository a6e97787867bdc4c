"""Reports passkeys that may have been copied: a signature was valid, but its counter was not greater than the last one."""

from datetime import timedelta

import msgspec
from sqlalchemy import Connection

from lyftdata.core.records import AuditEvent
from lyftdata.server.admin.schemas.status import Alert, AlertKind
from lyftdata.server.admin.second_factor_check import COUNTER_REGRESSED
from lyftdata.server.clock import Clock
from lyftdata.store import Store, audit_log
from lyftdata.store.tables import passkeys

_WITHIN = timedelta(days=1)
_MAX_READ = 100
_MAX_SHOWN = 5


class CopiedPasskey(msgspec.Struct, frozen=True, kw_only=True):
    """A passkey that was refused for its counter and is still registered; `event` is the latest such refusal."""

    operator: str
    name: str
    event: AuditEvent


class CopiedPasskeys:
    """
    Finds passkeys that may have been copied.

    Args:
        store: Holds passkeys and the audit log.
        clock: Aware UTC time.
    """

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def alerts(self) -> list[Alert]:
        """Return an alert for each, for a day after its last refusal, unless the passkey has been removed."""
        return [
            Alert(
                kind=AlertKind.PASSKEY_COPIED,
                subject=one.operator,
                key=f"{one.operator}:{one.name}",
                title=f"The passkey {one.name} of {one.operator} may have been copied",
                detail=f"It was refused at {one.event.address}: its counter went back, so a second device has the same key. Remove it.",
            )
            for one in await self._store.read(self._find)
        ]

    def _find(self, conn: Connection) -> list[CopiedPasskey]:
        since = self._clock() - _WITHIN
        events = audit_log.list_of_actions(conn, [COUNTER_REGRESSED], since=since, limit=_MAX_READ)
        found: dict[tuple[str, str], CopiedPasskey] = {}
        for chained in events:
            event = chained.event
            operator, name = event.subject.removeprefix("operator:"), event.details["name"]
            if (operator, name) not in found and _is_registered(conn, operator, name, event):
                found[operator, name] = CopiedPasskey(operator=operator, name=name, event=event)
        return list(found.values())[:_MAX_SHOWN]


def _is_registered(conn: Connection, operator: str, name: str, event: AuditEvent) -> bool:
    # A passkey registered later under the same name is a different one.
    return any(
        one.name == name and one.created_at <= event.at for one in passkeys.passkeys_of(conn, operator)
    )
