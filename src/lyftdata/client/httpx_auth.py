"""
Authenticates requests of `httpx` with a worker token.

    auth = HttpxWorkerAuth.from_environment(origins=["https://service.example.com"])
    with httpx.Client(auth=auth) as http:
        http.get("https://service.example.com/jobs")

Needs `httpx`, which `lyftdata` does not install. For `httpx2` there is `lyftdata.client.WorkerAuth`.
"""

import httpx

from lyftdata.client.auth import HttpxFlow

__all__ = ["HttpxWorkerAuth"]


class HttpxWorkerAuth(HttpxFlow[httpx.Request, httpx.Response], httpx.Auth):
    """
    Sends a worker token with each request of an `httpx.Client` or `httpx.AsyncClient`.

        auth = HttpxWorkerAuth.from_environment(origins=["https://service.example.com"])
        httpx.Client(auth=auth).get("https://service.example.com/jobs")

    Args:
        tokens: The source of the tokens; may be shared with other auths.
        origins: The services that may get them: scheme, host and port, for example `https://service.example.com`.
        allow_http: Allow plain http to a service on another machine: anyone who listens on the network then gets the token.

    Raises:
        InvalidInputError: No origin, or an invalid one.
    """

    _repeatable_stream = httpx.ByteStream
