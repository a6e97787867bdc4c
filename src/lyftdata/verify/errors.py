"""
The errors of a refused request, and what its sender may learn.

VerificationError
├── MissingTokenError                401  no bearer token in the request
├── InvalidTokenError                401  invalid_token (RFC 6750, section 3.1)
│   ├── TokenExpiredError                 for this service, expired: its sender gets a new one and retries
│   ├── TokenNotYetValidError             for this service, not valid yet: a clock is wrong
│   ├── TokenRevokedError                 for this service, revoked on the Server (online check)
│   ├── TokenBoundError                   for this service, bound to a key (DPoP): proofs are not checked here
│   └── TokenNotOursError                 not signed by this Server, or not meant for this service
│       ├── TokenMalformedError, UnknownKeyError, TokenSignatureError
│       └── WrongIssuerError, WrongAudienceError
├── InsufficientScopeError           403  insufficient_scope
├── VerifierFailedError              500  the verifier broke its contract (adapters only)
└── CannotVerifyError                503  cannot be checked now: says nothing about the token
    ├── KeysUnavailableError              the Server's keys cannot be fetched
    └── OnlineCheckUnavailableError       the Server cannot be asked

`code` is stable: logs, metrics and tests match on it. `message` is for the operator of the service and may give details;
`public` is all that the sender of the request reads.
"""

from collections.abc import Iterable
from typing import ClassVar, Final

from lyftdata.core.errors import LyftdataError

_UNAUTHORIZED = 401
_FORBIDDEN = 403
_SERVER_ERROR = 500
_UNAVAILABLE = 503


class VerificationError(LyftdataError):
    """
    A refused request.

    Args:
        message: The details, for the operator of the service; never the token. If empty, `public` is used.
    """

    code: ClassVar[str] = "verification_failed"
    public: ClassVar[str] = "The request is not let through."
    oauth_error: ClassVar[str] = ""
    """`error` of RFC 6750, section 3.1; empty where the RFC has none."""

    status: ClassVar[int] = _UNAUTHORIZED
    retry_after_s: int | None = None

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.public)

    def www_authenticate(self, realm: str = "lyftdata") -> str:
        """Return the value of `WWW-Authenticate` (RFC 6750, section 3), or "" where the answer carries none."""
        if self.status >= _SERVER_ERROR:
            return ""
        parameters = {"realm": realm}
        if self.oauth_error:
            parameters |= {"error": self.oauth_error, "error_description": self.public}
        parameters |= self._more_parameters()
        return "Bearer " + ", ".join(f'{name}="{_quotable(value)}"' for name, value in parameters.items())

    def _more_parameters(self) -> dict[str, str]:
        return {}


class MissingTokenError(VerificationError):
    """No bearer token in the request, or more than one `Authorization` header."""

    code = "missing_token"
    public = "A worker token is needed."
    # No error parameter on purpose: a request without a token only learns how to send one
    # (RFC 6750, section 3.1, last paragraph).


class InvalidTokenError(VerificationError):
    """A token that is refused."""

    code = "invalid_token"
    public = "The token is not valid here."
    oauth_error = "invalid_token"


class TokenExpiredError(InvalidTokenError):
    """Validly signed and for this service, and `now >= exp`: a new token is needed."""

    code = "token_expired"
    public = "The token has expired."


class TokenNotYetValidError(InvalidTokenError):
    """Validly signed, and its `iat` or `nbf` is further ahead than clocks may differ."""

    code = "token_not_yet_valid"
    public = "The token is not valid yet."


class TokenRevokedError(InvalidTokenError):
    """Validly signed and not expired, and no longer accepted by the Server: Worker disabled, key revoked (online check only)."""

    code = "token_revoked"
    public = "The token has been revoked."


class TokenBoundError(InvalidTokenError):
    """
    Bound to a key of the client (`cnf`, RFC 9449), so not a bearer token.

    Refused, since accepting it without a proof of possession would let a thief use it here.
    """

    code = "token_bound"
    public = "The token is bound to a key, and is not a bearer token."


class TokenNotOursError(InvalidTokenError):
    """Not signed by this Server, or not meant for this service."""

    code = "token_not_ours"


class TokenMalformedError(TokenNotOursError):
    """Not in the form of a worker token: not a compact JWS, too long, another `typ`, a claim missing or of the wrong type."""

    code = "token_malformed"


class UnknownKeyError(TokenNotOursError):
    """
    Its `kid` names none of the keys that the Server publishes.

    Args:
        worth_fetching: Whether its unverified claims name this Server and this service, so that fetching the keys again
            may help.
    """

    code = "unknown_key"

    def __init__(self, message: str = "", *, worth_fetching: bool = False) -> None:
        super().__init__(message)
        self.worth_fetching: Final = worth_fetching


class TokenSignatureError(TokenNotOursError):
    """The signature is wrong, or its `alg` is not the key's."""

    code = "token_signature"


class WrongIssuerError(TokenNotOursError):
    """Another `iss`."""

    code = "wrong_issuer"


class WrongAudienceError(TokenNotOursError):
    """Meant for another service."""

    code = "wrong_audience"


class InsufficientScopeError(VerificationError):
    """
    A valid token without a scope that is needed here.

    Args:
        needed: The needed scopes.
        missing: Those that the token lacks.
    """

    code = "insufficient_scope"
    public = "The token lacks a scope that is needed here."
    oauth_error = "insufficient_scope"
    status = _FORBIDDEN

    def __init__(self, *, needed: Iterable[str], missing: Iterable[str]) -> None:
        self.needed: Final = tuple(sorted(needed))
        self.missing: Final = tuple(sorted(missing))
        super().__init__(f"The token lacks the scope {' '.join(self.missing)}.")

    def _more_parameters(self) -> dict[str, str]:
        return {"scope": " ".join(self.needed)}


class VerifierFailedError(VerificationError):
    """
    A verifier of the user's own returned something other than a `WorkerIdentity`, or raised an unexpected exception.

    Raised by the adapters; it is a fault of the service, so the sender of the request learns nothing else.
    """

    code = "verifier_failed"
    public = "Worker tokens cannot be checked here."
    status = _SERVER_ERROR


class CannotVerifyError(VerificationError):
    """The token cannot be checked now. Says nothing about the token: its sender keeps it and retries."""

    code = "cannot_verify"
    public = "Worker tokens cannot be checked at the moment."
    status = _UNAVAILABLE
    retry_after_s = 5


class KeysUnavailableError(CannotVerifyError):
    """The Server's keys cannot be fetched, and none is cached that may still be used."""

    code = "keys_unavailable"


class OnlineCheckUnavailableError(CannotVerifyError):
    """The Server cannot be asked whether the token is still valid."""

    code = "online_check_unavailable"


def _quotable(text: str) -> str:
    # Header injection: a quoted-string's two special characters are escaped (RFC 9110, section 5.6.4), and nothing is left that
    # could end the header.
    printable = "".join(character for character in text if character.isascii() and character.isprintable())
    return printable.replace("\\", "\\\\").replace('"', '\\"')
