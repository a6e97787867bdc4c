"""
Exports the audit log: as JSON lines, as comma-separated values for a spreadsheet, or with a signed checkpoint for a third party.

The first line of the signed form is the checkpoint; each further line is a leaf of the Merkle tree, byte for byte.
docs/how-to/audit.md has the script that verifies it.
"""

import asyncio
import csv
import functools
import io
import re
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from enum import StrEnum

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.audit import leaf_of
from lyftdata.core.errors import ConflictError, InvalidInputError
from lyftdata.core.merkle_tree import CompactRange
from lyftdata.core.records import ChainedAuditEvent
from lyftdata.core.text import clean_line
from lyftdata.server.admin.audit_checkpoints import AuditCheckpoints, Occasion, SignedCheckpoint
from lyftdata.server.admin.callers import Callers
from lyftdata.server.admin.operator_budget import OperatorBudget
from lyftdata.server.admin.views import audit_view
from lyftdata.server.streams.stream_limits import SlotResponse, StreamLimiter
from lyftdata.store import Store, audit_log
from lyftdata.store.audit_log import EVERY_EVENT, AuditFilter

_BATCH = 250
_MAX_EXPORTS, _MAX_EXPORTS_PER_OPERATOR = 8, 2

_COLUMNS = ("number", "at", "actor", "action", "subject", "address", "details", "hash")
# A spreadsheet treats a cell that begins like this as a formula (OWASP, CSV injection); and if it is configured for a separator
# other than the comma, a cell may begin inside one of these.
_FORMULA = re.compile(r"(^|[;|\t\r\n])(\s*)(?=[=+\-@\uFF1D\uFF0B\uFF0D\uFF20])")


class ExportForm(StrEnum):
    """The format of an export."""

    JSONL = "jsonl"
    CSV = "csv"
    SIGNED = "signed"


MEDIA_TYPES = {
    ExportForm.JSONL: "application/x-ndjson",
    ExportForm.CSV: "text/csv; charset=utf-8",
    ExportForm.SIGNED: "application/x-ndjson",
}


class AuditExport:
    """Streams the audit log to operators, a few at a time."""

    def __init__(
        self,
        *,
        store: Store,
        checkpoints: AuditCheckpoints,
        callers: Callers,
        budget: OperatorBudget,
    ) -> None:
        self._store = store
        self._checkpoints = checkpoints
        self._callers = callers
        self._budget = budget
        self._slots = StreamLimiter(total=_MAX_EXPORTS, per_operator=_MAX_EXPORTS_PER_OPERATOR)

    async def respond(
        self,
        form: ExportForm,
        actor: Actor,
        *,
        wanted: AuditFilter = EVERY_EVENT,
        headers: Mapping[str, str] | None = None,
    ) -> SlotResponse:
        """
        Stream the events that match a filter, the oldest first, in batches; it ends early if the session or API token ends.

        Raises:
            InvalidInputError: A signed export must have no filter: its checkpoint covers every event.
            ConflictError: `too_many_exports`: each keeps a batch in memory for as long as its reader takes.
                `audit_log_changed`: no checkpoint can be signed.
        """
        if form is ExportForm.SIGNED and wanted != EVERY_EVENT:
            raise InvalidInputError(
                "format", "must not be signed with a filter: a checkpoint is of the whole log"
            )
        signed = await self._checkpoints.sign(Occasion.EXPORT) if form is ExportForm.SIGNED else None
        slot = self._slots.take(actor.account)
        if slot is None:
            raise ConflictError(
                "too_many_exports", "Other exports are running.", hint="Wait until they have ended."
            )
        return SlotResponse(
            self._export(form, actor, signed, wanted),
            release=slot.release,
            media_type=MEDIA_TYPES[form],
            headers=headers or {},
        )

    async def _export(
        self, form: ExportForm, actor: Actor, signed: SignedCheckpoint | None, wanted: AuditFilter
    ) -> AsyncGenerator[bytes, None]:
        if form is ExportForm.CSV:
            yield ",".join(_COLUMNS).encode() + b"\r\n"
        after, last = 0, sys.maxsize
        if signed is not None:
            removed = await self._checkpoints.removed_tree()
            yield _head_of(signed, removed)
            after, last = removed.size, signed.size
        while after < last and await self._callers.is_signed_in(actor):
            # An export pays for what it sends from its operator's budget, waiting if necessary, so that its operator can work meanwhile.
            await asyncio.sleep(self._budget.free_in_s(actor.account))
            batch = await self._store.read(
                functools.partial(
                    audit_log.events_after, after=after, limit=min(_BATCH, last - after), wanted=wanted
                )
            )
            if not batch:
                return
            # In a thread: Workers' requests are answered in between.
            yield await asyncio.to_thread(_WRITERS[form], batch)
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


def _as_leaves(events: Sequence[ChainedAuditEvent]) -> bytes:
    return b"".join(leaf_of(event.event, number=event.number) + b"\n" for event in events)


_WRITERS = {ExportForm.JSONL: _as_jsonl, ExportForm.CSV: _as_csv, ExportForm.SIGNED: _as_leaves}


def _head_of(signed: SignedCheckpoint, removed: CompactRange) -> bytes:
    """Return the line with the checkpoint, and the subtrees that represent the pruned events."""
    shown = {"events": removed.size, "hashes": [peak.hex() for peak in removed.peaks]}
    return msgspec.json.encode({"checkpoint": signed.note, "removed": shown}) + b"\n"


def _harmless(cell: str) -> str:
    return _FORMULA.sub(r"\1\2'", clean_line(cell))
