"""Logs the agent's state, and reports it to the service manager."""

from typing import Any

from lyftdata.client.credentials import Credential
from lyftdata.core.log_events.worker import (
    AWAITING_APPROVAL,
    ENROLLMENT_BLOCKED,
    OFFLINE,
    ONLINE,
    REFUSED,
    RETRYING,
    TOKEN_REJECTED,
)
from lyftdata.core.text import clean_text
from lyftdata.log import emit, get_logger
from lyftdata.service_manager import Notifier
from lyftdata.worker.client import RefusedByServerError, ServerUnreachableError, TokenRejectedError
from lyftdata.worker.identity.state import StateError

_log = get_logger(__name__)

# Consecutive attempts without an answer, some seconds in all.
_WARN_AFTER_FAILURES = 4


class StatusReport:
    """
    Reports each change of an agent's state, in the log and to systemd.

    Args:
        notifier: Notifies systemd.
        server: URL of the Server.
    """

    def __init__(self, notifier: Notifier, *, server: str) -> None:
        self._notifier = notifier
        self._server = server

    def online(self, credential: Credential, *, name: str) -> None:
        """Report that the Worker is connected."""
        self._notifier.notify(READY="1", STATUS=f"Online as {credential.worker_id}.")
        emit(
            _log,
            ONLINE,
            worker_id=credential.worker_id,
            name=name,
            strategy=credential.strategy.value,
            server=self._server,
        )

    def offline(self, error: ServerUnreachableError) -> None:
        """Report that the Server can no longer be reached."""
        emit(_log, OFFLINE, reason=clean_text(error.message, 400))

    def retrying(self, error: ServerUnreachableError, *, wait_s: float, failures: int) -> None:
        """Report an attempt without an answer, after several in a row at level `warning`."""
        emit(
            _log,
            RETRYING,
            level="warning" if failures >= _WARN_AFTER_FAILURES else "info",
            reason=clean_text(error.message, 400),
            remedy=clean_text(error.hint, 400) or None,
            wait_s=round(wait_s, 1),
        )
        self._notifier.notify(STATUS=f"Offline: {clean_text(error.message, 200)}")

    def enrollment_blocked(self, error: StateError, *, wait_s: float) -> None:
        """Report that the identity cannot be stored."""
        emit(_log, ENROLLMENT_BLOCKED, reason=error.message, remedy=error.hint, wait_s=round(wait_s, 1))
        self._notifier.notify(STATUS=f"Cannot enroll yet: {error.message}")

    def token_rejected(self, rejected: TokenRejectedError, *, wait_s: float) -> None:
        """Report that new tokens are answered with 401."""
        emit(_log, TOKEN_REJECTED, wait_s=round(wait_s, 1), **_facts_of_rejection(rejected))
        self._notifier.notify(STATUS="The Server does not accept the tokens that it gives this Worker.")

    def refused(self, refused: RefusedByServerError) -> None:
        """Report a refusal."""
        emit(_log, REFUSED, **_facts_of_refusal(refused))
        self._notifier.notify(STATUS=f"Refused, reference {clean_text(refused.reference, 32)}.")

    def awaiting_approval(self, refused: RefusedByServerError, credential: Credential, *, name: str) -> None:
        """Report that an operator must approve this Worker."""
        emit(
            _log,
            AWAITING_APPROVAL,
            worker_id=credential.worker_id,
            name=name,
            fingerprint=credential.fingerprint,
            remedy=clean_text(refused.hint, 400),
        )
        self._notifier.notify(STATUS=f"Waiting for approval as {credential.worker_id}.")

    def stopping(self) -> None:
        """Report that the agent is about to end."""
        self._notifier.notify(STOPPING="1", STATUS="Stopping.")


def _facts_of_refusal(refused: RefusedByServerError) -> dict[str, Any]:
    """Return the log fields of a refusal, cleaned: the text is from the Server, or from another program at its address."""
    facts = {
        "reference": clean_text(refused.reference, 32),
        "code": clean_text(refused.cause_code, 64),
        "reason": clean_text(refused.message, 400),
        "remedy": clean_text(refused.hint, 400),
    }
    if refused.clock_skew:
        facts["clock"] = f"this host's is {refused.clock_skew}, which may be the cause"
    if not refused.cause_code:
        facts["remedy"] = f"ask an operator to run: lyftdata refusals show {facts['reference']}"
    return {key: value for key, value in facts.items() if value}


def _facts_of_rejection(rejected: TokenRejectedError) -> dict[str, Any]:
    """Return the log fields of a token that was rejected with 401."""
    if not rejected.reference:
        return {
            "reason": "A new token was answered with 401 by something other than the Server.",
            "remedy": "check LYFTDATA_URL, and what is between this host and the Server",
        }
    reference = clean_text(rejected.reference, 32)
    return {
        "reason": "The Server does not accept a token that it has just given.",
        "reference": reference,
        "remedy": f"ask an operator to run: lyftdata refusals show {reference}",
    }
