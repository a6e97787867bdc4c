"""
Checks the worker tokens of requests to your service; the library that such a service imports.

    from lyftdata.verify import WorkerVerifier

    verifier = WorkerVerifier("https://lyftdata.example.com", audience="https://lyftdata.example.com")
    worker = verifier.verify(token)          # raises InvalidTokenError, or returns the Worker

This package needs no web framework. Each framework has a separate module: `asgi` and `wsgi`, which need nothing else
installed, `fastapi` and `grpc`. For the other side, requests that carry a worker token, see `lyftdata.client`.
How to use them: docs/how-to/check-workers-in-a-service.md.
"""

from lyftdata.core.errors import InvalidInputError
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
    "InvalidInputError",
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
