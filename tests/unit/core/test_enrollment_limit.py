"""Guessing the enrollment key ends, per network and for everyone together; the right key from elsewhere passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyftdata.core.enrollment_limit import EnrollmentLimit


def guess(limit, address, *, times=1, now_s=0.0):
    """Try wrong keys; return how many of them were looked at."""
    seen = 0
    for _ in range(times):
        if limit.wait_s(address, now_s) is None:
            seen += 1
            limit.record_wrong_key(address, now_s)
    return seen


def test_one_network_has_twenty_guesses_and_one_every_three_seconds():
    """Beyond the burst nothing is looked at, however often it is sent; asking does not put the next one off."""
    limit = EnrollmentLimit()

    assert guess(limit, "192.0.2.1", times=1_000) == 20
    assert limit.wait_s("192.0.2.1", 0) == pytest.approx(3)
    assert sum(guess(limit, "192.0.2.1", times=100, now_s=second) for second in range(1, 61)) == 20


def test_the_right_key_from_another_network_is_not_delayed():
    """What one network has used up is nobody else's."""
    limit = EnrollmentLimit()
    guess(limit, "192.0.2.1", times=1_000)

    assert limit.wait_s("192.0.2.2", 0) is None
    assert limit.wait_s("2001:db8::1", 0) is None


def test_a_network_of_ipv6_is_one_guesser_and_a_customers_networks_have_a_bound():
    """A /64 has twenty guesses, and the 65,536 of a /48 have sixty together."""
    limit = EnrollmentLimit()

    assert sum(guess(limit, f"2001:db8::{i:x}") for i in range(1, 200)) == 20
    assert sum(guess(limit, f"2001:db8:0:{i:x}::1") for i in range(1, 2_000)) == 40
    assert limit.wait_s("2001:db8:1::1", 0) is None


def test_many_networks_have_three_hundred_guesses_and_then_one_each():
    """Guessers with many addresses: once all together are beyond the limit, a network that has tried before waits."""
    limit = EnrollmentLimit()
    guesses = sum(guess(limit, f"198.18.{i}.1", times=50) for i in range(200))

    # Fifteen networks with their twenty, and of the other 185 one guess each.
    assert guesses == 15 * 20 + 185
    assert sum(guess(limit, f"198.18.{i}.1", times=50) for i in range(200)) == 0


def test_the_right_key_from_a_network_that_never_failed_passes_a_flood_from_everywhere():
    """The limit for all makes only those wait that have tried a wrong key within the last hour."""
    limit = EnrollmentLimit()
    for i in range(200):
        guess(limit, f"198.18.{i}.1", times=50)

    assert limit.wait_s("203.0.113.7", 0) is None
    assert limit.wait_s("2001:db8::7", 0) is None


def test_hosts_with_a_corrected_key_are_not_kept_waiting_once_the_wrong_ones_stop():
    """A fleet that was started with a wrong key enrolls within seconds of being given the right one."""
    limit = EnrollmentLimit()
    for i in range(1_000):
        guess(limit, f"10.0.{i // 250}.{i % 250}", times=3)
    assert limit.wait_s("10.0.0.1", 0) is not None

    assert limit.wait_s("10.0.0.1", 2) is None


def test_what_other_servers_count_counts_here():
    """A guesser who goes from Server to Server has one limit."""
    here, there = EnrollmentLimit(), EnrollmentLimit()
    there.share()
    guess(there, "192.0.2.1", times=20)
    guess(there, "2001:db8::1", times=20)
    for network, failures in there.take_untold(200).items():
        here.charge(network, failures, 0)

    assert guess(here, "192.0.2.1", times=20) == 0
    assert guess(here, "2001:db8::2", times=20) == 0
    assert guess(here, "2001:db8:0:1::1", times=60) == 20


@given(st.lists(st.tuples(st.ip_addresses().map(str), st.floats(0, 1e6)), max_size=60))
def test_clocks_may_jump(attempts):
    """However time jumps, a wait is none or a positive number of seconds."""
    limit = EnrollmentLimit()
    for address, now_s in attempts:
        wait_s = limit.wait_s(address, now_s)
        assert wait_s is None or wait_s > 0
        limit.record_wrong_key(address, now_s)
