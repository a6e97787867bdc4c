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
    there.collect_for_peers()
    guess(there, "192.0.2.1", times=20)
    guess(there, "2001:db8::1", times=20)
    for network, failures in there.take_unpublished(200).items():
        here.charge(network, failures, 0)

    assert guess(here, "192.0.2.1", times=20) == 0
    assert guess(here, "2001:db8::2", times=20) == 0
    assert guess(here, "2001:db8:0:1::1", times=60) == 20


@given(st.lists(st.tuples(st.ip_addresses().map(str), st.floats(0, 1e6)), max_size=60))
def test_clocks_may_jump(attempts):
    """However time jumps, a wait is None or a positive number of seconds."""
    limit = EnrollmentLimit()
    for address, now_s in attempts:
        wait_s = limit.wait_s(address, now_s)
        assert wait_s is None or wait_s > 0
        limit.record_wrong_key(address, now_s)


def test_holding_many_customers_networks_does_not_start_again_with_each():
    """An IPv6 /32 has 65,536 sites: in an hour of guessing from a new one each time it gets little more than one guess a second."""
    limit = EnrollmentLimit()
    looked_at = 0
    for attempt in range(7_200):
        site = attempt * 7 % 65_536
        looked_at += guess(limit, f"2001:db8:{site:x}::1", now_s=attempt / 2)

    # Together: 300 and one a second. Of sites that had not failed before: 256 and one every fifteen seconds.
    assert 3_600 < looked_at <= 300 + 3_600 + 256 + 240
    assert limit.wait_s("2001:db9::1", 3_600) is None
    assert limit.wait_s("192.0.2.1", 3_600) is None


def test_a_few_hosts_at_a_provider_do_not_keep_its_other_customers_waiting():
    """A right key from a site of the same IPv6 /32 or IPv4 /16 passes while some sites there guess without end."""
    limit = EnrollmentLimit()
    for second in range(60):
        for host in range(20):
            guess(limit, f"2001:db8:{host:x}::1", times=3, now_s=second)
            guess(limit, f"198.18.0.{host}", times=3, now_s=second)

    assert limit.wait_s("2001:db8:0::2", 59) is not None
    assert limit.wait_s("2001:db8:ffff::1", 59) is None
    assert limit.wait_s("198.18.77.1", 59) is None


def test_addresses_of_one_ipv4_network_are_not_all_new():
    """A botnet in an IPv4 /16 has one guess of each address only up to 256 of them; then all wait together."""
    limit = EnrollmentLimit()
    guesses = sum(guess(limit, f"198.18.{i // 250}.{i % 250}", times=2) for i in range(5_000))

    assert guesses <= 300 + 256
    assert limit.wait_s("198.18.200.1", 0) is not None
    assert limit.wait_s("198.19.200.1", 0) is None


def test_more_networks_than_are_remembered_wait_together():
    """Guessers with more networks than fit do not push one another out: all wait for the one guess a second, and memory is bounded."""
    limit = EnrollmentLimit(max_sites=1_000)
    addresses = [f"{1 + i // 256}.{i % 256}.0.1" for i in range(3_000)]
    guesses = sum(guess(limit, address) for address in addresses)

    assert guesses == 1_000
    assert len(limit._failed_at_s) == 1_000
    assert sum(guess(limit, address) for address in addresses) == 0
    assert guess(limit, addresses[0], now_s=1) + guess(limit, addresses[-1], now_s=1) == 1


def test_what_filled_the_memory_is_forgotten_after_an_hour():
    """Then the right key from anywhere passes again, although wrong ones use up the count of everyone."""
    limit = EnrollmentLimit(max_sites=1_000)
    for i in range(1_000):
        guess(limit, f"{1 + i // 256}.{i % 256}.0.1")
    assert limit.wait_s("203.0.113.7", 0) is not None

    limit.charge("198.51.100.1", 300, 3_600)

    assert limit.wait_s("198.51.100.1", 3_600) is not None
    assert limit.wait_s("203.0.113.7", 3_600) is None
