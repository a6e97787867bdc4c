"""A single change by a command, whether or not a Server is running on the database."""

import asyncio

import pytest
from tests.builders import event
from tests.store.conftest import AUDIT_KEY, run_directly

from lyftdata.core.errors import NotFoundError
from lyftdata.store import Store, StoreError, migrate
from lyftdata.store.direct_write import write_directly


def note(action):
    """Return an operation that appends an audit event."""
    return lambda tx: tx.audit(event(action))


async def test_the_audit_chain_continues_after_a_direct_write(database_url):
    """A running Server appends after the events of commands, and the log verifies."""
    store = Store.open(database_url, audit_key=AUDIT_KEY)
    for number in range(3):
        await store.write(note(f"server.{number}"))
        await asyncio.to_thread(write_directly, database_url, note(f"host.{number}"), audit_key=AUDIT_KEY)
    await store.write(note("server.last"))

    report = await store.verify_audit()
    await store.close()

    assert (report.ok, report.checked) == (True, 7)


async def test_concurrent_direct_writes_and_a_busy_server_keep_the_chain(database_url):
    """Twenty commands and a writing Server lose no event and break no link."""
    store = Store.open(database_url, audit_key=AUDIT_KEY)
    await asyncio.gather(
        *(store.write(note("server")) for _ in range(100)),
        *(
            asyncio.to_thread(write_directly, database_url, note("host"), audit_key=AUDIT_KEY)
            for _ in range(20)
        ),
    )

    report = await store.verify_audit()
    await store.close()

    assert (report.ok, report.checked) == (True, 120)


async def test_a_direct_write_works_without_a_server(database_url):
    """On a database that no Server has open."""
    await Store.open(database_url, audit_key=AUDIT_KEY).close()
    write_directly(database_url, note("host"), audit_key=AUDIT_KEY)

    store = Store.open(database_url, audit_key=AUDIT_KEY)
    await store.write(note("server"))
    assert (await store.verify_audit()).ok
    await store.close()


async def test_a_failed_operation_changes_nothing(database_url):
    """It leaves neither its change nor its event."""
    store = Store.open(database_url, audit_key=AUDIT_KEY)

    def op(tx):
        tx.audit(event())
        raise NotFoundError("operator", "nobody")

    with pytest.raises(NotFoundError):
        write_directly(database_url, op, audit_key=AUDIT_KEY)

    assert (await store.verify_audit()).checked == 0
    await store.close()


async def test_nothing_is_written_with_another_secret_key(database_url):
    """The audit chain would break."""
    store = Store.open(database_url, audit_key=AUDIT_KEY)
    await store.write(note("server"))

    with pytest.raises(StoreError, match="does not fit the secret key"):
        write_directly(database_url, note("host"), audit_key=b"b" * 32)

    assert (await store.verify_audit()).ok
    await store.close()


async def test_a_direct_write_works_on_a_changed_log(database_url):
    """The log stays marked as changed, but an operator can still be let in."""
    await Store.open(database_url, audit_key=AUDIT_KEY).close()
    run_directly(database_url, "DELETE FROM audit_head")
    store = Store.open(database_url, audit_key=AUDIT_KEY)
    await store.write(note("server"))

    write_directly(database_url, note("host"), audit_key=AUDIT_KEY)

    await store.write(note("server"))
    assert not (await store.verify_audit()).ok
    await store.close()


async def test_a_rollback_is_detected_by_a_running_server(database_url):
    """That others may append does not allow truncation: the Server knows how many events there were."""
    store = Store.open(database_url, audit_key=AUDIT_KEY)
    await store.write(note("first"))
    [head] = run_directly(database_url, "SELECT number, hash, mac FROM audit_head")
    await store.write(note("second"))
    run_directly(
        database_url,
        "DELETE FROM audit_events WHERE number = 2",
        "UPDATE audit_head SET number = :number, hash = :hash, mac = :mac",
        **head._mapping,
    )
    write_directly(database_url, note("host"), audit_key=AUDIT_KEY)

    await store.write(note("third"))
    assert not (await store.verify_audit()).ok
    await store.close()


async def test_a_database_of_another_version_is_not_changed(database_url, monkeypatch):
    """A command does not upgrade the schema under a Server of the previous version."""
    await Store.open(database_url, audit_key=AUDIT_KEY).close()
    monkeypatch.setattr(migrate, "newest_version", lambda: "9999")

    with pytest.raises(StoreError, match="another version"):
        write_directly(database_url, note("host"), audit_key=AUDIT_KEY)
