"""Errors: why a program has no worker token, or does not send it."""

from typing import Final, Self

from lyftdata.core.errors import LyftdataError


class WorkerAuthError(LyftdataError):
    """
    A request cannot be sent with a worker token.

    Args:
        message: Why not.
        hint: What to do about it, or empty.
        retry_after_s: Seconds that the Server asked to wait, or None.
    """

    code = "worker_auth_failed"

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s: Final = retry_after_s

    def copy(self) -> Self:
        """Return a copy to raise again: each has its own traceback."""
        return type(self)(self.message, hint=self.hint, retry_after_s=self.retry_after_s)

    def __str__(self) -> str:
        # A traceback shows only this, no attributes.
        return f"{self.message} {self.hint}".rstrip()


class TokenRefusedError(WorkerAuthError):
    """
    The Server refuses this Worker a token.

    Args:
        reason: The reason that it gave.
        reference: An operator finds the whole reason by it (`lyftdata refusals show REFERENCE`).
        final: Whether retrying is pointless.
        hint: What to do about it, or empty.
        cause_code: The cause (docs/reference/refusals.md), if the Worker had proved its credential, or empty.
        retry_after_s: Seconds that the Server asked to wait, or None.
    """

    code = "token_refused"

    def __init__(
        self,
        reason: str,
        *,
        reference: str,
        final: bool,
        hint: str = "",
        cause_code: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        suffix = f", reference {reference}" if reference else ""
        super().__init__(
            f"The Server refuses this Worker a token{suffix}: {reason}",
            hint=hint,
            retry_after_s=retry_after_s,
        )
        self._reason: Final = reason
        self.reference: Final = reference
        self.final: Final = final
        self.cause_code: Final = cause_code

    def copy(self) -> Self:
        """Return a copy to raise again."""
        return type(self)(
            self._reason,
            reference=self.reference,
            final=self.final,
            hint=self.hint,
            cause_code=self.cause_code,
            retry_after_s=self.retry_after_s,
        )


class TokenUnavailableError(WorkerAuthError):
    """There is no token now: the Server cannot be reached, or gave no usable answer; to be retried."""

    code = "token_unavailable"


class OriginNotAllowedError(WorkerAuthError):
    """The request goes to an origin that was not named, so the token is not sent."""

    code = "origin_not_allowed"
