"""
The other side: requests to services that check Workers, each with a worker token.

    auth = WorkerAuth.from_environment(origins=["https://service.example.com"])
    with httpx2.Client(auth=auth) as http:
        http.get("https://service.example.com/jobs")

`WorkerAuth` is for `httpx2` (sync and async alike), `RequestsWorkerAuth` for `requests`; `lyftdata.verify.httpx` and
`lyftdata.verify.aiohttp` have one each for those libraries. All may share one `WorkerTokens`, which gets, keeps and renews
the token for all threads and tasks. A service's 401 causes one new token and one more attempt. The token goes to the origins
that were named, and nowhere else.
"""

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx2

from lyftdata.verify._auth import BaseAuth, HttpxFlow
from lyftdata.verify._tokens import (
    OriginNotAllowedError,
    TokenRefusedError,
    TokenUnavailableError,
    WorkerAuthError,
)
from lyftdata.verify._worker_tokens import TokenOptions, WorkerTokens

if TYPE_CHECKING:
    import requests

__all__ = [
    "OriginNotAllowedError",
    "RequestsWorkerAuth",
    "TokenOptions",
    "TokenRefusedError",
    "TokenUnavailableError",
    "WorkerAuth",
    "WorkerAuthError",
    "WorkerTokens",
]


class WorkerAuth(HttpxFlow[httpx2.Request, httpx2.Response], httpx2.Auth):
    """
    Sends a worker token with each request of an `httpx2.Client` or `httpx2.AsyncClient`.

        auth = WorkerAuth.from_environment(origins=["https://service.example.com"])
        httpx2.Client(auth=auth).get("https://service.example.com/jobs")

    Args:
        tokens: Where the tokens come from; may be shared with other auths.
        origins: The services that may see them: scheme, host and port, for example `https://service.example.com`.
        allow_http: Allow plain http to a service on another machine: a listener on the way has the token then.

    Raises:
        InvalidInputError: No origin, or one that cannot be used.
    """

    _repeatable_stream = httpx2.ByteStream


class RequestsWorkerAuth(BaseAuth):
    """
    Sends a worker token with a request of `requests`, which is not needed to import this.

        auth = RequestsWorkerAuth.from_environment(origins=["https://service.example.com"])
        requests.get("https://service.example.com/jobs", auth=auth, timeout=10)

    Args:
        tokens: Where the tokens come from; may be shared with other auths.
        origins: The services that may see them: scheme, host and port, for example `https://service.example.com`.
        allow_http: Allow plain http to a service on another machine: a listener on the way has the token then.

    Raises:
        InvalidInputError: No origin, or one that cannot be used.
    """

    def __call__(self, prepared: "requests.PreparedRequest") -> "requests.PreparedRequest":
        """Put a token into a request that is about to be sent."""
        self._origins.check(prepared.url or "")
        token = self.tokens.get()
        prepared.headers["Authorization"] = f"Bearer {token}"

        def on_response(response: "requests.Response", **options: Any) -> "requests.Response":
            return self._once_more(response, token, options)

        prepared.register_hook("response", on_response)  # type: ignore[no-untyped-call]
        return prepared

    def _once_more(
        self, response: "requests.Response", token: str, options: dict[str, Any]
    ) -> "requests.Response":
        """On 401 send once more, with another token."""
        if response.status_code != HTTPStatus.UNAUTHORIZED or not self._may_repeat(response.request):
            return response
        another = self.tokens.get_another(token)
        if another is None:
            return response
        _ = response.content  # read to its end, so that the connection can be used again
        response.close()
        again = response.request.copy()
        again.headers["Authorization"] = f"Bearer {another}"
        answer: requests.Response = response.connection.send(again, **options)
        answer.history.append(response)
        answer.request = again
        return answer

    def _may_repeat(self, sent: "requests.PreparedRequest") -> bool:
        # `requests` takes this hook along a redirect: what is not one of the origins gets no token. A body
        # that was read from a stream is gone.
        body: object = sent.body  # the stubs know of no streams
        return str(sent.url) in self._origins and (body is None or isinstance(body, str | bytes))
