"""Log events of `lyftdata.verify`, written to the logger `lyftdata.verify` of the standard library."""

from lyftdata.core.log_events import LogEvent

WORKER_REFUSED = LogEvent(
    name="worker_refused",
    level="info",
    message="A worker token was refused.",
    fields={"code": "cause", "reason": "the whole reason, which the caller does not see"},
    remedy="See the table of codes in [Check Workers in a service](../how-to/check-workers-in-a-service.md).",
)
KEYS_UNAVAILABLE = LogEvent(
    name="keys_unavailable",
    level="warning",
    message="The Server's keys cannot be fetched; worker tokens may soon be refused.",
    fields={"reason": "what failed"},
    remedy="Check the address and the Server.",
)
ONLINE_CHECK_UNAVAILABLE = LogEvent(
    name="online_check_unavailable",
    level="warning",
    message="The Server cannot be asked; worker tokens are checked offline only.",
    fields={"reason": "what failed"},
    remedy="Check the Server; revoked tokens are accepted until they expire, as `fail_open` allows.",
)
VERIFIER_FAILED = LogEvent(
    name="verifier_failed",
    level="error",
    message="The verifier raised or returned something unexpected; callers get 500.",
    fields={"reason": "what was raised or returned", "traceback": "where, without the exception's text"},
    remedy="Correct the verifier.",
)
