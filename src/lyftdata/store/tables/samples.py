"""Table of the Server's metrics, one row a minute."""

from datetime import UTC, datetime

from sqlalchemy import Connection, delete, func, select

from lyftdata.core.records import Sample
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import to_row
from lyftdata.store.schema import samples
from lyftdata.store.writer.transaction import WriteTx

_COUNTED = frozenset({"admitted", "refused"})


def add_sample(tx: WriteTx, sample: Sample, *, keep_since: datetime) -> None:
    """
    Write the sample of a minute, and delete those before `keep_since`.

    Several Servers write the same minute, and so does one whose clock was set back: what each has counted is added up.
    """
    dialect.upsert(tx.conn, samples, [to_row(sample)], add=_COUNTED)
    tx.conn.execute(delete(samples).where(samples.c.at < keep_since))


def summed_samples(conn: Connection, *, since: datetime, step_s: int) -> list[Sample]:
    """
    Return samples from `since` on, the oldest first, in steps of `step_s` seconds counted from 1970.

    Each has the most Workers connected at once, and the sums of admissions and refusals, in one step. The database
    adds them up: a week has ten thousand minutes.
    """
    step = dialect.seconds_since_1970(conn, samples.c.at) // step_s
    query = (
        select(
            step.label("step"),
            func.max(samples.c.online).label("online"),
            func.sum(samples.c.admitted).label("admitted"),
            func.sum(samples.c.refused).label("refused"),
        )
        .where(samples.c.at >= since)
        .group_by(step)
        .order_by(step)
    )
    return [
        Sample(
            at=datetime.fromtimestamp(row.step * step_s, UTC),
            online=row.online,
            admitted=int(row.admitted),
            refused=int(row.refused),
        )
        for row in conn.execute(query)
    ]
