"""Which sequences of signature numbers one directory can produce, and which reveal a copy."""

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
    """Return a signature number taken that many seconds after the start."""
    return SignatureNumber(number, START_MS + round(after_s * 1000), **fields)


def after(*numbers):
    """Return the state after these signatures, all of which are accepted."""
    state = None
    for number in numbers:
        verdict, state = judge(state, number)
        assert verdict is Verdict.ACCEPTED
    return state


def verdict_on(number, state):
    """Return the verdict on a signature number."""
    return judge(state, number)[0]


def test_a_host_that_counts_up_is_accepted():
    """Lost numbers and a pause of a year do not matter."""
    state = after(signed(1), signed(2, 1), signed(700, 2), signed(701, 31_536_000))

    assert state.highest == signed(701, 31_536_000).position


@pytest.mark.parametrize("number", [4, 5, 6])
def test_a_copy_is_detected_when_it_reuses_a_number(number):
    """
    After the other directory has signed, its first signature has an earlier number at a later time, even if that number was lost.
    """
    state = after(signed(3), signed(6, 10))

    assert verdict_on(signed(number, 20), state) is Verdict.CLONED


def test_the_copy_that_signs_first_continues_and_the_other_is_detected():
    """The counter cannot tell which of two directories is the original."""
    state = after(signed(3), signed(4, 10))

    assert verdict_on(signed(4, 11), state) is Verdict.CLONED
    assert verdict_on(signed(5, 12), state) is Verdict.ACCEPTED


def test_a_virtual_machine_copied_while_signing_is_detected():
    """Both send the same number and time."""
    assert verdict_on(signed(3, 5), after(signed(3, 5))) is Verdict.CLONED


def test_a_copy_with_a_slow_clock_is_detected():
    """Its time fits before that of the other's signatures, but its number does not."""
    state = after(signed(3), signed(4, 30), signed(5, 60))

    assert verdict_on(signed(4, 40), state) is Verdict.CLONED
    assert verdict_on(signed(6, 40), state) is Verdict.CLONED


@pytest.mark.parametrize("seed", range(20))
def test_processes_of_one_host_may_overtake_each_other(seed):
    """In whatever order the signatures of 90 seconds arrive, each number is accepted exactly once."""
    chance = random.Random(seed)
    taken = [signed(number, number * 1.4) for number in range(1, MAX_RECENT)]
    arriving = sorted(taken, key=lambda number: number.number + chance.uniform(0, 20))

    state = after(signed(0), *arriving)

    assert state.highest == taken[-1].position
    assert {verdict_on(number, state) for number in taken} == {Verdict.CLONED}


def test_a_long_delayed_signature_is_stale():
    """It may be honest, so it is not reported as a copy; the next one of the same directory is accepted."""
    late_s = LATE_WITHIN_MS / 1000
    state = after(signed(1), signed(3, late_s + 1))

    assert verdict_on(signed(2, 0.5), state) is Verdict.STALE
    assert verdict_on(signed(2, 1), state) is Verdict.ACCEPTED
    assert verdict_on(signed(4, late_s + 2), state) is Verdict.ACCEPTED


def test_a_number_older_than_all_remembered_ones_is_not_accepted():
    """A copy cannot use a number that was lost long ago, whatever time it claims."""
    state = after(signed(10), signed(20, 1_000), signed(30, 2_000), signed(31, 2_001))

    assert verdict_on(signed(15, 1_999), state) is Verdict.CLONED
    assert verdict_on(signed(15, 900), state) is Verdict.STALE


def test_memory_is_bounded():
    """Only the latest signatures of a Worker are remembered."""
    state = after(*(signed(number, number / 1000) for number in range(1, 1_000)))

    assert len(state.recent) == MAX_RECENT


def test_a_read_only_directory_may_repeat_its_last_number():
    """As long as no other directory counts up."""
    state = after(signed(7))
    again = signed(7, is_repeated=True)

    for _ in range(3):
        verdict, state = judge(state, again)
        assert verdict is Verdict.ACCEPTED
    assert verdict_on(signed(8, 1), state) is Verdict.ACCEPTED
    # The process was killed between writing the number and sending it, and the disk has been read-only since.
    assert verdict_on(signed(8, 1, is_repeated=True), state) is Verdict.ACCEPTED


def test_a_read_only_directory_is_detected_when_another_counts_up():
    """
    It is first asked to sign again, since another process of the same host may just have counted up; after that it is a copy.
    """
    state = after(signed(7), signed(8, 1_000))
    again = signed(7, is_repeated=True)

    assert verdict_on(again, state) is Verdict.STALE
    assert verdict_on(again, after(signed(7), signed(8, 1_000), signed(9, 2_000))) is Verdict.CLONED


@pytest.mark.parametrize("before", [(), (signed(6, -1),)])
@pytest.mark.parametrize("between", [(), (signed(8, 1),)])
def test_a_process_that_holds_the_lock_for_long_is_not_a_copy(before, between):
    """Another process that could not get the lock may repeat its number before it is sent: the number is still accepted once."""
    state = after(*before, signed(7, is_repeated=True), signed(7, is_repeated=True), *between)

    verdict, state = judge(state, signed(7))

    assert verdict is Verdict.ACCEPTED
    assert verdict_on(signed(7), state) is Verdict.CLONED
    assert verdict_on(signed(9, 2), state) is Verdict.ACCEPTED


def test_a_repeated_number_is_not_accepted_again_from_its_own_process():
    """A read-only directory does not give a copy a second use of the number."""
    state = after(signed(7), signed(7, is_repeated=True))

    assert verdict_on(signed(7), state) is Verdict.CLONED


def test_a_repeated_number_that_never_arrived_is_first_stale_and_then_a_copy():
    """Another process may have counted up, so a read-only directory is asked to sign again until the number is old."""
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
def test_a_malformed_counter_claim_is_refused(claim):
    """It is never treated as a missing one."""
    with pytest.raises(JwsError):
        counter_claim({CLAIM: claim})


def test_a_state_survives_storage():
    """JSON turns positions into lists; they are read back as tuples."""
    state = after(signed(1), signed(2, 1))

    assert msgspec.json.decode(msgspec.json.encode(state), type=CounterState) == state
