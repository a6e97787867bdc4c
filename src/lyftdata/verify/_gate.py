"""
Decides which requests an adapter lets through: one rule for WSGI, ASGI, FastAPI and gRPC.

    1  one `Authorization: Bearer …`, no more           MissingTokenError
    2  the verifier answers with a `WorkerIdentity`     what it raises; for any other answer or exception VerifierFailedError
    3  that Worker has every scope                      InsufficientScopeError

A verifier may be a class of the user's own, so its answer is not trusted to have the annotated type, or to have checked the
scopes. Only a `WorkerIdentity` admits a request; a truthy answer of another type does not.
"""

import inspect
import logging
import traceback
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from lyftdata.core.log_events.verifier import VERIFIER_FAILED
from lyftdata.library_log import emit
from lyftdata.verify._requests import bearer_token, checked_scopes
from lyftdata.verify.errors import VerificationError, VerifierFailedError
from lyftdata.verify.identity import WorkerIdentity, require_scopes

_log = logging.getLogger("lyftdata.verify")


class TokenVerifier(Protocol):
    """The verifier of an adapter for threads: a `WorkerVerifier`, or a class of your own."""

    def verify(self, unverified_token: str, /, *, scopes: frozenset[str]) -> WorkerIdentity:
        """
        Return the Worker that a token proves.

        Raises:
            VerificationError: The token is refused, or cannot be checked now.
        """
        ...


class AsyncTokenVerifier(Protocol):
    """The verifier of an adapter for an event loop: an `AsyncWorkerVerifier`, or a class of your own."""

    async def verify(self, unverified_token: str, /, *, scopes: frozenset[str]) -> WorkerIdentity:
        """
        Return the Worker that a token proves.

        Raises:
            VerificationError: The token is refused, or cannot be checked now.
        """
        ...


class WorkerGate:
    """
    Decides for an adapter that uses threads.

    Args:
        verifier: Checks the tokens.
        scopes: What every Worker must be allowed to do.

    Raises:
        TypeError: The verifier is one for an event loop, or not a verifier.
        InvalidInputError: A scope that no token can hold.
    """

    def __init__(self, verifier: TokenVerifier, *, scopes: Collection[str]) -> None:
        verify = _verify_method(verifier)
        if _is_coroutine_function(verify):
            raise TypeError(
                f"{type(verifier).__name__}.verify is a coroutine function, which this adapter cannot await: "
                "give it a verifier for threads, such as WorkerVerifier."
            )
        self._verifier = verifier
        self._scopes = checked_scopes(scopes)

    def admit(self, authorization: Sequence[str]) -> WorkerIdentity:
        """
        Return the Worker of a request.

        Args:
            authorization: Every `Authorization` header, as received.

        Raises:
            VerificationError: The request is not let through. No other exception is raised for what a verifier did.
        """
        token = bearer_token(authorization)
        try:
            answer: object = self._verifier.verify(token, scopes=self._scopes)
        except VerificationError:
            raise
        # Fail closed: an unexpected exception could otherwise reach an error handler of the framework that answers 200, or put
        # its text, which may hold the token, into the answer.
        except Exception as error:
            raise _raised(self._verifier, error) from error
        return _admitted(answer, self._scopes, self._verifier)


class AsyncWorkerGate:
    """
    Decides for an adapter on an event loop.

    Args:
        verifier: Checks the tokens.
        scopes: What every Worker must be allowed to do.

    Raises:
        TypeError: The verifier is one for threads, or not a verifier.
        InvalidInputError: A scope that no token can hold.
    """

    def __init__(self, verifier: AsyncTokenVerifier, *, scopes: Collection[str]) -> None:
        verify = _verify_method(verifier)
        # A decorator's wrapper may be a plain function that returns the wrapped function's coroutine.
        if not (_is_coroutine_function(verify) or _is_coroutine_function(inspect.unwrap(verify))):
            raise TypeError(
                f"{type(verifier).__name__}.verify is not a coroutine function (async def) and would block the "
                "event loop: give this adapter a verifier for an event loop, such as AsyncWorkerVerifier."
            )
        self._verifier = verifier
        self._scopes = checked_scopes(scopes)

    async def admit(
        self, authorization: Sequence[str], *, more_scopes: Collection[str] = ()
    ) -> WorkerIdentity:
        """
        Return the Worker of a request.

        Args:
            authorization: Every `Authorization` header, as received.
            more_scopes: Scopes needed for this request, in addition to those that every request needs.

        Raises:
            VerificationError: The request is not let through. No other exception is raised for what a verifier did.
        """
        token = bearer_token(authorization)
        needed = self._scopes.union(more_scopes)
        try:
            answer: object = await self._verifier.verify(token, scopes=needed)
        except VerificationError:
            raise
        except Exception as error:
            raise _raised(self._verifier, error) from error
        return _admitted(answer, needed, self._verifier)


def _verify_method(verifier: object) -> Callable[..., object]:
    verify: Callable[..., object] | None = getattr(verifier, "verify", None)
    if callable(verify) and not isinstance(verifier, type):
        return verify
    raise TypeError("verifier must be an object with a method verify(), such as a WorkerVerifier.")


def _is_coroutine_function(function: object) -> bool:
    # `verify` may also be an object whose __call__ is `async def`.
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _admitted(answer: object, needed: frozenset[str], verifier: object) -> WorkerIdentity:
    # Fail closed: a `verify` that returns True, a dict of claims or an un-awaited coroutine proves no Worker. Checked with type() and
    # not with isinstance(): an object can claim any __class__, and a mock with a spec does.
    if not issubclass(type(answer), WorkerIdentity):
        raise _not_a_worker(verifier, answer)
    worker: WorkerIdentity = answer  # type: ignore[assignment]  # checked above
    # Missing authorization: a verifier of the user's own may ignore `scopes`, so they are checked a second time here.
    try:
        require_scopes(worker, needed)
    except TypeError as error:
        # The scopes are not a set: an identity made by the user's own verifier.
        raise _raised(verifier, error) from error
    return worker


def _not_a_worker(verifier: object, answer: object) -> VerifierFailedError:
    if inspect.iscoroutine(answer):
        answer.close()  # otherwise Python warns that it was never awaited, some time later and somewhere else
    failed = VerifierFailedError(
        f"{type(verifier).__name__}.verify returned {type(answer).__name__} instead of WorkerIdentity."
    )
    emit(_log, VERIFIER_FAILED, reason=failed.message)
    return failed


def _raised(verifier: object, error: Exception) -> VerifierFailedError:
    failed = VerifierFailedError(f"{type(verifier).__name__}.verify raised {type(error).__name__}.")
    # Token leak through logs: the traceback names file and line, without the exception's text, which may hold the token.
    where = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    emit(_log, VERIFIER_FAILED, reason=failed.message, traceback=where)
    return failed
