"""
`/auth/ext_authz/{resource}`: decides for Envoy whether to pass a request on, with any method and the request's own path appended.

Envoy's `ext_authz` over HTTP keeps the method, appends path and query to its `path_prefix`, and only takes 200 as yes. So
the method and path of this request are those in question; they are not read from any header that a client could have sent.
"""

from starlette.requests import Request
from starlette.responses import Response

from lyftdata.server.api.auth_verify import ProxyQuestion, answer_proxy

PREFIX = "/auth/ext_authz/"
_RAW_PREFIX = PREFIX.encode()


async def ext_authz(request: Request) -> Response:
    """Answer 200 and who the Worker is, or 401."""
    # As sent, not decoded: a proof has the path in that form.
    raw_path: bytes = request.scope["raw_path"]
    if not raw_path.startswith(_RAW_PREFIX):
        # Another spelling of the prefix (`%2F`), which no proxy's configuration contains.
        return Response(status_code=404)
    name, _, target = raw_path.removeprefix(_RAW_PREFIX).decode("latin-1").partition("/")
    return await answer_proxy(request, ProxyQuestion(name, request.method, target), status=200)
