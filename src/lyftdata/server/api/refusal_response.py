"""Builds the response to a refused caller, with no more than it may know."""

from starlette.responses import Response

from lyftdata.server.admission.refusal_log import PublicRefusal
from lyftdata.server.http.responses import NO_STORE, NONCE_HEADER, json_response

_TOO_MANY_REQUESTS = 429
# An operator must make room first.
_LATER = "30"


def refusal_response(
    answer: PublicRefusal,
    *,
    error: str,
    status: int,
    proved_error: str,
    proved_status: int,
    nonce: str | None = None,
) -> Response:
    """
    Return what the caller may know about a refusal.

    Unproven callers get the same bytes except for the reference, whatever the cause.

    Args:
        answer: From the refusal log.
        error: The error for unproven callers: `invalid_client` or `invalid_token`.
        status: The status for unproven callers.
        proved_error: The error for a caller that has proved its key.
        proved_status: The status for such a caller.
        nonce: A nonce with which unproven callers may sign when they retry.
    """
    offered = {} if nonce is None else {NONCE_HEADER: nonce}
    if answer.retry_after_s is not None:
        body = {
            "error": "temporarily_unavailable",
            "error_description": "Too many failed attempts.",
            "reference": answer.reference,
        }
        headers = {**NO_STORE, "Retry-After": str(answer.retry_after_s)}
        return json_response(body, status=429, headers=headers | offered)
    if not answer.proved:
        body = {"error": error, "error_description": "Authentication failed.", "reference": answer.reference}
        headers = {**NO_STORE, "WWW-Authenticate": _challenge(error)}
        return json_response(body, status=status, headers=headers | offered)
    explained = {
        "error": proved_error,
        "error_description": answer.explanation,
        "reference": answer.reference,
        "code": answer.code,
        "final": answer.final,
        "remedy": answer.remedy,
    }
    headers = NO_STORE if proved_status != _TOO_MANY_REQUESTS else {**NO_STORE, "Retry-After": _LATER}
    return json_response(explained, status=proved_status, headers=headers)


def _challenge(error: str) -> str:
    return (
        'Basic realm="lyftdata", error="invalid_client"'
        if error == "invalid_client"
        else f'Bearer realm="lyftdata", error="{error}"'
    )
