"""When held polls end: never too many of them in the same second."""

import asyncio
import heapq
import random
from collections import Counter

from tests.unit.server.sessions.test_registry import WatchedSessions, attach, polling

from lyftdata.server.sessions.poll_deadlines import MAX_IN_A_SECOND, PollDeadlines
from lyftdata.server.sessions.session import PollEnd


def hold_times(ends, count, *, now_s, hold_s):
    """Return how long each of so many polls that begin now is held."""
    return [ends.take(now_s, hold_s)[1] for _ in range(count)]


def test_a_poll_is_held_for_as_long_as_asked_while_there_is_room():
    """Up to the limit, polls end in the same second, exactly when they were due."""
    assert set(hold_times(PollDeadlines(), MAX_IN_A_SECOND, now_s=100.5, hold_s=25.25)) == {25.25}


def test_polls_that_begin_together_are_spread_over_the_seconds_before():
    """A fleet in step is spread out: no second gets more than the limit, and no poll is held longer than requested."""
    ends = PollDeadlines()
    held = hold_times(ends, 10 * MAX_IN_A_SECOND, now_s=100.0, hold_s=25.0)

    assert Counter(held) == dict.fromkeys((25.0 - n for n in range(10)), MAX_IN_A_SECOND)


def test_polls_are_held_for_the_full_time_if_every_second_is_full():
    """Ending them earlier would only increase the request rate."""
    ends = PollDeadlines()
    held = hold_times(ends, 26 * MAX_IN_A_SECOND, now_s=100.0, hold_s=25.0)

    assert min(held) == 2.0
    assert Counter(held)[25.0] == 3 * MAX_IN_A_SECOND


def test_a_poll_that_has_ended_frees_its_second():
    """However it ended, another poll can have its second."""
    ends = PollDeadlines()
    taken = [ends.take(100.0, 25.0)[0] for _ in range(MAX_IN_A_SECOND)]
    assert ends.take(100.0, 25.0)[1] == 24.0

    ends.release(taken[0])
    assert ends.take(100.0, 25.0)[1] == 25.0


async def test_a_held_poll_takes_a_second_and_releases_it():
    """Also if the peer closed the connection."""
    sessions = WatchedSessions()
    session, _ = attach(sessions)
    poll, peer = await polling(sessions, session)
    assert sum(sessions._ends._ends.values()) == 1

    peer.closed.set()
    assert await poll is PollEnd.PEER_CLOSED
    assert not sessions._ends._ends
    sessions.release_all()
    await asyncio.sleep(0)


def test_workers_from_another_server_fill_the_gaps():
    """5,000 Workers are held for 33 s, 5,000 more arrive within two seconds, and all are held for 66 s: then no second exceeds the limit."""
    ends = PollDeadlines()
    chance = random.Random(7)
    asked: Counter[int] = Counter()
    # When each polls next, and for how long it is held then.
    coming = [(100 + 33 * chance.random(), 66.0) for _ in range(5_000)]
    coming += [(100 + 2 * chance.random(), 66 * chance.random()) for _ in range(5_000)]
    heapq.heapify(coming)
    while coming[0][0] < 500:
        now_s, hold_s = heapq.heappop(coming)
        asked[int(now_s)] += 1
        _, after_s = ends.take(now_s, hold_s)
        heapq.heappush(coming, (now_s + after_s, 66.0))

    assert max(asked[second] for second in range(170, 500)) <= MAX_IN_A_SECOND
