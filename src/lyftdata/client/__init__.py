"""
The client library for Workers: gets, keeps and renews a worker token, and sends it with requests.

    import httpx2
    from lyftdata.client import WorkerAuth

    auth = WorkerAuth.from_environment(origins=["https://service.example.com"])
    with httpx2.Client(auth=auth) as http:
        http.get("https://service.example.com/jobs")

`TokenKeeper` provides the tokens for all threads and tasks of a process: from the agent that runs this program, with an API key, or
with an identity key. An auth sends them only to the origins that you name; a service's 401 causes one new token and one retry. `WorkerAuth` is for `httpx2` and `RequestsWorkerAuth` for `requests`; `lyftdata.client.httpx_auth` and
`lyftdata.client.aiohttp_auth` import those libraries, which `lyftdata` does not install.

The other side, checking a Worker, is `lyftdata.verify`. How to use this: docs/how-to/check-workers-in-a-service.md.
"""

from lyftdata.client.errors import (
    OriginNotAllowedError,
    TokenRefusedError,
    TokenUnavailableError,
    WorkerAuthError,
)
from lyftdata.client.httpx2_auth import WorkerAuth
from lyftdata.client.requests_auth import RequestsWorkerAuth
from lyftdata.client.token_keeper import TokenKeeper, TokenOptions
from lyftdata.core.errors import InvalidInputError, SettingsError

__all__ = [
    "InvalidInputError",
    "OriginNotAllowedError",
    "RequestsWorkerAuth",
    "SettingsError",
    "TokenKeeper",
    "TokenOptions",
    "TokenRefusedError",
    "TokenUnavailableError",
    "WorkerAuth",
    "WorkerAuthError",
]
