"""A name that stops resolving while the Server moves, and later resolves to another address."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.behaviour.chaos import report
from tests.behaviour.chaos.far_apart import FarApart
from tests.behaviour.chaos.fleet import WITHIN_S, are_untouched, measured, wait_until_all_are
from tests.networks import NAMES, OTHER_SERVER, SERVER, Machine, Network

NAME = "lyftdata.test"
# An address behind the router without a host; packets to it are dropped silently.
SILENT = "10.77.200.1"


class NameService:
    """The name resolution of one machine."""

    def __init__(self, machine: Machine) -> None:
        place = NAMES / machine.name
        place.mkdir(parents=True)
        self._hosts = place / "hosts"
        self.knows(SERVER)
        # The machine's name server does not answer, and there is no ICMP error either.
        (place / "resolv.conf").write_text(f"nameserver {SILENT}\n", encoding="utf-8")

    def knows(self, address: str | None) -> None:
        """Make the name resolve to an address, or not at all."""
        # In place, since the namespace has mounted this very file.
        self._hosts.write_text(f"{address} {NAME}\n" if address else "", encoding="utf-8")


@pytest.fixture
def network() -> Iterator[Network]:
    """Return a network with a Server's machine and two machines for Workers."""
    made = Network(workers=2)
    made.drop(SILENT)
    yield made
    made.close()


@pytest.mark.slow
def test_workers_follow_the_servers_name_to_another_address(tmp_path: Path, network: Network):
    """They retry while their name server is silent, and then find the Server at its new address."""
    names = [NameService(machine) for machine in network.workers]
    place = FarApart(tmp_path, network, server=NAME)
    members = [
        place.add_member(name, machine)
        for name, machine in zip(("key", "auto"), network.workers, strict=True)
    ]
    wait_until_all_are(place.operator, members)

    begun = time.monotonic()
    for each in names:
        each.knows(None)
    place.server.kill()
    for member in members:
        member.agent.wait_for("retrying", count=2, within_s=WITHIN_S)
    place.start_server(OTHER_SERVER)
    place.sign_in(OTHER_SERVER)
    ended = time.monotonic()
    for each in names:
        each.knows(OTHER_SERVER)
    wait_until_all_are(place.operator, members)
    report.record(
        group="The network",
        fault="the Server's name is gone and comes back with another address",
        load="2 connected Workers",
        lasted_s=round(ended - begun, 1),
        **measured(place.operator, members),
        recovered_s=round(time.monotonic() - ended, 1),
    )

    assert are_untouched(place.operator, members)
