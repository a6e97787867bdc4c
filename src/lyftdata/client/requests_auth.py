"""
Authenticates requests of the `requests` library with a worker token.

    auth = RequestsWorkerAuth.from_environment(origins=["https://service.example.com"])
    requests.get("https://service.example.com/jobs", auth=auth, timeout=10)

This module can be imported without `requests`.
"""

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from lyftdata.client.auth import BaseAuth

if TYPE_CHECKING:
    import requests

__all__ = ["RequestsWorkerAuth"]


class RequestsWorkerAuth(BaseAuth):
    """
    Sends a worker token with a request of the `requests` library.

        auth = RequestsWorkerAuth.from_environment(origins=["https://service.example.com"])
        requests.get("https://service.example.com/jobs", auth=auth, timeout=10)

    Args:
        tokens: The source of the tokens; may be shared with other auths.
        origins: The services that may get them: scheme, host and port, for example `https://service.example.com`.
        allow_http: Allow plain http to a service on another machine: anyone who listens on the network then gets the token.

    Raises:
        InvalidInputError: No origin, or an invalid one.
    """

    def __call__(self, prepared: "requests.PreparedRequest") -> "requests.PreparedRequest":
        """Add a token to a request that is about to be sent."""
        self._origins.check(prepared.url or "")
        token = self.tokens.get()
        prepared.headers["Authorization"] = f"Bearer {token}"

        def on_response(response: "requests.Response", **options: Any) -> "requests.Response":
            return self._retry_with_another_token(response, token, options)

        prepared.register_hook("response", on_response)  # type: ignore[no-untyped-call]
        return prepared

    def _retry_with_another_token(
        self, response: "requests.Response", token: str, options: dict[str, Any]
    ) -> "requests.Response":
        """Retry the request with another token after a 401."""
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
        # `requests` keeps this hook across redirects: a request to any other origin gets no token. A body from a stream has been
        # consumed.
        body: object = sent.body  # the stubs know of no streams
        return str(sent.url) in self._origins and (body is None or isinstance(body, str | bytes))
