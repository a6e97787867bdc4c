"""An outage of the database: what the log and the command line show."""

import json
import socket
import uuid

import httpx2
import pytest
from tests.builders import SECRET_KEY
from tests.postgres import Cluster
from tests.processes import Site, end_started, until


@pytest.fixture
def cluster_that_stops():
    """Return a PostgreSQL that only this test uses."""
    own = Cluster()
    yield own
    own.close()


def test_an_outage_of_the_database_is_logged_once_and_so_is_its_end(cluster_that_stops, tmp_path):
    """However many requests and tasks fail: one line at level error, no warning twice, and `writes_resumed` at the end."""
    site = Site(
        tmp_path, LYFTDATA_DATABASE_URL=cluster_that_stops.new_database(), LYFTDATA_SECRET_KEY=SECRET_KEY
    )
    try:
        site.sign_in()
        before = len(site.server.log.splitlines())
        cluster_that_stops.stop()
        site.server.wait_for("writes_unavailable")
        answers = [
            httpx2.get(f"{site.url}/.well-known/jwks.json", timeout=180).status_code for _ in range(20)
        ]
        failed = site.operator.run("workers", "list")
        cluster_that_stops.start()
        over = site.server.wait_for("writes_resumed")
    finally:
        end_started()

    lines = site.server.log.splitlines()[before:]
    assert sum('"level": "error"' in line for line in lines) == 1, site.server.log
    # A task that runs every 20 seconds fails too if the outage lasts that long.
    said = [(entry["event"], entry.get("work")) for entry in map(json.loads, lines)]
    assert len(said) == len(set(said)), site.server.log
    assert answers == [503] * 20
    assert "answered 503: The Server cannot read its state." in failed.stderr
    assert over["after_s"] >= 0


def test_systemctl_status_shows_an_outage(cluster_that_stops, tmp_path):
    """While nothing can be written the status is not `Ready`; afterwards it is again."""
    # An abstract address: a path may be too long for a socket.
    name = f"lyftdata-{uuid.uuid4()}"
    systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    systemd.bind(f"\0{name}")
    systemd.setblocking(False)
    received: list[str] = []

    def status() -> str:
        while True:
            try:
                received.append(systemd.recv(4_096).decode())
            except BlockingIOError:
                break
        return next(
            (line for text in reversed(received) for line in text.split("\n") if line.startswith("STATUS=")),
            "",
        )

    site = Site(
        tmp_path,
        LYFTDATA_DATABASE_URL=cluster_that_stops.new_database(),
        LYFTDATA_SECRET_KEY=SECRET_KEY,
        NOTIFY_SOCKET=f"@{name}",
    )
    try:
        ready = f"STATUS=Ready: {site.url}"
        until(lambda: status() == ready, "it is ready")
        cluster_that_stops.stop()
        until(lambda: "takes no changes" in status(), "the outage is shown")
        cluster_that_stops.start()
        until(lambda: status() == ready, "its end is shown")
    finally:
        end_started()
        systemd.close()
