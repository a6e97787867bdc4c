"""Hundreds of connections with an incomplete request or nothing at all, while Workers use the Server."""

import contextlib
import functools
import socket
import time
from pathlib import Path

import pytest
from tests.behaviour.chaos import report
from tests.behaviour.chaos.enrolling import Enroller
from tests.behaviour.chaos.field import memory_of
from tests.behaviour.chaos.fleet import Member, are_untouched, enrolling, keyed, wait_until_all_are
from tests.behaviour.chaos.scale import HALF_OPEN_OF_EACH
from tests.builders import ENROLLMENT_KEY
from tests.processes import Site, until

COUNT = 20
MAX_MORE_MEMORY = 100 * 1024 * 1024
# The Server closes them after 15 seconds; an event loop or a library would keep them for a minute or more.
CLOSED_WITHIN_S = 55.0


def _half(path: str, body: bytes = b"grant_type=") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    return head.encode() + b"Content-Length: 200\r\n\r\n" + body


UNFINISHED = {
    "nothing": b"",
    "half a head": b"POST /oauth2/token HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthori",
    "half a body that is waited for": _half("/oauth2/token"),
    "half a body, answered before": _half("/oauth2/register"),
    "half a body of a page": _half("/login", b"name="),
}


def _is_closed(peer: socket.socket) -> bool:
    try:
        while True:
            if not peer.recv(4096):
                return True
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.slow
def test_hundreds_of_incomplete_requests_do_not_affect_workers(tmp_path: Path):
    """They are closed after a bounded time and their resources are freed; meanwhile Workers enroll, and connected ones stay so."""
    site = Site(tmp_path, LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    operator = site.sign_in()
    members = [
        Member(name, site.worker_host(name, **given))
        for name, given in (("key-1", keyed(operator, "key-1")), ("auto-1", enrolling("auto-1")))
    ]
    wait_until_all_are(operator, members)
    pid = site.server.process.pid
    memory, descriptors = memory_of(pid), _descriptors(pid)

    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        peers = [
            stack.enter_context(socket.create_connection(("127.0.0.1", site.port)))
            for _ in range(HALF_OPEN_OF_EACH * len(UNFINISHED))
        ]
        for peer, unfinished in zip(peers, list(UNFINISHED.values()) * HALF_OPEN_OF_EACH, strict=True):
            peer.sendall(unfinished)
            peer.setblocking(False)
        acknowledged: set[tuple[str, str]] = set()
        place = tmp_path / "enrolling"
        place.mkdir()
        load = Enroller(site.url, place, acknowledged, COUNT)
        assert load.end(kill=False) == 0
        wait_until_all_are(operator, members)
        held = sum(not _is_closed(peer) for peer in peers)
        more_memory = memory_of(pid) - memory
        left = set(peers)
        while left:
            peer = left.pop()
            until(
                functools.partial(_is_closed, peer),
                f"{len(left) + 1} are let go",
                within_s=max(1.0, CLOSED_WITHIN_S - (time.monotonic() - begun)),
                every_s=0.1,
            )
        ended = time.monotonic()
        until(lambda: _descriptors(pid) <= descriptors + 10, "their descriptors are free", within_s=240)
    wait_until_all_are(operator, members)
    recovered = time.monotonic()

    entries = operator.json("workers", "list")
    there = {(entry["name"], entry["id"]) for entry in entries if entry["name"].startswith("w-")}
    report.record(
        group="The network",
        fault="hundreds of peers say half of a request or nothing",
        load=f"{len(peers)} such connections; {COUNT} enrollments; 2 connected Workers",
        lasted_s=round(ended - begun, 1),
        acknowledged=len(acknowledged),
        lost=len(acknowledged - there),
        programs_ended=sum(member.run_count != 1 for member in members),
        recovered_s=round(recovered - ended, 1),
    )
    print(held, "were held while Workers enrolled, for", more_memory, "bytes")
    assert len(acknowledged) == COUNT
    assert there == acknowledged
    assert more_memory < MAX_MORE_MEMORY
    assert are_untouched(operator, members)
