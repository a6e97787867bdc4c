"""
A sign-in in progress: what the browser keeps until the issuer redirects it back.

It is a cookie, so that any Server of a deployment can finish what another began, and a flood of unfinished sign-ins
fills no table. The cookie contains a random value and the page to continue with, authenticated by the Server; `state`, `nonce` and the
PKCE verifier are derived from it with a key that only the Servers have.
"""

import hashlib
import hmac
import json
from datetime import datetime, timedelta

import msgspec

from lyftdata.core.encoding import base64url, decode_base64url
from lyftdata.core.errors import IssuerSignInError
from lyftdata.server.clock import Clock, RandomBytes

PENDING_LIFE = timedelta(minutes=10)
_MAX_LENGTH = 3_500
_MAX_NEXT_LENGTH = 2_000


class Pending(msgspec.Struct, frozen=True):
    """
    A sign-in in progress, with the values that bind the issuer's responses to it.

    `asks_again` says that the person must authenticate again, even if the issuer has a session.
    """

    state: str
    nonce: str
    verifier: str
    next: str
    digest: bytes
    expires_at: datetime
    asks_again: bool

    @property
    def begun_at(self) -> datetime:
        """Return when it began."""
        return self.expires_at - PENDING_LIFE

    @property
    def challenge(self) -> str:
        """Return the PKCE challenge, S256 (RFC 7636, section 4.2)."""
        return base64url(hashlib.sha256(self.verifier.encode()).digest())

    def __repr__(self) -> str:
        return f"Pending({self.next})"


class PendingSignIns:
    """
    Begins sign-ins, and recognizes them when the browser comes back.

    Args:
        key: 32 bytes for this purpose alone, the same at every Server of a deployment.
        issuer: The issuer of the sign-in; one that was begun with another issuer is refused.
        clock: Aware UTC time.
        random_bytes: Generates the random value.
    """

    def __init__(self, *, key: bytes, issuer: str, clock: Clock, random_bytes: RandomBytes) -> None:
        self._key = key
        self._issuer = issuer
        self._clock = clock
        self._random_bytes = random_bytes

    def begin(self, destination: str, *, asks_again: bool = False) -> tuple[str, Pending]:
        """Return the value of the cookie, and the sign-in; it continues with the overview if the page's address is too long to store."""
        until_s = int((self._clock() + PENDING_LIFE).timestamp())
        kept = destination if len(destination) <= _MAX_NEXT_LENGTH else "/"
        payload = json.dumps(
            [base64url(self._random_bytes(32)), until_s, kept, self._issuer, asks_again]
        ).encode()
        return f"{base64url(payload)}.{self._derive(b'cookie', payload)}", self._pending(payload)

    def resume(self, unverified_cookie: str | None, *, unverified_state: str) -> Pending:
        """
        Return the sign-in that this browser has begun.

        Raises:
            IssuerSignInError: `sign_in_not_begun`: by another browser (login CSRF), by another Server, or too long ago.
        """
        pending = self._open(unverified_cookie or "")
        if pending is None or not hmac.compare_digest(pending.state.encode(), unverified_state.encode()):
            raise IssuerSignInError(
                "sign_in_not_begun",
                "This sign-in was not begun in this browser, or it took longer than ten minutes.",
                hint="Sign in again.",
            )
        return pending

    def _open(self, unverified: str) -> Pending | None:
        encoded, _, code = unverified.partition(".")
        if len(unverified) > _MAX_LENGTH:
            return None
        try:
            payload = decode_base64url(encoded)
        except ValueError:
            return None
        if not hmac.compare_digest(code.encode(), self._derive(b"cookie", payload).encode()):
            return None
        # Parsed only now that it is known to be made by a Server.
        _, until_s, _, issuer, _ = json.loads(payload)
        if issuer != self._issuer or self._clock().timestamp() >= until_s:
            return None
        return self._pending(payload)

    def _pending(self, payload: bytes) -> Pending:
        _, until_s, destination, _, asks_again = json.loads(payload)
        return Pending(
            state=self._derive(b"state", payload),
            nonce=self._derive(b"nonce", payload),
            verifier=self._derive(b"verifier", payload),
            next=destination,
            digest=hashlib.sha256(b"sign-in\0" + payload).digest(),
            expires_at=datetime.fromtimestamp(until_s, tz=self._clock().tzinfo),
            asks_again=asks_again,
        )

    def _derive(self, purpose: bytes, payload: bytes) -> str:
        return base64url(hmac.digest(self._key, purpose + b"\0" + payload, "sha256"))
