"""A network delay of more than half a second in each direction."""

import time
from pathlib import Path

import pytest
from tests.behaviour.chaos import report
from tests.behaviour.chaos.fleet import (
    WITHIN_S,
    Member,
    are_untouched,
    enrolling,
    keyed,
    measured,
    wait_until_all_are,
)
from tests.behaviour.chaos.slow_line import SlowLine
from tests.builders import ENROLLMENT_KEY
from tests.processes import Site, until

DELAY_S = 0.6


def _renamed(member: Member) -> Member:
    member.name += "-2"
    return member


@pytest.mark.slow
def test_workers_with_a_long_network_delay_stay_connected(tmp_path: Path):
    """They enroll, log in and renew tokens in one session each: between two polls they are not taken for offline."""
    site = Site(tmp_path, LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    operator = site.sign_in()
    line = SlowLine(site.port, DELAY_S)
    begun = time.monotonic()
    try:
        far_away = {"LYFTDATA_URL": line.url, "LYFTDATA_PUBLIC_URL": site.url}
        members = [
            Member(name, site.worker_host(name, **given, **far_away))
            for name, given in (("key", keyed(operator, "key")), ("auto", enrolling("auto")))
        ]
        wait_until_all_are(operator, members)
        online = time.monotonic()
        ids = {worker["name"]: worker["id"] for worker in operator.json("workers", "list")}
        before = [member.token for member in members]
        for member in members:
            operator.done("workers", "rename", ids[member.name], f"{member.name}-2")
        until(lambda: not {member.token for member in members} & set(before), "new tokens", within_s=WITHIN_S)
        # Their next polls continue the sessions that they had.
        wait_until_all_are(operator, [_renamed(member) for member in members])
        sessions = {name: operator.json("workers", "sessions", worker_id) for name, worker_id in ids.items()}
        report.record(
            group="The network",
            fault="everything takes 0.6 s in each direction",
            load="2 connected Workers",
            lasted_s=round(time.monotonic() - begun, 1),
            **measured(operator, members),
            recovered_s=round(online - begun, 1),
        )

        assert {name: len(found) for name, found in sessions.items()} == {"key": 1, "auto": 1}
        assert are_untouched(operator, members)
        assert not any(member.agent.events("offline") for member in members)
    finally:
        line.close()
