"""The chain of the audit log: any change, move or removal is detected."""

import functools
from datetime import timedelta

import pytest
from tests.builders import NOON, event
from tests.store.conftest import run_directly

from lyftdata.core.records import (
    SigningKeyRecord,
)
from lyftdata.store import audit_log
from lyftdata.store.tables import (
    signing_keys,
)


@pytest.fixture
async def audited(store, database_url):
    """Return a function that runs SQL behind the store's back, on a log of five events."""
    for n in range(5):
        await store.write(
            lambda tx, n=n: tx.audit(event(details={"n": str(n)}, at=NOON + timedelta(microseconds=n)))
        )

    return functools.partial(run_directly, database_url)


async def test_an_unchanged_log_verifies(store, audited):
    """Events are read back as written, to the microsecond, and the chain is intact."""
    report = await store.verify_audit()

    assert (report.ok, report.checked, report.head_number) == (True, 5, 5)
    newest, *_ = await store.read(lambda conn: audit_log.list_events(conn, limit=2))
    assert newest.event.details == {"n": "4"}
    assert [
        e.number for e in await store.read(lambda conn: audit_log.list_events(conn, limit=2, before=3))
    ] == [
        2,
        1,
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_events SET actor = 'operator:eve' WHERE number = 3",
        'UPDATE audit_events SET details = \'{"n": "9"}\' WHERE number = 1',
        "UPDATE audit_events SET at = '2020-01-01 00:00:00.000000' WHERE number = 5",
        "DELETE FROM audit_events WHERE number = 2",
        "DELETE FROM audit_events WHERE number = 5",
        "DELETE FROM audit_events",
        "UPDATE audit_events SET number = -1 WHERE number = 1",
        "UPDATE audit_events SET number = number + 1000 WHERE number >= 4",
        "UPDATE audit_head SET number = 4",
        "UPDATE audit_head SET number = 4, hash = (SELECT hash FROM audit_events WHERE number = 4)",
        "DELETE FROM audit_head",
    ],
)
async def test_tampering_with_the_log_is_detected(store, audited, sql):
    """A row changed, removed or moved, the tail cut off, or the head rewritten."""
    audited(sql)

    report = await store.verify_audit()

    assert not report.ok
    assert report.problem


async def test_swapped_events_are_detected(store, audited):
    """The chain does not match."""
    for sql in (
        "SET number = -1 WHERE number = 2",
        "SET number = 2 WHERE number = 3",
        "SET number = 3 WHERE number = -1",
    ):
        audited(f"UPDATE audit_events {sql}")

    assert not (await store.verify_audit()).ok


async def test_removal_of_the_whole_log_is_detected(store, audited):
    """An empty log next to signing keys is not a new log: it would contain their creation."""
    key = SigningKeyRecord(
        kid="k", algorithm="ES256", encrypted_private_key=b"", created_at=NOON, signs_from=NOON
    )
    await store.write(lambda tx: signing_keys.insert_signing_key(tx, key))
    audited("DELETE FROM audit_events")
    audited("DELETE FROM audit_head")

    assert not (await store.verify_audit()).ok
