"""
`/auth/ext_authz/{resource}`: tells Envoy whether to pass a request on, with any method and the request's own path below it.

Envoy's `ext_authz` over HTTP keeps the method, appends path and query to its `path_prefix`, and takes 200 alone for yes. So
method and path of the question are those of the request; no header that a client could have sent is read for them.
"""

from starlette.requests import Request
from starlette.responses import Response

from lyftdata.server.api.auth_verify import ProxyQuestion, answer_proxy

PREFIX = "/auth/ext_authz/"
_RAW_PREFIX = PREFIX.encode()


async def ext_authz(request: Request) -> Response:
    """Answer 200 and who the Worker is, or 401."""
    # As it was sent, not decoded: a proof names the path so.
    raw_path: bytes = request.scope["raw_path"]
    if not raw_path.startswith(_RAW_PREFIX):
        # Another spelling of the prefix (`%2F`), which no proxy's configuration holds.
        return Response(status_code=404)
    name, _, target = raw_path.removeprefix(_RAW_PREFIX).decode("latin-1").partition("/")
    return await answer_proxy(request, ProxyQuestion(name, request.method, target), status=200)
