"""A Worker behind a middlebox whose idle timeout is shorter than a held poll."""

import contextlib
import select
import socket
import threading

import pytest
from tests.processes import until

IDLE_S = 5.0


class Relay:
    """Passes bytes on, and closes connections that were idle for five seconds."""

    def __init__(self, port):
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.requests = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client):
        with (
            client,
            socket.create_connection(("127.0.0.1", self._to)) as server,
            contextlib.suppress(OSError),
        ):
            other = {client: server, server: client}
            while ready := select.select([client, server], [], [], IDLE_S)[0]:
                for end in ready:
                    content = end.recv(65_536)
                    if not content:
                        return
                    self.requests += content.startswith(b"POST /api/worker/session")
                    other[end].sendall(content)

    def close(self):
        """Accept no more connections."""
        # `close` alone would not wake the thread that accepts. It could then take a connection of the next socket with the same number.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture
def relay(site):
    """Return a relay to the Server."""
    made = Relay(site.port)
    yield made
    made.close()


def test_a_worker_whose_polls_are_cut_asks_for_shorter_holds(site, relay):
    """It logs that once, and stays online."""
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    host = site.worker_host(
        "behind",
        LYFTDATA_WORKER_ID="press-01",
        LYFTDATA_WORKER_API_KEY=key,
        LYFTDATA_URL=f"http://127.0.0.1:{relay.port}",
    )
    agent = host.start("run", "worker")

    warned = agent.wait_for("polls_cut")
    assert 1 <= warned["hold_s"] < IDLE_S
    before, _, _ = agent.log.partition('"event": "polls_cut"')
    online = before.count('"event": "online"')
    agent.wait_for("online", count=online + 1)
    # Several polls are held, for longer in total than the idle timeout, and it does not go offline again.
    polls = relay.requests
    until(lambda: relay.requests >= polls + 3, "three more polls")
    assert len(agent.events("online")) == online + 1
    assert len(agent.events("polls_cut")) == 1
