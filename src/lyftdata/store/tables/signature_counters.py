"""Table of the signature counters of identity keys."""

from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import Connection, select

from lyftdata.core.records import SignatureCounterRecord
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import signature_counters, workers
from lyftdata.store.writer.transaction import WriteTx

_BATCH = 500


def upsert_counters(tx: WriteTx, records: Sequence[SignatureCounterRecord]) -> None:
    """Write counters, replacing existing ones; those of deleted Workers are left out."""
    for start in range(0, len(records), _BATCH):
        batch = records[start : start + _BATCH]
        query = select(workers.c.id).where(workers.c.id.in_([record.worker_id for record in batch]))
        alive = set(tx.conn.execute(query).scalars())
        rows = [to_row(record) for record in batch if record.worker_id in alive]
        if rows:
            dialect.upsert(tx.conn, signature_counters, rows)


def find_counters(conn: Connection, worker_ids: Collection[str]) -> dict[str, SignatureCounterRecord]:
    """Return the counters of these Workers, by ID; Workers without one are left out."""
    found: dict[str, SignatureCounterRecord] = {}
    wanted = list(worker_ids)
    for start in range(0, len(wanted), _BATCH):
        batch = wanted[start : start + _BATCH]
        query = select(signature_counters).where(signature_counters.c.worker_id.in_(batch))
        found |= {row.worker_id: from_row(SignatureCounterRecord, row) for row in conn.execute(query)}
    return found


def all_counters(conn: Connection) -> Iterator[SignatureCounterRecord]:
    """Iterate over every counter."""
    for row in conn.execute(select(signature_counters)):
        # Not with `from_row`: at each start there may be a million of them.
        yield SignatureCounterRecord(
            worker_id=row.worker_id,
            thumbprint=row.thumbprint,
            number=row.number,
            at_ms=row.at_ms,
            recent=tuple((number, at_ms) for number, at_ms in row.recent),
            host=row.host,
            address=row.address,
            admits=row.admits,
            admits_until=row.admits_until,
        )
