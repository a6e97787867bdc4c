"""Answers a Worker's question whether its polls get through, without opening a session: `probe` at `POST /api/worker/session`."""

from collections.abc import AsyncIterator

import msgspec
from starlette.responses import Response

import lyftdata
from lyftdata.server.admission.token_verifier import VerifiedWorker
from lyftdata.server.http.responses import NO_STORE, json_response, temporarily_unavailable
from lyftdata.server.runtime.services import Services
from lyftdata.server.streams.stream_limits import Slot, SlotResponse

_RETRY_AFTER_S = 30


async def answer_probe(
    services: Services, verified: VerifiedWorker, *, kind: str, max_hold_s: float | None
) -> Response:
    """
    Answer like a session would, without storing anything.

    Args:
        services: The Server's parts.
        verified: The calling Worker.
        kind: `now` answers at once. `held` answers when a poll would be answered. `streamed` sends the first byte soon, and
            the rest at that time, which shows whether something in between buffers the response.
        max_hold_s: The maximum number of seconds to hold it.
    """
    if kind == "now":
        return json_response(_facts(services))
    # Denial of service: each holds a connection.
    slot = services.session_probes.take(verified.worker.id)
    if slot is None:
        return temporarily_unavailable("Too many connections are being probed.", retry_after_s=_RETRY_AFTER_S)
    hold_s = services.sessions.hold_s() if max_hold_s is None else min(max_hold_s, services.sessions.hold_s())
    if kind == "streamed":
        return _streamed(services, slot, hold_s)
    try:
        await services.sessions.wait_until_stopping(within_s=hold_s)
    finally:
        slot.release()
    return json_response(_facts(services))


def _streamed(services: Services, slot: Slot, hold_s: float) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        # Not at once: nginx passes on what arrives together with the headers, even if it buffers the rest.
        await services.sessions.wait_until_stopping(within_s=hold_s / 8)
        # White space before a JSON text has no meaning (RFC 8259, section 2).
        yield b"\n"
        await services.sessions.wait_until_stopping(within_s=hold_s * 7 / 8)
        yield msgspec.json.encode(_facts(services))

    headers = {**NO_STORE, "X-Accel-Buffering": "no"}
    return SlotResponse(pieces(), release=slot.release, media_type="application/json", headers=headers)


def _facts(services: Services) -> dict[str, object]:
    return {
        "session": "none",
        "hold_s": services.sessions.hold_s(),
        "directives": [],
        "server_version": lyftdata.__version__,
    }
