"""When held polls end: never too many of them in one second."""

import asyncio
import heapq
import random
from collections import Counter

from tests.unit.server.sessions.test_registry import WatchedSessions, attach, polling

from lyftdata.server.sessions.poll_deadlines import MAX_IN_A_SECOND, PollDeadlines
from lyftdata.server.sessions.session import PollEnd


def ends_of(ends, count, *, now_s, hold_s):
    """Return for how many polls that begin now how long each is held."""
    return [ends.take(now_s, hold_s)[1] for _ in range(count)]


def test_a_poll_is_held_for_as_long_as_asked_while_there_is_room():
    """Up to so many end in one second, at the moment that they were to."""
    assert set(ends_of(PollDeadlines(), MAX_IN_A_SECOND, now_s=100.5, hold_s=25.25)) == {25.25}


def test_those_that_come_at_once_end_in_the_seconds_before():
    """A fleet that is in step is taken apart: no second has more than its share, and nobody is held for longer."""
    ends = PollDeadlines()
    held = ends_of(ends, 10 * MAX_IN_A_SECOND, now_s=100.0, hold_s=25.0)

    assert Counter(held) == dict.fromkeys((25.0 - n for n in range(10)), MAX_IN_A_SECOND)


def test_more_workers_than_the_ceiling_is_for_are_held_for_all_of_the_time():
    """Where every second is full, ending sooner would only make the rate higher."""
    ends = PollDeadlines()
    held = ends_of(ends, 26 * MAX_IN_A_SECOND, now_s=100.0, hold_s=25.0)

    assert min(held) == 2.0
    assert Counter(held)[25.0] == 3 * MAX_IN_A_SECOND


def test_a_poll_that_is_over_makes_room():
    """Whatever has ended it, its second is another's."""
    ends = PollDeadlines()
    taken = [ends.take(100.0, 25.0)[0] for _ in range(MAX_IN_A_SECOND)]
    assert ends.take(100.0, 25.0)[1] == 24.0

    ends.release(taken[0])
    assert ends.take(100.0, 25.0)[1] == 25.0


async def test_a_held_poll_takes_its_second_and_gives_it_back():
    """Also one whose peer has closed."""
    sessions = WatchedSessions()
    session, _ = attach(sessions)
    poll, peer = await polling(sessions, session)
    assert sum(sessions._ends._ends.values()) == 1

    peer.closed.set()
    assert await poll is PollEnd.PEER_CLOSED
    assert not sessions._ends._ends
    sessions.release_all()
    await asyncio.sleep(0)


def test_workers_of_another_server_fill_the_gaps_between_those_that_are_here():
    """Five thousand were held for 33 s, as many come within two, all are held for 66: after that no second has too many."""
    ends = PollDeadlines()
    chance = random.Random(7)
    asked: Counter[int] = Counter()
    # When each asks next, and for how long it is held then.
    coming = [(100 + 33 * chance.random(), 66.0) for _ in range(5_000)]
    coming += [(100 + 2 * chance.random(), 66 * chance.random()) for _ in range(5_000)]
    heapq.heapify(coming)
    while coming[0][0] < 500:
        now_s, hold_s = heapq.heappop(coming)
        asked[int(now_s)] += 1
        _, after_s = ends.take(now_s, hold_s)
        heapq.heappush(coming, (now_s + after_s, 66.0))

    assert max(asked[second] for second in range(170, 500)) <= MAX_IN_A_SECOND
