"""Checks the path of long polls to the Server: what cuts them, what buffers their answers, and version skew."""

import re
import time
from collections.abc import AsyncIterator, Callable

import lyftdata
from lyftdata.bounded_http import Answer
from lyftdata.core.text import clean_text
from lyftdata.doctor import findings
from lyftdata.doctor.findings import Finding
from lyftdata.worker.client import ServerClient, ServerUnreachableError

_STREAM_FOR_S = 3.0
_MAX_HOLD_S = 300.0
_OK, _GATEWAY_TIMEOUT = 200, 504
_VERSION = re.compile(r"(\d+)\.(\d+)")


def check_version(answer: Answer) -> Finding | None:
    """Return a finding if the Server's version differs from that of this program."""
    server = answer.json_object().get("server_version")
    return describe_skew(server=server, worker=lyftdata.__version__) if isinstance(server, str) else None


def describe_skew(*, server: str, worker: str) -> Finding | None:
    """Return a finding if a Server and a Worker have different versions; patch releases and unknown versions are ignored."""
    if not server or not worker or _release(server) == _release(worker):
        return None
    is_server_older = _release(server) < _release(worker)
    return Finding(
        findings.VERSION_SKEW,
        f"The Server runs lyftdata {clean_text(server, 32)}, the Worker {clean_text(worker, 32)}.",
        "Upgrade the Server, and Workers after it."
        if is_server_older
        else "Upgrade lyftdata on the Worker's host.",
    )


async def check_held_requests(
    client: ServerClient, token: str, *, hold_s: float, announce: Callable[[float], None]
) -> AsyncIterator[Finding]:
    """
    Yield what is wrong with requests that the Server holds; takes as long as a poll.

    Args:
        client: The Server.
        token: A worker token.
        hold_s: How many seconds the Server holds polls.
        announce: Called with the seconds that the check will take.
    """
    hold_s = min(hold_s, _MAX_HOLD_S)
    announce(hold_s)
    began_s = time.monotonic()
    try:
        answer = await client.probe_held(token, hold_s=hold_s)
    except ServerUnreachableError as error:
        yield _cut(error.message, after_s=time.monotonic() - began_s, hold_s=hold_s)
        return
    if answer.status == _GATEWAY_TIMEOUT:
        yield _cut("a proxy answered 504", after_s=time.monotonic() - began_s, hold_s=hold_s)
        return
    try:
        first_s, whole_s = await client.probe_streamed(token, hold_s=_STREAM_FOR_S)
    except ServerUnreachableError:
        # The other checks find this; a Server that is stopping is not a fault.
        return
    # The first byte is sent long before the rest; a slow machine shortens the distance, but not this much.
    if whole_s - first_s < _STREAM_FOR_S / 4:
        yield Finding(
            findings.ANSWERS_BUFFERED,
            f"Nothing of an answer that the Server sends within {_STREAM_FOR_S:g} s, bit by bit, arrived before {first_s:.1f} s.",
            "Turn off response buffering for the Server (nginx: proxy_buffering off; HAProxy: no wait-for-body).",
        )


def _cut(what: str, *, after_s: float, hold_s: float) -> Finding:
    return Finding(
        findings.POLLS_CUT,
        f"A request that the Server holds for {hold_s:g} s was cut after {after_s:.1f} s: {what}",
        f"Let proxies, load balancers and firewalls in between keep a silent connection for {hold_s + 30:.0f} s or more "
        "(nginx: proxy_read_timeout; HAProxy: timeout server; Envoy: timeout of the route).",
    )


def _release(version: str) -> tuple[int, int]:
    found = _VERSION.match(version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
