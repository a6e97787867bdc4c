"""
The response to a Worker that waits for approval: `authorization_pending` at the token endpoint.

RFC 8628, section 3.5, defines this response for the same situation: the client is authenticated, a person has not decided yet, and it
must retry, after the time in `Retry-After`. With `Prefer: wait=SECONDS` (RFC 7240, section 4.3) the request is held until the decision,
so that it takes effect at once. It is not a failure, and is not recorded as a refusal.
"""

import re

from starlette.requests import Request
from starlette.responses import Response

from lyftdata.core.refusals import AwaitingApprovalError
from lyftdata.server.http.responses import NO_STORE, json_response
from lyftdata.server.runtime.services import Services

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,4})\"?(?=$|[,;\s])", re.IGNORECASE)
_AGAIN_AT_ONCE_S = 0
_AGAIN_SOON_S = 1
_AGAIN_LATER_S = 5


async def awaiting_approval_response(
    request: Request, services: Services, refused: AwaitingApprovalError
) -> Response:
    """Return the response, after the decision or the time that the client prefers to wait."""
    wait_s = preferred_wait_s(request.headers.getlist("prefer"))
    retry_after_s = _AGAIN_LATER_S
    if wait_s > 0:
        decided = await services.held_requests.hold(refused.claimed_worker, within_s=wait_s)
        retry_after_s = _AGAIN_AT_ONCE_S if decided else _AGAIN_SOON_S
    body = {
        "error": "authorization_pending",
        "error_description": refused.explanation,
        "code": refused.code,
        "final": refused.final,
        "remedy": refused.remedy,
    }
    return json_response(body, status=400, headers={**NO_STORE, "Retry-After": str(retry_after_s)})


def preferred_wait_s(preferences: list[str]) -> float:
    """Return how many seconds a client prefers to wait (RFC 7240, section 4.3), 0 if it does not say; the first preference counts."""
    found = _WAIT.search(", ".join(preferences))
    return 0.0 if found is None else float(found[1])
