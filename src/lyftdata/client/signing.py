"""
Signs for the host's time, and if that is refused, once more with the nonce of the answer (docs/decisions/0012).

    1  the request, signed for the host's time         with a nonce that was asked for, once it is known to be needed
    2  refused, and the answer brings a nonce          once more, signed for the time that the nonce names
"""

from collections.abc import Callable, Generator
from datetime import datetime
from http import HTTPStatus

import msgspec

from lyftdata.bounded_http import Answer, Request
from lyftdata.client.server_clock import ServerClock
from lyftdata.core.nonces import unsafe_nonce_time

_REFUSALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS)


class Signing(msgspec.Struct, frozen=True):
    """
    The time that a signature is made for.

    Attributes:
        now: Aware UTC.
        nonce: The Server's nonce that `now` is taken from; None if `now` is the host's time.
    """

    now: datetime
    nonce: str | None = None


def sign_for_now(
    clock: ServerClock, make: Callable[[Signing], Request], *, nonce_request: Request | None = None
) -> Generator[Request, Answer, Answer]:
    """
    Send a request signed for the host's time; if it is refused with a nonce, send it once more signed for the nonce's time.

    The nonce shows that the request is signed now. It is needed if the host's clock is off, and if the Server cannot know whether an
    assertion without one is from before the Worker was disabled, or from before a crash. An unproven caller does not learn which.
    Without a nonce nothing is signed for another time than the host's, whatever time an answer names.

    Args:
        clock: The host's clock.
        make: Signs, and returns the request.
        nonce_request: Asks for a nonce in advance, once it is known that the Server refuses signatures without one.

    Returns:
        The last answer.
    """
    first: Signing | None = None
    if clock.needs_nonce and nonce_request is not None:
        # If that brings no nonce, the refusal of the request signed for the host's time does.
        nonce = (yield nonce_request).json_object().get("nonce")
        first = _signing_with(str(nonce))
    answer = yield make(first or Signing(clock.now()))
    second = offered_signing(answer)
    if second is None:
        return answer
    answer = yield make(second)
    if answer.status in {HTTPStatus.OK, HTTPStatus.CREATED}:
        clock.note_accepted(second.now)
    return answer


def offered_signing(answer: Answer) -> Signing | None:
    """Return the signing for the nonce in a refusal; None if it has no nonce, or has another cause."""
    if answer.status not in _REFUSALS or answer.json_object().get("code"):
        return None
    return _signing_with(answer.headers.get("lyftdata-nonce", ""))


def _signing_with(nonce: str) -> Signing | None:
    """Return the signing for the time that a nonce names; None if it is not a nonce."""
    issued_at = unsafe_nonce_time(nonce)
    return None if issued_at is None else Signing(issued_at, nonce)
