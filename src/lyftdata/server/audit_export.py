"""The whole audit log as a file: a JSON object a line, or comma-separated values for a spreadsheet."""

import csv
import functools
import io
from collections.abc import AsyncIterator, Callable, Sequence
from enum import StrEnum

from lyftdata.server import models
from lyftdata.server.services import Services
from lyftdata.server.views import audit_view
from lyftdata.store import audit

_BATCH = 1_000
_COLUMNS = ("number", "at", "actor", "action", "subject", "address", "details", "hash")
# A spreadsheet takes a cell that begins like this for a formula (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class ExportForm(StrEnum):
    """How the log is written down."""

    JSONL = "jsonl"
    CSV = "csv"


MEDIA_TYPES = {ExportForm.JSONL: "application/x-ndjson", ExportForm.CSV: "text/csv; charset=utf-8"}


async def export(services: Services, form: ExportForm) -> AsyncIterator[bytes]:
    """Yield every event, the oldest first, in batches."""
    write: Callable[[Sequence[models.AuditEvent]], bytes] = _as_csv if form is ExportForm.CSV else _as_jsonl
    if form is ExportForm.CSV:
        yield ",".join(_COLUMNS).encode() + b"\r\n"
    after = 0
    while batch := await services.store.read(
        functools.partial(audit.events_after, after=after, limit=_BATCH)
    ):
        yield write([audit_view(event) for event in batch])
        after = batch[-1].number


def _as_jsonl(events: Sequence[models.AuditEvent]) -> bytes:
    return b"".join(event.model_dump_json().encode() + b"\n" for event in events)


def _as_csv(events: Sequence[models.AuditEvent]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    for event in events:
        shown = event.model_dump(mode="json") | {
            "details": " ".join(f"{key}={value}" for key, value in event.details.items())
        }
        writer.writerow([_harmless(str(shown[column])) for column in _COLUMNS])
    return text.getvalue().encode()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
