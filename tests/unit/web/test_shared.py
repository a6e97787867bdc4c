"""One computed value for all who look, and never an old one."""

import asyncio

import pytest

from lyftdata.web.shared import Shared


class World:
    """A state that tests move, and a computation that they hold up and count."""

    def __init__(self):
        self.state = 0
        self.begun = []
        self.now_s = 100.0
        self.waits = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.shared: Shared[int] = Shared(lambda: self.state, monotonic=lambda: self.now_s, sleep=self.sleep)

    async def sleep(self, seconds):
        """Let time pass."""
        self.waits.append(seconds)
        self.now_s += seconds

    async def compute(self):
        """Return the state in which this began."""
        self.begun.append(self.state)
        value = self.state
        await self.may_end.wait()
        return value

    def ask(self):
        """Ask as a page does."""
        return asyncio.create_task(self.shared.get(self.compute))


@pytest.fixture
async def world():
    """Return a state and a value shared of it."""
    return World()


async def turn():
    """Let every task go on as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_all_who_look_at_the_same_get_one_computation(world):
    """Twenty tabs at once, and another one after: one computation."""
    assert await asyncio.gather(*(world.ask() for _ in range(20))) == [0] * 20
    assert await world.ask() == 0
    assert world.begun == [0]


async def test_who_asks_after_a_change_gets_nothing_from_before(world):
    """A computation under way may have read the old state: a caller that asks since waits for the next, all for the same."""
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


async def test_however_much_happens_computations_keep_their_distance(world):
    """With a change before each look, each is fresh, and the next begins a fifth of a second after the one before."""
    for state in range(1, 6):
        world.state = state
        assert await world.ask() == state

    assert world.waits == [pytest.approx(0.2)] * 4


async def test_who_goes_away_ends_nothing_for_others(world):
    """A tab that is closed while its page is made takes no other tab's page with it."""
    world.may_end.clear()
    first, second = world.ask(), world.ask()
    await turn()
    first.cancel()
    await turn()
    world.may_end.set()

    assert await second == 0
    assert world.begun == [0]


async def test_a_failure_is_told_and_not_kept(world):
    """Waiting callers learn of it; the next one to look has it computed again."""

    async def fail():
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await world.shared.get(fail)
    assert await world.ask() == 0
