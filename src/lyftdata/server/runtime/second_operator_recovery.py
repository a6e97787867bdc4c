"""
Turns off confirmation by a second operator from the Server's host: if no one is left who can confirm, or an attack must be stopped.

It changes the database itself, whether or not Servers are running; they read the rules from there each time, so it takes effect at once.
"""

from lyftdata.core.errors import ConflictError
from lyftdata.core.records import AuditEvent
from lyftdata.server.admin.second_operator.rules import SUBJECT
from lyftdata.server.clock import Clock, utc_now
from lyftdata.server.runtime.maintenance import StateLocation, secret_key_of
from lyftdata.server.runtime.operator_recovery import url_of, who_on_host
from lyftdata.server.runtime.secret_keys import audit_key_of
from lyftdata.store import WriteTx
from lyftdata.store.direct_write import write_directly
from lyftdata.store.tables import second_operator_rules


def turn_off_second_operator(place: StateLocation, *, clock: Clock = utc_now) -> None:
    """
    Turn it off, with an audit event by `host`.

    Pending requests stay pending: each can still be confirmed, declined or withdrawn.

    Raises:
        ConflictError: `second_operator_off`: it is already off.
        SettingsError, StoreError: The state cannot be used; nothing was changed.
    """
    url = url_of(place)

    def op(tx: WriteTx) -> None:
        if not second_operator_rules.clear_rules(tx):
            raise ConflictError("second_operator_off", "No second operator must confirm anything.")
        tx.audit(
            AuditEvent(
                at=clock(),
                actor="host",
                action="second_operator.turned_off",
                subject=SUBJECT,
                details=who_on_host(),
            )
        )

    write_directly(url, op, audit_key=audit_key_of(secret_key_of(place, url)))
