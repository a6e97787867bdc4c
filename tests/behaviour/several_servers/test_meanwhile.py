"""Changes at one Server while another waits for its turn to write."""

import asyncio

import pytest
from tests.behaviour.several_servers.test_one_state import code_of, delete, disable, until


@pytest.mark.parametrize(
    ("withdraw", "refusal"),
    [(disable, "worker_disabled"), (delete, "invalid_client")],
    ids=["disable", "delete"],
)
async def test_a_worker_withdrawn_while_its_assertion_is_spent_gets_no_token(
    two, monkeypatch, withdraw, refusal
):
    """The operator was first: a token signed afterwards would be valid offline until it expires."""
    first, second = two
    worker_id, key = await first.enrolled()
    await until(lambda: _knows(second, worker_id), "the second knows the Worker")
    write = second.services.store.write_batched

    async def write_in_turn(op, item):
        if "spent_assertions" in op.__code__.co_names:
            await withdraw(first, worker_id)
        return await write(op, item)

    monkeypatch.setattr(second.services.store, "write_batched", write_in_turn)
    answer = await second.token_by_assertion(second.assertion(key, worker_id))

    assert code_of(answer) == refusal


async def _knows(server, worker_id):
    return server.services.directory.find_worker(worker_id) is not None


async def test_every_write_brings_in_the_changes_committed_before_it(two):
    """Even a write that changes nothing kept in memory, and without the change feed."""
    first, second = two
    feed = second.services.store._change_feed
    feed._ended.set()
    await asyncio.to_thread(feed._thread.join)
    worker_id, _ = await first.enrolled()

    await second.services.store.write(lambda tx: tx.conn.exec_driver_sql("SELECT 1"))

    assert await _knows(second, worker_id)
