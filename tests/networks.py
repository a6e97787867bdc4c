"""
Machines with their own network links: network namespaces with a router between them, and faults in that network.

    server (10.77.0.2) ---- router ---- worker 1 (10.77.1.2)
                              +-------- worker 2 (10.77.2.2) ...

Everything is inside namespaces: nothing here listens on the machine's own network or changes it.
"""

import contextlib
import itertools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

_COUNT = itertools.count()
SERVER = "10.77.0.2"
OTHER_SERVER = "10.77.0.3"
NAMES = Path("/etc/netns")
"""Where `ip netns exec` finds the files that a namespace has instead of the machine's own in /etc."""


def ip(*arguments: str) -> None:
    """Run `ip`; raise if it fails."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def need_namespaces() -> None:
    """Skip the test if no namespace can be made."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if shutil.which("ip") is None:
        pytest.skip("no `ip` on this machine (Debian: apt-get install iproute2)")


class Machine:
    """A network namespace, by name."""

    def __init__(self) -> None:
        self.name = f"lyftdata-{os.getpid()}-{next(_COUNT)}"
        made = subprocess.run(["ip", "netns", "add", self.name], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            pytest.skip(f"no network namespace can be made here: {made.stderr.strip()}")
        self.prefix = ("ip", "netns", "exec", self.name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str) -> None:
        """Run `ip` in it."""
        ip("-n", self.name, *arguments)

    def run(self, *command: str) -> str:
        """Run a command in it; return what it printed."""
        return subprocess.run([*self.prefix, *command], check=True, capture_output=True, text=True).stdout

    def remove(self) -> None:
        """Remove it and its files; processes that still run in it keep it until they end."""
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)
        shutil.rmtree(NAMES / self.name, ignore_errors=True)


class Network:
    """
    A router, the Server's machine, and a machine for each Worker; remove it with `close()`.

    Args:
        workers: The number of Workers' machines.
    """

    def __init__(self, workers: int) -> None:
        need_namespaces()
        self._machines: list[Machine] = []
        try:
            self.router = self._machine()
            self.router.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
            self.server = self._machine()
            self._join(self.server, 0)
            self.server.ip("addr", "add", f"{OTHER_SERVER}/24", "dev", "eth0")
            self.workers = [self._machine() for _ in range(workers)]
            for number, machine in enumerate(self.workers, 1):
                self._join(machine, number)
        except subprocess.CalledProcessError as error:
            self.close()
            pytest.skip(f"no network can be made of namespaces here: {error.cmd}: {error.stderr.strip()}")
        except BaseException:
            self.close()
            raise

    def _machine(self) -> Machine:
        machine = Machine()
        self._machines.append(machine)
        return machine

    def _join(self, machine: Machine, number: int) -> None:
        """Connect a machine to the router."""
        ip(
            *("-n", self.router.name, "link", "add", f"to{number}", "type", "veth"),
            *("peer", "name", "eth0", "netns", machine.name),
        )
        self.router.ip("addr", "add", f"10.77.{number}.1/24", "dev", f"to{number}")
        self.router.ip("link", "set", f"to{number}", "up")
        machine.ip("addr", "add", f"10.77.{number}.2/24", "dev", "eth0")
        self.plug_in(machine, number)

    def plug_in(self, machine: Machine, number: int) -> None:
        """Plug in a machine's cable: its link and its default route come up."""
        machine.ip("link", "set", "eth0", "up")
        machine.ip("route", "replace", "default", "via", f"10.77.{number}.1")

    def pull_out(self, number: int) -> None:
        """Pull out a Worker's cable; its machine notices that."""
        self.workers[number - 1].ip("link", "set", "eth0", "down")

    def drop(self, address: str) -> None:
        """Silently drop all packets from and to an address; neither end can see why it gets no answer."""
        self.router.ip("rule", "add", "from", address, "prio", "100", "blackhole")
        self.router.ip("rule", "add", "to", address, "prio", "101", "blackhole")

    def let_through(self, address: str) -> None:
        """Stop dropping an address's packets."""
        self.router.ip("rule", "del", "from", address, "prio", "100")
        self.router.ip("rule", "del", "to", address, "prio", "101")

    def close(self) -> None:
        """Remove the whole network."""
        for machine in self._machines:
            with contextlib.suppress(OSError):
                machine.remove()
