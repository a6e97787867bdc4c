"""Which signature numbers one directory can have given, and which show a copy."""

import random

import msgspec
import pytest

from lyftdata.core._jose import JwsError
from lyftdata.core.signature_counter import (
    CLAIM,
    LATE_WITHIN_MS,
    MAX_RECENT,
    CounterState,
    SignatureNumber,
    Verdict,
    counter_claim,
    judge,
)

START_MS = 1_700_000_000_000


def signed(number, after_s=0.0, **fields):
    """Return a signature number that was taken so many seconds after the start."""
    return SignatureNumber(number, START_MS + round(after_s * 1000), **fields)


def after(*numbers):
    """Return what is known after these signatures, each of which is accepted."""
    state = None
    for number in numbers:
        verdict, state = judge(state, number)
        assert verdict is Verdict.ACCEPTED
    return state


def verdict_on(number, state):
    """Return the verdict on a signature."""
    return judge(state, number)[0]


def test_a_host_that_counts_is_accepted_whatever_was_lost_on_the_way():
    """Numbers that never arrived, and a pause of a year, change nothing."""
    state = after(signed(1), signed(2, 1), signed(700, 2), signed(701, 31_536_000))

    assert state.highest == signed(701, 31_536_000).position


@pytest.mark.parametrize("number", [4, 5, 6])
def test_a_copy_is_found_at_its_first_signature_after_the_other_has_signed(number):
    """It takes a number of before, at a later time: with the other's numbers, and with those that were lost."""
    state = after(signed(3), signed(6, 10))

    assert verdict_on(signed(number, 20), state) is Verdict.CLONED


def test_the_copy_that_signs_first_goes_on_and_the_other_is_found():
    """The counter cannot tell which of two directories is the original."""
    state = after(signed(3), signed(4, 10))

    assert verdict_on(signed(4, 11), state) is Verdict.CLONED
    assert verdict_on(signed(5, 12), state) is Verdict.ACCEPTED


def test_a_virtual_machine_that_was_copied_while_it_signed_is_found():
    """Both send the very same number and time."""
    assert verdict_on(signed(3, 5), after(signed(3, 5))) is Verdict.CLONED


def test_a_copy_whose_clock_is_behind_is_found_where_its_numbers_were_used():
    """Its time fits in before those of the other; its number does not."""
    state = after(signed(3), signed(4, 30), signed(5, 60))

    assert verdict_on(signed(4, 40), state) is Verdict.CLONED
    assert verdict_on(signed(6, 40), state) is Verdict.CLONED


@pytest.mark.parametrize("seed", range(20))
def test_processes_of_one_host_may_overtake_each_other(seed):
    """In whatever order the signatures of 90 seconds arrive, each is accepted, and no number twice."""
    chance = random.Random(seed)
    taken = [signed(number, number * 1.4) for number in range(1, MAX_RECENT)]
    arriving = sorted(taken, key=lambda number: number.number + chance.uniform(0, 20))

    state = after(signed(0), *arriving)

    assert state.highest == taken[-1].position
    assert {verdict_on(number, state) for number in taken} == {Verdict.CLONED}


def test_a_signature_that_was_held_up_for_long_is_asked_for_again():
    """It may be honest, so it is not called a copy; the next one of the same directory is accepted."""
    late_s = LATE_WITHIN_MS / 1000
    state = after(signed(1), signed(3, late_s + 1))

    assert verdict_on(signed(2, 0.5), state) is Verdict.STALE
    assert verdict_on(signed(2, 1), state) is Verdict.ACCEPTED
    assert verdict_on(signed(4, late_s + 2), state) is Verdict.ACCEPTED


def test_what_is_older_than_all_that_is_remembered_is_not_accepted():
    """A copy cannot use a number that was lost long ago, at whatever time it says."""
    state = after(signed(10), signed(20, 1_000), signed(30, 2_000), signed(31, 2_001))

    assert verdict_on(signed(15, 1_999), state) is Verdict.CLONED
    assert verdict_on(signed(15, 900), state) is Verdict.STALE


def test_memory_is_bounded():
    """A Worker that signs without end is remembered in part."""
    state = after(*(signed(number, number / 1000) for number in range(1, 1_000)))

    assert len(state.recent) == MAX_RECENT


def test_a_directory_that_cannot_be_written_goes_on_with_its_last_number():
    """As long as no other one counts."""
    state = after(signed(7))
    again = signed(7, is_repeated=True)

    for _ in range(3):
        verdict, state = judge(state, again)
        assert verdict is Verdict.ACCEPTED
    assert verdict_on(signed(8, 1), state) is Verdict.ACCEPTED
    # Killed after the number was written and before it was sent, and the disk is read-only since.
    assert verdict_on(signed(8, 1, is_repeated=True), state) is Verdict.ACCEPTED


def test_a_directory_that_cannot_be_written_is_found_when_another_counts():
    """First it is asked to sign again, since a process of the same host may just have counted; then it is a copy."""
    state = after(signed(7), signed(8, 1_000))
    again = signed(7, is_repeated=True)

    assert verdict_on(again, state) is Verdict.STALE
    assert verdict_on(again, after(signed(7), signed(8, 1_000), signed(9, 2_000))) is Verdict.CLONED


@pytest.mark.parametrize("before", [(), (signed(6, -1),)])
@pytest.mark.parametrize("between", [(), (signed(8, 1),)])
def test_a_process_that_holds_the_lock_for_long_is_not_a_copy(before, between):
    """Its number may be repeated by another process, which could not get the lock, before it is sent: it is good once."""
    state = after(*before, signed(7, is_repeated=True), signed(7, is_repeated=True), *between)

    verdict, state = judge(state, signed(7))

    assert verdict is Verdict.ACCEPTED
    assert verdict_on(signed(7), state) is Verdict.CLONED
    assert verdict_on(signed(9, 2), state) is Verdict.ACCEPTED


def test_a_number_that_was_sent_by_its_process_is_not_good_again_after_it_was_repeated():
    """A directory that cannot be written gives no copy a second use of its number."""
    state = after(signed(7), signed(7, is_repeated=True))

    assert verdict_on(signed(7), state) is Verdict.CLONED


def test_a_repeated_number_that_never_arrived_is_late_before_it_is_a_copy():
    """Another process may have counted on: a directory that cannot be written is asked to sign again, until it is old."""
    again = signed(7, 1, is_repeated=True)

    assert verdict_on(again, after(signed(6), signed(8, 2))) is Verdict.STALE
    assert verdict_on(again, after(signed(6), signed(8, 92))) is Verdict.CLONED


@pytest.mark.parametrize(
    "claim",
    [
        7,
        "7",
        [],
        {},
        {"number": 1},
        {"number": -1, "at_ms": 1},
        {"number": 2**53 + 1, "at_ms": 1},
        {"number": 1.5, "at_ms": 1},
        {"number": True, "at_ms": 1},
        {"number": 1, "at_ms": 1, "host": "x" * 65},
        {"number": 1, "at_ms": 1, "refused_as": "a b"},
        {"number": 1, "at_ms": 1, "refused_as": "ABC\n"},
        {"number": 1, "at_ms": 1, "host": "press\n"},
    ],
)
def test_what_is_not_a_counter_is_refused(claim):
    """A claim of the wrong form is never taken for one that is missing."""
    with pytest.raises(JwsError):
        counter_claim({CLAIM: claim})


def test_a_state_is_stored_and_read_whole():
    """Positions are pairs again after they were JSON."""
    state = after(signed(1), signed(2, 1))

    assert msgspec.json.decode(msgspec.json.encode(state), type=CounterState) == state
