"""When a COMMAND that has ended is restarted."""

import pytest

from lyftdata.worker.process.restart import RestartPolicy


def delays(policy, ends):
    """Return the delay after each end, given as (exit code, seconds that it ran)."""
    rule = RestartPolicy(policy, chance=lambda: 1.0)
    return [rule.delay_s(exit_code=code, ran_s=ran_s) for code, ran_s in ends]


@pytest.mark.parametrize(
    ("policy", "after_0", "after_7"), [("never", None, None), ("on-failure", None, 1.0), ("always", 1.0, 1.0)]
)
def test_the_restart_policy_decides_after_which_ends_to_restart(policy, after_0, after_7):
    """`never`: none; `on-failure`: exit codes other than 0; `always`: all."""
    assert delays(policy, [(0, 1)]) == [after_0]
    assert delays(policy, [(7, 1)]) == [after_7]
    assert delays(policy, [(128 + 9, 1)]) == [after_7]


def test_delays_grow_up_to_a_minute():
    """In the long run, a crash loop restarts once a minute."""
    assert delays("always", [(1, 0)] * 9) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize(("ran_s", "next_s"), [(59.9, 8.0), (60.0, 1.0)])
def test_a_healthy_run_resets_the_delays(ran_s, next_s):
    """A run of a minute does not count as a crash loop."""
    assert delays("always", [(1, 0)] * 3 + [(1, ran_s)])[-1] == next_s


def test_delays_are_jittered():
    """Between half of the bound and all of it."""
    shortest = RestartPolicy("always", chance=lambda: 0.0)
    assert shortest.delay_s(exit_code=1, ran_s=0) == 0.5
