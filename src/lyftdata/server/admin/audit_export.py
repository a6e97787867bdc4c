"""Exports the audit log: one JSON object a line, or comma-separated values for a spreadsheet."""

import asyncio
import csv
import functools
import io
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from enum import StrEnum

from lyftdata.core.actor import Actor
from lyftdata.core.errors import ConflictError
from lyftdata.core.records import ChainedAuditEvent
from lyftdata.core.text import clean_line
from lyftdata.server.admin.operator_budget import OperatorBudget
from lyftdata.server.admin.operator_sessions import OperatorSessions
from lyftdata.server.admin.views import audit_view
from lyftdata.server.streams.stream_limits import SlotResponse, StreamLimiter
from lyftdata.store import Store, audit_log

_BATCH = 250
_MAX_EXPORTS, _MAX_EXPORTS_PER_OPERATOR = 8, 2

_COLUMNS = ("number", "at", "actor", "action", "subject", "address", "details", "hash")
# A spreadsheet takes a cell that begins like this for a formula (OWASP, CSV injection), and where it is set to another
# separator than the comma a cell may begin within ours.
_FORMULA = re.compile(r"(^|[;|\t\r\n])(\s*)(?=[=+\-@\uFF1D\uFF0B\uFF0D\uFF20])")


class ExportForm(StrEnum):
    """How the log is written down."""

    JSONL = "jsonl"
    CSV = "csv"


MEDIA_TYPES = {ExportForm.JSONL: "application/x-ndjson", ExportForm.CSV: "text/csv; charset=utf-8"}


class AuditExport:
    """Streams the audit log to operators, a few at a time."""

    def __init__(self, *, store: Store, sessions: OperatorSessions, budget: OperatorBudget) -> None:
        self._store = store
        self._sessions = sessions
        self._budget = budget
        self._slots = StreamLimiter(total=_MAX_EXPORTS, per_operator=_MAX_EXPORTS_PER_OPERATOR)

    def respond(
        self, form: ExportForm, actor: Actor, *, headers: Mapping[str, str] | None = None
    ) -> SlotResponse:
        """
        Return every event, the oldest first, in batches; it ends early when the operator's session does.

        Raises:
            ConflictError: `too_many_exports`: each keeps a batch in memory for as long as its reader takes.
        """
        slot = self._slots.take(actor.operator)
        if slot is None:
            raise ConflictError(
                "too_many_exports", "Other exports are running.", hint="Wait until they have ended."
            )
        return SlotResponse(
            self._export(form, actor),
            release=slot.release,
            media_type=MEDIA_TYPES[form],
            headers=headers or {},
        )

    async def _export(self, form: ExportForm, actor: Actor) -> AsyncGenerator[bytes, None]:
        write = _as_csv if form is ExportForm.CSV else _as_jsonl
        if form is ExportForm.CSV:
            yield ",".join(_COLUMNS).encode() + b"\r\n"
        after = 0
        while await self._sessions.is_signed_in(actor):
            # An export is charged for what it sends, and waits for that: its operator goes on working meanwhile.
            await asyncio.sleep(self._budget.free_in_s(actor.operator))
            batch = await self._store.read(
                functools.partial(audit_log.events_after, after=after, limit=_BATCH)
            )
            if not batch:
                return
            # In a thread: Workers' requests are answered in between.
            yield await asyncio.to_thread(write, batch)
            after = batch[-1].number


def _as_jsonl(events: Sequence[ChainedAuditEvent]) -> bytes:
    return b"".join(audit_view(event).model_dump_json().encode() + b"\n" for event in events)


def _as_csv(events: Sequence[ChainedAuditEvent]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    for event in map(audit_view, events):
        shown = event.model_dump(mode="json") | {
            "details": " ".join(f"{key}={value}" for key, value in event.details.items())
        }
        writer.writerow([_harmless(str(shown[column])) for column in _COLUMNS])
    return text.getvalue().encode()


def _harmless(cell: str) -> str:
    return _FORMULA.sub(r"\1\2'", clean_line(cell))
