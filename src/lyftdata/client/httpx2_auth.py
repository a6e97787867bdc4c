"""
Authenticates requests of `httpx2` with a worker token.

    auth = WorkerAuth.from_environment(origins=["https://service.example.com"])
    with httpx2.Client(auth=auth) as http:
        http.get("https://service.example.com/jobs")
"""

import httpx2

from lyftdata.client.auth import HttpxFlow

__all__ = ["WorkerAuth"]


class WorkerAuth(HttpxFlow[httpx2.Request, httpx2.Response], httpx2.Auth):
    """
    Sends a worker token with each request of an `httpx2.Client` or `httpx2.AsyncClient`.

        auth = WorkerAuth.from_environment(origins=["https://service.example.com"])
        httpx2.Client(auth=auth).get("https://service.example.com/jobs")

    Args:
        tokens: The source of the tokens; may be shared with other auths.
        origins: The services that may get them: scheme, host and port, for example `https://service.example.com`.
        allow_http: Allow plain http to a service on another machine: anyone who listens on the network then gets the token.

    Raises:
        InvalidInputError: No origin, or an invalid one.
    """

    _repeatable_stream = httpx2.ByteStream
