"""
How many durable changes per second the store takes, with one caller and with 64 at once.

    .venv/bin/python benchmarks/durable_writes.py [DIRECTORY]

DIRECTORY is on the disk to be measured (default: the system's temporary directory). Each row is a Worker entry: alone,
with its audit event, and as an enrollment writes it. Each caller waits until its row is durable. Prints three runs of each.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import event as sa_event

from lyftdata.core.records import AuditEvent, Strategy, WorkerRecord
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import enrollment_proofs, workers

AT = datetime(2026, 3, 1, tzinfo=UTC)
RUNS = 3


def entry(n: int) -> WorkerRecord:
    """Return a Worker entry."""
    return WorkerRecord(
        id=f"w-{n}",
        name=f"w-{n}",
        strategy=Strategy.AUTO_ENROLLMENT,
        created_at=AT,
        created_by="enrollment:x",
        public_jwk="{}",
        thumbprint=f"t{n}",
    )


def row_alone(tx: WriteTx, n: int) -> None:
    """Write the entry."""
    workers.insert_worker(tx, entry(n), unique_name=False)


def row_and_event(tx: WriteTx, n: int) -> None:
    """Write the entry and its audit event."""
    row_alone(tx, n)
    tx.audit(AuditEvent(at=AT, actor="enrollment", action="worker.enrolled", subject=f"worker:w-{n}"))


def enrollment(tx: WriteTx, n: int) -> None:
    """Do what an enrollment does: spend the proof, look up key and name, write entry and event."""
    enrollment_proofs.spend_proofs(tx, [(f"j{n}", AT)])
    workers.find_by_thumbprint(tx.conn, f"t{n}")
    workers.find_live_by_name(tx.conn, f"w-{n}")
    row_and_event(tx, n)


async def measure(
    directory: str | None, work: Callable[[WriteTx, int], None], *, callers: int, rows: int
) -> None:
    """Write `rows` rows with `callers` concurrent callers, and print the rate."""
    with tempfile.TemporaryDirectory(dir=directory) as place:
        store = Store.open(f"sqlite:///{place}/bench.db", audit_key=b"a" * 32)
        commits: list[object] = []
        sa_event.listen(store._engine, "commit", commits.append)  # noqa: SLF001 - counts commits
        numbers = iter(range(rows))

        async def caller() -> None:
            for n in numbers:
                await store.write(lambda tx, n=n: work(tx, n))  # type: ignore[misc]

        begin = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        taken = time.perf_counter() - begin
        await store.close()
    print(
        f"{work.__name__:14} {callers:3} callers {rows / taken:7.0f} rows/s   {len(commits)} commits for {rows} rows"
    )


def main() -> None:
    """Measure and print."""
    directory = sys.argv[1] if len(sys.argv) > 1 else None
    for work in (row_alone, row_and_event, enrollment):
        for callers, rows in ((1, 1_000), (64, 4_000)):
            for _ in range(RUNS):
                asyncio.run(measure(directory, work, callers=callers, rows=rows))


if __name__ == "__main__":
    main()
