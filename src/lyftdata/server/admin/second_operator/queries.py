"""Read model of requests that wait for a second operator."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from lyftdata.core.actor import Actor
from lyftdata.core.change_requests import ChangeRequestRecord, Operation, RequestState
from lyftdata.core.errors import NotFoundError
from lyftdata.core.policy import is_allowed
from lyftdata.core.scopes import scope_of
from lyftdata.core.text import clean_text
from lyftdata.server.admin.second_operator.standing import able_to_confirm, state_of
from lyftdata.server.clock import Clock
from lyftdata.store import Store
from lyftdata.store.tables import change_requests

_MAX_LISTED = 100


class ShownRequest(msgspec.Struct, frozen=True, kw_only=True):
    """
    A request in its current state, for one operator.

    Attributes:
        record: As stored.
        asked: The requested operation.
        state: Its current state.
        is_own: Whether the viewer requested it.
        can_decide: Whether the viewer may confirm or decline it.
        confirmers: The names of the operators who can; empty if they are outside the viewer's scope.
    """

    record: ChangeRequestRecord
    asked: Operation
    state: RequestState
    is_own: bool
    can_decide: bool
    confirmers: list[str]


class ChangeRequestQueries:
    """
    Reads requests in their current state.

    Args:
        store: Stores them.
        clock: Aware UTC time.
    """

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def list(self, *, actor: Actor) -> list[ShownRequest]:
        """Return the requests within the caller's scope: pending ones first, then the latest."""

        def ask(conn: Connection) -> list[ShownRequest]:
            # All pending ones, so that none can be buried under others, and then the latest of the rest.
            found = change_requests.all_pending(conn) + change_requests.list_decided(conn, limit=_MAX_LISTED)
            visible = [one for one in found if scope_of(one.scope).is_within(actor.scope)]
            return [self._show(conn, record, actor) for record in visible]

        shown = await self._store.read(ask)
        return sorted(shown, key=lambda one: one.state is not RequestState.PENDING)

    async def get(self, request_id: str, *, actor: Actor) -> ShownRequest:
        """Return one request within the caller's scope; raises NotFoundError."""

        def ask(conn: Connection) -> ShownRequest | None:
            record = change_requests.find_request(conn, request_id)
            is_visible = record is not None and scope_of(record.scope).is_within(actor.scope)
            return self._show(conn, record, actor) if record is not None and is_visible else None

        shown = await self._store.read(ask)
        if shown is None:
            raise NotFoundError("change_request", clean_text(request_id, 40))
        return shown

    async def pending(self) -> Sequence[ChangeRequestRecord]:
        """Return the requests that wait for a second operator, the oldest first."""
        now = self._clock()

        def ask(conn: Connection) -> list[ChangeRequestRecord]:
            found = change_requests.all_pending(conn)
            return [one for one in found if state_of(conn, one, now=now) is RequestState.PENDING]

        return await self._store.read(ask)

    def _show(self, conn: Connection, record: ChangeRequestRecord, actor: Actor) -> ShownRequest:
        now, asked, scope = self._clock(), record.asked, scope_of(record.scope)
        state, is_own = state_of(conn, record, now=now), record.operator == actor.operator
        is_pending = state is RequestState.PENDING
        able = able_to_confirm(conn, now=now, besides=record.operator, scope=scope) if is_pending else []
        return ShownRequest(
            record=record,
            asked=asked,
            state=state,
            is_own=is_own,
            can_decide=is_pending
            and not is_own
            and actor.operator in {one.name for one in able}
            and is_allowed("change_requests.confirm", actor=actor)
            and is_allowed(asked.policy_action, actor=actor),
            confirmers=[] if actor.scope.is_limited else [one.name for one in able],
        )
