"""
How close_revoked.py of examples/celery-rabbitmq handles failures of single connections.

RabbitMQ and the Server are real; a proxy in front of each makes chosen requests fail.
"""

import functools
import itertools
import json
import ssl
import urllib.parse
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from tests.peers.brokers import Consumer, RabbitMq, TlsSite
from tests.peers.faults import FaultyProxy
from tests.peers.proxies import Peer
from tests.processes import free_port, until

FAULTS: tuple[int | bytes, ...] = (
    500,
    307,
    401,
    b"",
    b"what?\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n<>",
)


class Closing:
    """A close_revoked.py between two proxies, and consumers that keep their connections."""

    def __init__(self, tls_site: TlsSite, broker: RabbitMq) -> None:
        self.tls_site = tls_site
        self.broker = broker
        self.management = FaultyProxy(broker.management_url)
        trusted = ssl.create_default_context(cafile=tls_site.authority)
        self.server = FaultyProxy(f"https://localhost:{tls_site.site.port}", tls=trusted)
        self.health_port = free_port()
        self.consumers: list[Consumer] = []
        self.closer = self._start()

    def _start(self) -> Peer:
        return self.broker.start_closer(
            self.tls_site,
            management=self.management.url,
            server=self.server.url,
            health_port=self.health_port,
        )

    def connect(self, count: int) -> list[tuple[str, Consumer]]:
        """Return new Workers with a connection each, which the broker lists."""
        made = []
        for _ in range(count):
            worker = self.tls_site.add_worker(f"w-{uuid.uuid4().hex[:8]}")
            made.append((worker, Consumer(self.broker, worker, self.tls_site.token(worker))))
            until(functools.partial(self.broker.connections_of, worker), "the broker knows of it")
        self.consumers += [consumer for _, consumer in made]
        return made

    def is_cut_off(self, worker: str) -> bool:
        """Return whether the broker has no connection of a Worker."""
        return self.broker.connections_of(worker) == 0

    def disable(self, worker: str) -> None:
        """Revoke a Worker."""
        self.tls_site.operator.done("workers", "disable", worker, "--yes")

    def name_of(self, worker: str) -> str:
        """Return the broker's name for a Worker's connection."""
        (connection,) = self.broker.api(f"connections/username/{worker}")
        return str(connection["name"])

    def health(self) -> tuple[int, str | None]:
        """Return the health of close_revoked.py: the status, and when its last complete round ended."""
        answer = httpx2.get(f"http://127.0.0.1:{self.health_port}/healthz", timeout=180)
        return answer.status_code, answer.json()["last_whole_round"]

    def close(self) -> None:
        """Close everything."""
        for consumer in self.consumers:
            consumer.close()
        self.closer.close()
        self.management.close()
        self.server.close()


@pytest.fixture(scope="module")
def tls_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsSite]:
    """Return a Server."""
    made = TlsSite(tmp_path_factory.mktemp("server"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def broker(tls_site: TlsSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMq]:
    """Return a RabbitMQ with the consumers' queue."""
    made = RabbitMq(tmp_path_factory.mktemp("rabbitmq"), tls_site)
    made.api("queues/jobs/celery", method="PUT", body={"durable": True})
    yield made
    made.close()


@pytest.fixture
def closing(tls_site: TlsSite, broker: RabbitMq) -> Iterator[Closing]:
    """Return a running close_revoked.py."""
    made = Closing(tls_site, broker)
    yield made
    made.close()


def test_a_connection_that_cannot_be_closed_does_not_affect_others(closing: Closing):
    """However its DELETE fails, all others are closed, and it is closed as soon as that is possible."""
    (first, _), (stuck, held), (last, _) = closing.connect(3)
    name = urllib.parse.quote(closing.name_of(stuck), safe="")
    faults = itertools.cycle(FAULTS)
    closing.management.fault = lambda line, _body: (
        next(faults) if f"DELETE /api/connections/{name} " in line else None
    )
    closing.disable(stuck)
    until(lambda: closing.management.failed > len(FAULTS), "it cannot be closed")
    assert closing.broker.connections_of(stuck) == 1

    for worker in (first, last):
        closing.disable(worker)
        until(functools.partial(closing.is_cut_off, worker), f"{worker} is cut off")

    assert closing.broker.connections_of(stuck) == 1
    log = closing.closer.log_file.read_text()
    assert f"cannot close {stuck}" in log
    closing.management.fault = lambda _line, _body: None
    assert held.is_cut_off()


def test_a_query_that_fails_for_one_connection_does_not_affect_others(closing: Closing):
    """Whatever the answer about one connection, the Server is asked about the others, and they are closed."""
    (first, _), (odd, held), (last, _) = closing.connect(3)
    faults = itertools.cycle(fault for fault in FAULTS if fault not in {401, b""})
    closing.server.fault = lambda _line, body: next(faults) if odd in body.decode() else None
    until(lambda: closing.server.failed > len(FAULTS), "it cannot be asked about")
    closing.disable(odd)

    for worker in (first, last):
        closing.disable(worker)
        until(functools.partial(closing.is_cut_off, worker), f"{worker} is cut off")

    assert closing.broker.connections_of(odd) == 1
    assert f"cannot ask about {odd}" in closing.closer.log_file.read_text()
    closing.server.fault = lambda _line, _body: None
    assert held.is_cut_off()


def test_a_busy_server_is_asked_once_per_round(closing: Closing):
    """If it answers 503, there is one request per round, however many connections there are."""
    closing.connect(3)
    asked: list[int] = []

    def busy(_line: str, body: bytes) -> int:
        asked.append(len(json.loads(body)["connections"]))
        return 503

    closing.server.fault = busy
    until(lambda: asked and asked[-1] == 3, "the broker lists all of them")
    before = len(asked)
    until(lambda: len(asked) > before + 2, "it was asked again")

    assert asked[before:] == [3] * len(asked[before:])


@pytest.mark.parametrize(
    "odd",
    [
        {"connected_at": None},
        {"connected_at": 1000},
        {"connected_at": "yesterday"},
        {"vhost": None},
        {"user": 17},
        {"user": ["a"]},
        {"name": None},
        None,
    ],
)
def test_a_malformed_connection_entry_does_not_affect_others(closing: Closing, odd: dict[str, Any] | None):
    """The broker's list is processed to its end even if an entry is malformed."""
    (goes, held), (strange, _) = closing.connect(2)

    def listed(line: str, _body: bytes) -> bytes | None:
        if not line.startswith("GET /api/connections?"):
            return None
        connections = closing.broker.api("connections?columns=name,user,vhost,connected_at")
        changed = [c if c.get("user") != strange else odd and {**c, **odd} for c in connections]
        body = json.dumps(changed).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    closing.management.fault = listed
    closing.disable(goes)

    assert held.is_cut_off()


def test_the_health_answer_has_the_time_of_the_last_complete_round(closing: Closing):
    """The time advances while all is well and stops while something fails; the status is 503 if that lasts, and recovers."""
    until(lambda: closing.health()[0] == 200, "it is well")
    _, first = closing.health()
    until(lambda: closing.health()[1] != first, "it moves on")

    closing.management.fault = lambda _line, _body: 500
    until(lambda: closing.health()[0] == 503, "it is not well")
    _, stopped = closing.health()
    failed = closing.management.failed
    until(lambda: closing.management.failed > failed + 1, "more rounds fail")
    assert closing.health() == (503, stopped)

    closing.management.fault = lambda _line, _body: None
    until(lambda: closing.health()[0] == 200, "it is well again")
