"""A Server on its own machine, and Workers on others."""

from pathlib import Path

from tests.behaviour.chaos.fleet import Member, enrolling, keyed
from tests.builders import ENROLLMENT_KEY
from tests.networks import SERVER, Machine, Network
from tests.processes import PASSWORD, Host, Program

PORT = 3000


class FarApart:
    """
    A Server with its operator on one machine, and Workers on others.

    Args:
        root: An empty directory.
        network: With a machine for each Worker.
        server: The name or address in the Workers' URL.
    """

    def __init__(self, root: Path, network: Network, server: str = SERVER) -> None:
        self.root, self.network = root, network
        self.url = f"http://{server}:{PORT}"
        self.members: list[Member] = []
        self._server_host = Host(
            root / "server",
            prefix=network.server.prefix,
            module="tests.behaviour.chaos.patient_server",
            LYFTDATA_STAGING_DIR=str(root / "server" / "staging"),
            LYFTDATA_PUBLIC_URL=self.url,
            # Plain http, but only between this test's namespaces.
            LYFTDATA_DISABLE_TLS="yes",
            LYFTDATA_ADMIN_INIT_PASSWORD=PASSWORD,
            LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY,
        )
        self.server = self.start_server(SERVER)
        self.operator = self.sign_in(SERVER)

    def start_server(self, address: str) -> Program:
        """Start the Server on one of its machine's addresses."""
        self.server = self._server_host.start("run", "server", LYFTDATA_BIND_ADDRESS=f"{address}:{PORT}")
        self.server.wait_for("ready", within_s=240)
        return self.server

    def sign_in(self, address: str) -> Host:
        """Sign the operator in on the Server's machine."""
        self.operator = Host(
            self.root / f"operator-{address}",
            prefix=self.network.server.prefix,
            LYFTDATA_URL=f"http://{address}:{PORT}",
            LYFTDATA_ALLOW_HTTP="yes",
        )
        self.operator.done("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        return self.operator

    def add_member(self, name: str, machine: Machine) -> Member:
        """Start a Worker on a machine; one with `key` in its name has an API key."""
        given = keyed(self.operator, name) if "key" in name else enrolling(name)
        home = self.root / name
        host = Host(
            home,
            prefix=machine.prefix,
            LYFTDATA_URL=self.url,
            LYFTDATA_ALLOW_HTTP="yes",
            LYFTDATA_JOBS_DIR=str(home / "jobs"),
            **given,
        )
        self.members.append(Member(name, host))
        return self.members[-1]
