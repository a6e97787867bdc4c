"""Network faults between Workers and their Server, in network namespaces, while polls are held for minutes."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.behaviour.chaos import report
from tests.behaviour.chaos.far_apart import FarApart
from tests.behaviour.chaos.fleet import WITHIN_S, Member, are_untouched, measured, wait_until_all_are
from tests.networks import SERVER, Network
from tests.processes import Host, until

GROUP = "The network"


@pytest.fixture
def network() -> Iterator[Network]:
    """Return a network with a Server's machine and four machines for Workers."""
    made = Network(workers=4)
    yield made
    made.close()


def _addresses(place: FarApart) -> dict[str, str]:
    return {worker["name"]: worker["address"] for worker in place.operator.json("workers", "list")}


def _row(
    operator: Host, fault: str, members: list[Member], *, begun: float, ended: float, online: float
) -> None:
    report.record(
        group=GROUP,
        fault=fault,
        load=f"{len(members)} connected Worker{'s' if len(members) > 1 else ''}, polls held for 4 min",
        lasted_s=round(ended - begun, 1),
        **measured(operator, members),
        recovered_s=round(online - ended, 1),
    )


@pytest.mark.slow
def test_both_ends_notice_that_the_other_is_unreachable(tmp_path: Path, network: Network):
    """
    A cable is pulled for a moment, an address changes, packets are dropped silently, and the Server's machine restarts.

    Server and Worker both notice long before the poll's hold time is over; no program ends, and all Workers are online again by
    themselves.
    """
    place = FarApart(tmp_path, network)
    cut = [place.add_member("cut-key", network.workers[0]), place.add_member("cut-auto", network.workers[1])]
    moved = place.add_member("moved-key", network.workers[2])
    pulled = place.add_member("pulled-auto", network.workers[3])
    wait_until_all_are(place.operator, place.members)

    begun = time.monotonic()
    for number in (1, 2):
        network.drop(f"10.77.{number}.2")
    network.workers[2].ip("addr", "del", "10.77.3.2/24", "dev", "eth0")
    network.workers[2].ip("addr", "add", "10.77.3.9/24", "dev", "eth0")
    network.plug_in(network.workers[2], 3)
    network.pull_out(4)
    time.sleep(3)
    network.plug_in(network.workers[3], 4)
    plugged_in = time.monotonic()
    wait_until_all_are(place.operator, [pulled])
    _row(
        place.operator,
        "a cable is pulled out",
        [pulled],
        begun=begun,
        ended=plugged_in,
        online=time.monotonic(),
    )

    wait_until_all_are(place.operator, cut, "offline")
    print("the Server knew after", round(time.monotonic() - begun, 1), "s")
    for member in cut:
        member.agent.wait_for("offline", within_s=WITHIN_S)
    print("the Workers knew after", round(time.monotonic() - begun, 1), "s")
    until(lambda: _addresses(place)["moved-key"] == "10.77.3.9", "the new address", within_s=WITHIN_S)
    wait_until_all_are(place.operator, [moved])
    _row(place.operator, "an address changes", [moved], begun=begun, ended=begun, online=time.monotonic())

    # The Workers that are cut off do not notice: when they are back, the new start of the Server does not know their sessions.
    place.server.kill()
    place.start_server(SERVER)
    ended = time.monotonic()
    for number in (1, 2):
        network.let_through(f"10.77.{number}.2")
    wait_until_all_are(place.operator, place.members)
    _row(
        place.operator,
        "packets are dropped and the Server's machine restarts",
        cut,
        begun=begun,
        ended=ended,
        online=time.monotonic(),
    )

    assert are_untouched(place.operator, place.members)
