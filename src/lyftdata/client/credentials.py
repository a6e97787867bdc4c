"""The credentials of a Worker at the token endpoint: an API key, or its own identity key."""

import secrets
from collections.abc import Callable
from typing import Protocol

from lyftdata.client.counter_file import CounterFile
from lyftdata.client.signing import Signing
from lyftdata.core.assertions import make_assertion
from lyftdata.core.identity_keys import IdentityKey
from lyftdata.core.records import Strategy
from lyftdata.core.refusals import EnrollAsNewError, IdentityClonedError
from lyftdata.current_secrets import CurrentApiKey

_IS_COPY = frozenset({IdentityClonedError.code, EnrollAsNewError.code})
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Credential(Protocol):
    """
    The credential of a Worker.

    Attributes:
        worker_id: The Worker's ID.
        strategy: Its strategy.
        signs: Whether it signs each request, so that time and nonce matter.
        fingerprint: The thumbprint of the identity key (RFC 7638), which operators compare; empty for an API key.
    """

    worker_id: str
    strategy: Strategy
    signs: bool
    fingerprint: str

    def version(self) -> str:
        """Return a value that changes with the secret and reveals nothing about it."""
        ...

    def form(self, signing: Signing) -> dict[str, str]:
        """
        Return the parameters that authenticate one request (RFC 6749, section 2.3).

        Args:
            signing: The time to sign for; ignored by a credential that does not sign.
        """
        ...

    def note_refused(self, *, cause_code: str, reference: str) -> None:
        """Record that the Server has refused it, for a cause that only a Worker with a proved key learns."""
        ...

    def note_accepted(self) -> None:
        """Record that the Server has issued a token for it."""
        ...


class ApiKeyCredential:
    """
    A Worker ID and an API key (`client_secret_post`), which may be rotated while the program runs.

    Args:
        worker_id: The Worker's ID.
        api_key: Its API key.
    """

    strategy = Strategy.API_KEY
    signs = False
    fingerprint = ""

    def __init__(self, worker_id: str, api_key: CurrentApiKey) -> None:
        self.worker_id = worker_id
        self._api_key = api_key

    def version(self) -> str:
        """Return the version of the key that is in its file now."""
        return self._api_key.version()

    def form(self, signing: Signing) -> dict[str, str]:  # noqa: ARG002 - nothing is signed
        """Return ID and key."""
        return {"client_id": self.worker_id, "client_secret": self._api_key.read().reveal()}

    def note_refused(self, *, cause_code: str, reference: str) -> None:
        """Do nothing: an API key has no state of its own."""

    def note_accepted(self) -> None:
        """Do nothing: an API key has no state of its own."""


class IdentityCredential:
    """
    An enrolled Worker's own key (`private_key_jwt`, RFC 7523).

    Args:
        worker_id: The Worker's ID.
        key: Its identity key.
        issuer: The Server's issuer, the only audience of the assertion.
        counter: Numbers the signatures; None if the key is not kept in a Worker's directory.
        read_key: Returns the present key, which the agent may have rotated; None if it cannot be read.
    """

    strategy = Strategy.AUTO_ENROLLMENT
    signs = True

    def __init__(
        self,
        worker_id: str,
        key: IdentityKey,
        *,
        issuer: str,
        counter: CounterFile | None = None,
        read_key: Callable[[], IdentityKey | None] | None = None,
    ) -> None:
        self.worker_id = worker_id
        self.fingerprint = key.public.thumbprint
        self._key = key
        self._issuer = issuer
        self._counter = counter
        self._read_key = read_key

    def with_key(self, key: IdentityKey) -> "IdentityCredential":
        """Return the credential of the same Worker with another key and the same counter."""
        return IdentityCredential(self.worker_id, key, issuer=self._issuer, counter=self._counter)

    def version(self) -> str:
        """Return a constant: a credential has one identity key."""
        return self.worker_id

    def form(self, signing: Signing) -> dict[str, str]:
        """Return a new assertion for this request."""
        assertion = make_assertion(
            self._current_key(),
            worker_id=self.worker_id,
            audience=self._issuer,
            now=signing.now,
            jti=new_jti(),
            nonce=signing.nonce,
            counter=None if self._counter is None else self._counter.take_number(),
        )
        return {"client_assertion_type": _ASSERTION_TYPE, "client_assertion": assertion}

    def _current_key(self) -> IdentityKey:
        newest = None if self._read_key is None else self._read_key()
        if newest is not None:
            self._key, self.fingerprint = newest, newest.public.thumbprint
        return self._key

    def note_refused(self, *, cause_code: str, reference: str) -> None:
        """Record a refusal as a copy, so that this directory no longer counts like the Worker's own."""
        if self._counter is not None and cause_code in _IS_COPY and reference:
            self._counter.note_refused(reference)

    def note_accepted(self) -> None:
        """Clear a recorded refusal as a copy."""
        if self._counter is not None:
            self._counter.note_accepted()


def new_jti() -> str:
    """Return a random identifier of 128 bits, which cannot be guessed and does not repeat."""
    return secrets.token_urlsafe(16)
