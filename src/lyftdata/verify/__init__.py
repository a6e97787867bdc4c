"""
What other services import to check a Worker.

    from lyftdata.verify import WorkerVerifier

    verifier = WorkerVerifier("https://lyftdata.example.com", audience="https://lyftdata.example.com")
    worker = verifier.verify(token)          # raises an InvalidTokenError, or says who it is

By itself this needs no web framework. Those have a module each, which imports its framework: `asgi` (none needed),
`fastapi`, `wsgi` (none needed), `grpc`. The other side, requests that carry a worker token, is `lyftdata.client`.
How to use them: docs/how-to/check-workers-in-a-service.md.
"""

from lyftdata.verify._gate import AsyncTokenVerifier, TokenVerifier
from lyftdata.verify._loop import AsyncWorkerVerifier
from lyftdata.verify._threads import WorkerVerifier
from lyftdata.verify.errors import (
    CannotVerifyError,
    InsufficientScopeError,
    InvalidTokenError,
    KeysUnavailableError,
    MissingTokenError,
    OnlineCheckUnavailableError,
    TokenBoundError,
    TokenExpiredError,
    TokenMalformedError,
    TokenNotOursError,
    TokenNotYetValidError,
    TokenRevokedError,
    TokenSignatureError,
    UnknownKeyError,
    VerificationError,
    VerifierFailedError,
    WrongAudienceError,
    WrongIssuerError,
)
from lyftdata.verify.identity import WorkerIdentity, require_scopes

__all__ = [
    "AsyncTokenVerifier",
    "AsyncWorkerVerifier",
    "CannotVerifyError",
    "InsufficientScopeError",
    "InvalidTokenError",
    "KeysUnavailableError",
    "MissingTokenError",
    "OnlineCheckUnavailableError",
    "TokenBoundError",
    "TokenExpiredError",
    "TokenMalformedError",
    "TokenNotOursError",
    "TokenNotYetValidError",
    "TokenRevokedError",
    "TokenSignatureError",
    "TokenVerifier",
    "UnknownKeyError",
    "VerificationError",
    "VerifierFailedError",
    "WorkerIdentity",
    "WorkerVerifier",
    "WrongAudienceError",
    "WrongIssuerError",
    "require_scopes",
]
