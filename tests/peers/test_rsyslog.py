"""Delivery of events to Debian's rsyslogd, over TCP and TLS."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.certificates import issued
from tests.event_destinations import add_worker, deliver, shown
from tests.processes import free_port, until
from tests.unit.conftest import _shared_starts, opened

__all__ = ["_shared_starts", "opened"]

RSYSLOGD = shutil.which("rsyslogd") or "/usr/sbin/rsyslogd"
pytestmark = pytest.mark.skipif(not Path(RSYSLOGD).exists(), reason="needs Debian's rsyslog")

CONFIGURATION = """
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
global(
  workDirectory="{root}"
  maxMessageSize="64k"
  defaultNetstreamDriverCAFile="{authority}"
  defaultNetstreamDriverCertFile="{certificate}"
  defaultNetstreamDriverKeyFile="{key}"
)
template(name="line" type="string" string="%PRI% %HOSTNAME% %APP-NAME% %MSGID% %msg%\\n")
input(type="imtcp" address="127.0.0.1" port="{tls}")
input(type="imtcp" address="127.0.0.1" port="{tcp}" StreamDriver.Name="ptcp" StreamDriver.Mode="0")
action(type="omfile" file="{root}/received.log" template="line")
"""


class Rsyslog:
    """A running rsyslogd."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tls, self.tcp = free_port(), free_port()
        authority, certificate, key = issued(root)
        self.authority = authority.read_text()
        self._file = root / "rsyslog.conf"
        self._file.write_text(
            CONFIGURATION.format(
                root=root, authority=authority, certificate=certificate, key=key, tls=self.tls, tcp=self.tcp
            )
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self.root / "rsyslogd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [RSYSLOGD, "-n", "-f", str(self._file), "-i", str(self.root / "pid")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._listens, f"rsyslogd listens\n{(self.root / 'rsyslogd.log').read_text()}")

    def _listens(self) -> bool:
        table = Path("/proc/net/tcp").read_text()
        return all(f":{port:04X} 00000000:0000 0A" in table for port in (self.tls, self.tcp))

    def stop(self) -> None:
        """Stop it; it first writes everything that it has read."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(180)

    def lines(self) -> list[str]:
        """Return what it has written."""
        file = self.root / "received.log"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[Rsyslog]:
    """Start rsyslogd with a TLS and a plain listener."""
    (tmp_path / "rsyslog").mkdir()
    found = Rsyslog(tmp_path / "rsyslog")
    found.start()
    try:
        yield found
    finally:
        found.stop()


@pytest.mark.parametrize("scheme", ["tls", "tcp"])
async def test_rsyslog_receives_each_event(opened, rsyslog, scheme):
    """In order, once, in the format of RFC 5424; events during an outage of rsyslogd follow when it is back."""
    port = rsyslog.tls if scheme == "tls" else rsyslog.tcp
    async with opened(LYFTDATA_EVENTS_ALLOWED_NETWORKS="127.0.0.0/8,::1") as server:
        admin = await server.sign_in()
        body = {
            "name": "siem",
            "transport": "syslog",
            "url": f"{scheme}://localhost:{port}",
            "ca": rsyslog.authority if scheme == "tls" else "",
        }
        answer = await server.http.post("/api/event-destinations", json=body, headers=admin)
        assert answer.status_code == 201, answer.text
        await add_worker(server, admin, "w-1", labels={"zone": "eu-1"})
        await deliver(server)
        found = await shown(server, admin, "siem")
        assert (found["last_error"], found["delivered"]) == ("", 2)
        # Syslog has no acknowledgements: what rsyslogd has not read when it stops is lost.
        until(lambda: len(rsyslog.lines()) == 2, "rsyslogd has written the first events")

        rsyslog.stop()
        await add_worker(server, admin, "w-2", labels={"zone": "eu-2"})
        await deliver(server)
        assert (await shown(server, admin, "siem"))["failures"] == 1
        rsyslog.start()
        server.clock.forward(minutes=10)
        await deliver(server)

    until(lambda: len(rsyslog.lines()) >= 3, "rsyslogd has written the events")
    parsed = [re.fullmatch(r"(\S+) (\S+) (\S+) (\S+) *(\{.*)", line) for line in rsyslog.lines()]
    assert [found and found.groups()[:4] for found in parsed] == [
        ("86", "lyft.example", "lyftdata", action)
        for action in ("event_destination.created", "worker.created", "worker.created")
    ]
    numbers = [json.loads(found[5])["data"]["number"] for found in parsed if found]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
