"""The limit on failures per address."""

from hypothesis import given
from hypothesis import strategies as st

from lyftdata.core.rate_limit import FailureLimiter


def test_failures_beyond_the_burst_must_wait():
    """The first ones are answered normally; the one after the burst gets the time to wait."""
    limiter = FailureLimiter(burst=3, refill_per_s=0.5)

    assert [limiter.record_failure("192.0.2.1", 0) for _ in range(4)] == [None, None, None, 2.0]


def test_one_more_failure_is_allowed_after_the_wait():
    """It is answered normally, and the next one must wait again."""
    limiter = FailureLimiter(burst=1, refill_per_s=0.5)
    limiter.record_failure("192.0.2.1", 0)

    assert limiter.record_failure("192.0.2.1", 1.9) is not None
    assert limiter.record_failure("192.0.2.1", 2.1) is None
    assert limiter.record_failure("192.0.2.1", 2.1) is not None


def test_ipv4_addresses_and_ipv6_networks_have_separate_limits():
    """Each IPv4 address has its own, a /64 has one, and a mapped address counts as its IPv4 address."""
    limiter = FailureLimiter(burst=1, refill_per_s=0.1)
    limiter.record_failure("192.0.2.1", 0)
    limiter.record_failure("2001:db8::1", 0)

    assert limiter.record_failure("192.0.2.2", 0) is None
    assert limiter.record_failure("2001:db8::ffff", 0) is not None
    assert limiter.record_failure("2001:db8:0:1::1", 0) is None
    assert limiter.record_failure("::ffff:192.0.2.1", 0) is not None


@given(st.lists(st.tuples(st.ip_addresses().map(str), st.floats(0, 1e6)), max_size=60))
def test_memory_is_bounded_and_clocks_may_jump(attempts):
    """However many addresses fail, and however time jumps, waits are valid."""
    limiter = FailureLimiter(burst=2, refill_per_s=1, max_addresses=8)
    for address, now_s in attempts:
        wait = limiter.record_failure(address, now_s)
        assert wait is None or 0 < wait <= 1
        assert len(limiter._buckets) <= 8


def test_a_reserved_failure_can_be_forgiven():
    """An attempt that succeeds leaves the limit as it was, and never above the burst."""
    limiter = FailureLimiter(burst=1, refill_per_s=0.001)
    assert limiter.reserve("192.0.2.1", 0.0) is None
    assert limiter.reserve("192.0.2.1", 0.0) is not None
    limiter.forgive("192.0.2.1", 0.0)
    limiter.forgive("192.0.2.1", 0.0)
    assert limiter.record_failure("192.0.2.1", 0.0) is None
    assert limiter.record_failure("192.0.2.1", 0.0) is not None


def test_peers_learn_of_a_failure_once_it_is_confirmed():
    """An attempt that may still succeed only counts locally, since a published failure cannot be taken back."""
    limiter = FailureLimiter(burst=5)
    limiter.collect_for_peers()
    for _ in range(3):
        limiter.reserve("192.0.2.1", 0.0)
    assert limiter.take_unpublished(10) == {}

    limiter.forgive("192.0.2.1", 0.0)
    limiter.confirm("192.0.2.1")
    limiter.record_failure("192.0.2.1", 0.0)

    assert limiter.take_unpublished(10) == {"192.0.2.1": 2}


def test_peers_learn_of_every_failure_in_a_flood():
    """What is not published at once follows, and each failure is published once."""
    limiter = FailureLimiter(burst=5)
    limiter.collect_for_peers()
    for number in range(5):
        limiter.record_failure(f"192.0.2.{number}", 0.0)
    limiter.record_failure("192.0.2.3", 0.0)

    first, second, third = (limiter.take_unpublished(3) for _ in range(3))

    assert first["192.0.2.3"] == 2
    assert first | second == {f"192.0.2.{number}": 2 if number == 3 else 1 for number in range(5)}
    assert (len(first), len(second), third) == (3, 2, {})


def test_what_peers_have_not_learned_is_bounded():
    """A flood that cannot be published does not fill the memory."""
    limiter = FailureLimiter(burst=5, max_addresses=3)
    limiter.collect_for_peers()
    for number in range(9):
        limiter.record_failure(f"192.0.2.{number}", 0.0)

    assert len(limiter.take_unpublished(100)) == 3
