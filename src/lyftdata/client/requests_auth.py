"""
Authenticates requests of `requests` with a worker token.

    auth = RequestsWorkerAuth.from_environment(origins=["https://service.example.com"])
    requests.get("https://service.example.com/jobs", auth=auth, timeout=10)

`requests` is not needed to import this.
"""

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from lyftdata.client.auth import BaseAuth

if TYPE_CHECKING:
    import requests

__all__ = ["RequestsWorkerAuth"]


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
            return self._retry_with_another_token(response, token, options)

        prepared.register_hook("response", on_response)  # type: ignore[no-untyped-call]
        return prepared

    def _retry_with_another_token(
        self, response: "requests.Response", token: str, options: dict[str, Any]
    ) -> "requests.Response":
        """Send the request again with another token, after a 401."""
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
