"""One computed value is shared by all readers, and is never stale."""

import asyncio

import pytest

from lyftdata.web.shared import Shared


class World:
    """A state that tests change, and a computation that they can delay and count."""

    def __init__(self):
        self.state = 0
        self.begun = []
        self.now_s = 100.0
        self.waits = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.shared: Shared[int] = Shared(lambda: self.state, monotonic=lambda: self.now_s, sleep=self.sleep)

    async def sleep(self, seconds):
        """Advance the clock."""
        self.waits.append(seconds)
        self.now_s += seconds

    async def compute(self):
        """Return the state at which this computation began."""
        self.begun.append(self.state)
        value = self.state
        await self.may_end.wait()
        return value

    def ask(self):
        """Request the value as a page does."""
        return asyncio.create_task(self.shared.get(self.compute))


@pytest.fixture
async def world():
    """Return a state and its shared value."""
    return World()


async def turn():
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_concurrent_readers_share_one_computation(world):
    """So does a reader that comes later, if nothing has changed."""
    assert await asyncio.gather(*(world.ask() for _ in range(20))) == [0] * 20
    assert await world.ask() == 0
    assert world.begun == [0]


async def test_a_reader_after_a_change_never_gets_the_old_value(world):
    """A computation under way may have read the old state, so that readers after the change share the next one."""
    world.may_end.clear()
    early = world.ask()
    await turn()
    world.state = 1
    late = [world.ask() for _ in range(20)]
    await turn()
    world.may_end.set()

    assert await early == 0
    assert await asyncio.gather(*late) == [1] * 20
    assert world.begun == [0, 1]


async def test_frequent_changes_do_not_cause_frequent_computations(world):
    """Each value is fresh, and computations start at least a fifth of a second apart."""
    for state in range(1, 6):
        world.state = state
        assert await world.ask() == state

    assert world.waits == [pytest.approx(0.2)] * 4


async def test_a_cancelled_reader_does_not_cancel_the_computation(world):
    """A tab that is closed while its page is rendered does not break other tabs' pages."""
    world.may_end.clear()
    first, second = world.ask(), world.ask()
    await turn()
    first.cancel()
    await turn()
    world.may_end.set()

    assert await second == 0
    assert world.begun == [0]


async def test_a_failure_is_raised_and_not_cached(world):
    """Waiting callers get the exception; the next one starts a new computation."""

    async def fail():
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await world.shared.get(fail)
    assert await world.ask() == 0
