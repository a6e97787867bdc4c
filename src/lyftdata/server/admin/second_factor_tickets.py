"""
A sign-in whose password was right and that still needs a second factor: what the browser keeps in between.

It is a cookie and not a session, so there is nothing that could be used before the second factor. It contains the operator's name and
a tag of the password, authenticated by the Servers: any of them can finish what another began, a password reset invalidates it,
and it opens at most one session.
"""

import hashlib
import hmac
import json
from datetime import datetime, timedelta

import msgspec

from lyftdata.core.encoding import base64url, decode_base64url
from lyftdata.core.errors import SecondFactorFailedError
from lyftdata.core.records import OperatorRecord
from lyftdata.server.clock import Clock, RandomBytes

TICKET_LIFE = timedelta(minutes=5)
_MAX_LENGTH = 1_000


class Ticket(msgspec.Struct, frozen=True):
    """A ticket issued by one of the Servers; `digest` identifies it when it is marked as used."""

    operator: str
    device: str | None
    password_tag: str
    digest: bytes
    expires_at: datetime


class SecondFactorTickets:
    """
    Issues tickets, and recognizes them.

    Args:
        key: 32 bytes for this purpose alone, the same at every Server of a deployment.
        clock: Aware UTC time.
        random_bytes: Makes each ticket different.
    """

    def __init__(self, *, key: bytes, clock: Clock, random_bytes: RandomBytes) -> None:
        self._key = key
        self._clock = clock
        self._random_bytes = random_bytes

    def issue(self, operator: OperatorRecord, *, device: str | None) -> str:
        """Issue a ticket for an operator whose password was right; it is valid for five minutes."""
        until_s = int((self._clock() + TICKET_LIFE).timestamp())
        payload = json.dumps(
            [base64url(self._random_bytes(16)), until_s, operator.name, device, self.password_tag(operator)]
        ).encode()
        return f"{base64url(payload)}.{self._code(payload)}"

    def open(self, unverified: str) -> Ticket:
        """Return the ticket; raises SecondFactorFailedError if it is not from a Server, or too old."""
        encoded, _, code = unverified.partition(".")
        try:
            payload = decode_base64url(encoded) if len(unverified) <= _MAX_LENGTH else b""
        except ValueError:
            payload = b""
        if not payload or not hmac.compare_digest(code.encode(), self._code(payload).encode()):
            raise _not_begun()
        # Parsed only now that it is known to be made by a Server.
        _, until_s, operator, device, password_tag = json.loads(payload)
        if self._clock().timestamp() >= until_s:
            raise _not_begun()
        return Ticket(
            operator=operator,
            device=device,
            password_tag=password_tag,
            digest=hashlib.sha256(b"second factor\0" + payload).digest(),
            expires_at=datetime.fromtimestamp(until_s, tz=self._clock().tzinfo),
        )

    def password_tag(self, operator: OperatorRecord) -> str:
        """Return a tag that differs between an operator's passwords and reveals nothing about them."""
        return base64url(hmac.digest(self._key, b"password\0" + operator.password_hash.encode(), "sha256"))

    def _code(self, payload: bytes) -> str:
        return base64url(hmac.digest(self._key, b"ticket\0" + payload, "sha256"))


def _not_begun() -> SecondFactorFailedError:
    return SecondFactorFailedError(
        "This sign-in took too long, or was not begun in this browser. Begin again."
    )
