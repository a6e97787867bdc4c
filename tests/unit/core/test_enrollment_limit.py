"""Guesses of the enrollment key are limited per network and in total; the right key from another network is accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyftdata.core.enrollment_limit import EnrollmentLimit


def guess(limit, address, *, times=1, now_s=0.0):
    """Try wrong keys; return how many of them were checked."""
    seen = 0
    for _ in range(times):
        if limit.wait_s(address, now_s) is None:
            seen += 1
            limit.record_wrong_key(address, now_s)
    return seen


def test_a_network_has_twenty_guesses_and_then_one_every_three_seconds():
    """Further guesses are not checked, however many are sent, and do not extend the wait."""
    limit = EnrollmentLimit()

    assert guess(limit, "192.0.2.1", times=1_000) == 20
    assert limit.wait_s("192.0.2.1", 0) == pytest.approx(3)
    assert sum(guess(limit, "192.0.2.1", times=100, now_s=second) for second in range(1, 61)) == 20


def test_the_right_key_from_another_network_is_not_delayed():
    """A network only uses up its own limit."""
    limit = EnrollmentLimit()
    guess(limit, "192.0.2.1", times=1_000)

    assert limit.wait_s("192.0.2.2", 0) is None
    assert limit.wait_s("2001:db8::1", 0) is None


def test_an_ipv6_64_is_one_network_and_a_48_has_a_limit_of_its_own():
    """A /64 has twenty guesses, and the 65,536 in a /48 have sixty together."""
    limit = EnrollmentLimit()

    assert sum(guess(limit, f"2001:db8::{i:x}") for i in range(1, 200)) == 20
    assert sum(guess(limit, f"2001:db8:0:{i:x}::1") for i in range(1, 2_000)) == 40
    assert limit.wait_s("2001:db8:1::1", 0) is None


def test_many_networks_have_three_hundred_guesses_and_then_one_each():
    """An attacker with many addresses: once the total limit is reached, every network that has failed before must wait."""
    limit = EnrollmentLimit()
    guesses = sum(guess(limit, f"198.18.{i}.1", times=50) for i in range(200))

    # Fifteen networks with their twenty, and the other 185 with one guess each.
    assert guesses == 15 * 20 + 185
    assert sum(guess(limit, f"198.18.{i}.1", times=50) for i in range(200)) == 0


def test_a_network_that_never_failed_is_not_delayed_by_a_flood():
    """The total limit only applies to networks that have sent a wrong key within the last hour."""
    limit = EnrollmentLimit()
    for i in range(200):
        guess(limit, f"198.18.{i}.1", times=50)

    assert limit.wait_s("203.0.113.7", 0) is None
    assert limit.wait_s("2001:db8::7", 0) is None


def test_hosts_with_a_corrected_key_wait_only_seconds():
    """A fleet that was started with a wrong key enrolls seconds after it gets the right one."""
    limit = EnrollmentLimit()
    for i in range(1_000):
        guess(limit, f"10.0.{i // 250}.{i % 250}", times=3)
    assert limit.wait_s("10.0.0.1", 0) is not None

    assert limit.wait_s("10.0.0.1", 2) is None


def test_failures_at_peers_count_too():
    """An attacker who goes from Server to Server has one limit."""
    here, there = EnrollmentLimit(), EnrollmentLimit()
    there.collect_for_peers()
    guess(there, "192.0.2.1", times=20)
    guess(there, "2001:db8::1", times=20)
    for network, failures in there.take_unpublished(200).items():
        here.charge(network, failures, 0)

    assert guess(here, "192.0.2.1", times=20) == 0
    assert guess(here, "2001:db8::2", times=20) == 0
    assert guess(here, "2001:db8:0:1::1", times=60) == 20


@given(st.lists(st.tuples(st.ip_addresses().map(str), st.floats(0, 1e6)), max_size=60))
def test_a_jumping_clock_never_causes_an_invalid_wait(attempts):
    """A wait is None or a positive number of seconds."""
    limit = EnrollmentLimit()
    for address, now_s in attempts:
        wait_s = limit.wait_s(address, now_s)
        assert wait_s is None or wait_s > 0
        limit.record_wrong_key(address, now_s)


def test_an_attacker_with_many_ipv6_sites_gets_about_one_guess_a_second():
    """An IPv6 /32 has 65,536 sites; guessing from a new one each time for an hour hardly exceeds the total limit."""
    limit = EnrollmentLimit()
    looked_at = 0
    for attempt in range(7_200):
        site = attempt * 7 % 65_536
        looked_at += guess(limit, f"2001:db8:{site:x}::1", now_s=attempt / 2)

    # In total 300 and one a second; from sites that had not failed before, 256 and one every fifteen seconds.
    assert 3_600 < looked_at <= 300 + 3_600 + 256 + 240
    assert limit.wait_s("2001:db9::1", 3_600) is None
    assert limit.wait_s("192.0.2.1", 3_600) is None


def test_a_few_guessing_hosts_do_not_delay_a_providers_other_customers():
    """The right key from another site of the same IPv6 /32 or IPv4 /16 is accepted at once while they guess."""
    limit = EnrollmentLimit()
    for second in range(60):
        for host in range(20):
            guess(limit, f"2001:db8:{host:x}::1", times=3, now_s=second)
            guess(limit, f"198.18.0.{host}", times=3, now_s=second)

    assert limit.wait_s("2001:db8:0::2", 59) is not None
    assert limit.wait_s("2001:db8:ffff::1", 59) is None
    assert limit.wait_s("198.18.77.1", 59) is None


def test_new_addresses_of_one_ipv4_16_are_limited_together():
    """A botnet in an IPv4 /16 gets one guess for each of at most 256 new addresses; then all of them wait together."""
    limit = EnrollmentLimit()
    guesses = sum(guess(limit, f"198.18.{i // 250}.{i % 250}", times=2) for i in range(5_000))

    assert guesses <= 300 + 256
    assert limit.wait_s("198.18.200.1", 0) is not None
    assert limit.wait_s("198.19.200.1", 0) is None


def test_memory_is_bounded_and_more_networks_share_one_limit():
    """Networks beyond those remembered do not evict others: all of them share one guess a second."""
    limit = EnrollmentLimit(max_sites=1_000)
    addresses = [f"{1 + i // 256}.{i % 256}.0.1" for i in range(3_000)]
    guesses = sum(guess(limit, address) for address in addresses)

    assert guesses == 1_000
    assert len(limit._failed_at_s) == 1_000
    assert sum(guess(limit, address) for address in addresses) == 0
    assert guess(limit, addresses[0], now_s=1) + guess(limit, addresses[-1], now_s=1) == 1


def test_full_memory_is_forgotten_after_an_hour():
    """Then the right key from any network is accepted again, although wrong ones have used up the total limit."""
    limit = EnrollmentLimit(max_sites=1_000)
    for i in range(1_000):
        guess(limit, f"{1 + i // 256}.{i % 256}.0.1")
    assert limit.wait_s("203.0.113.7", 0) is not None

    limit.charge("198.51.100.1", 300, 3_600)

    assert limit.wait_s("198.51.100.1", 3_600) is not None
    assert limit.wait_s("203.0.113.7", 3_600) is None
