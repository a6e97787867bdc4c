"""`GET /auth/verify`: whether a proxy may let a request through (nginx `auth_request`, `forward_auth`)."""

import string
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from lyftdata.core.names import format_labels
from lyftdata.core.records import WorkerRecord
from lyftdata.core.refusals import RefusedError
from lyftdata.server.dpop import DpopNonceError
from lyftdata.server.routes.bearer import nonce_response, verified_worker
from lyftdata.server.services import Services
from lyftdata.server.verification import VerifiedWorker
from lyftdata.server.wire import RAW_NO_STORE, RawResponse, client_address, refusal_response

# Whatever is printable, but `#`: clients quote more or less of the rest, and proofs name it as it was sent.
_IN_A_TARGET = string.punctuation.replace("#", "")


async def verify(request: Request) -> Response:
    """Answer 204 and who the Worker is, or 401."""
    services: Services = request.app.state.services
    try:
        verified = await verified_worker(request, services, proved_for=lambda: _original(request, services))
    except DpopNonceError:
        return nonce_response(services)
    except RefusedError as refused:
        # The caller is a proxy that asks for many: failures are counted, but not against its address.
        answer = services.refusals.record(refused, address=client_address(request.scope), limited=False)
        return refusal_response(
            answer, error="invalid_token", status=401, proved_error="invalid_token", proved_status=401
        )
    return RawResponse(204, identity_headers(verified))


def _original(request: Request, services: Services) -> tuple[str, str]:
    """
    Return the method and the URL of the request that a proxy asks about: a proof of possession is for that one.

    As Traefik's and Caddy's forward_auth say it by themselves, and nginx as it is told. Whoever makes these up without
    a proxy fools nobody but himself.

    Host and target are what the client sent, and not every proxy looks at them: `Host: service/public?` must not make
    the path that is asked for a mere query, nor a `#` cut it short. So each is quoted but for what it may hold, and
    what should not be there makes an address that no proof is for.
    """
    headers = request.headers
    method = headers.get("x-forwarded-method", request.method)
    if "x-forwarded-uri" not in headers:
        return method, f"{services.issuer}{request.scope['path']}"
    scheme = quote(headers.get("x-forwarded-proto", request.scope["scheme"]), safe="")
    host = quote(headers.get("x-forwarded-host", headers.get("host", "")), safe=":[]")
    target = quote(headers["x-forwarded-uri"], safe=_IN_A_TARGET, encoding="latin-1")
    return method, f"{scheme}://{host}/{target.removeprefix('/')}"


def identity_headers(verified: VerifiedWorker) -> tuple[tuple[bytes, bytes], ...]:
    """
    Return who the Worker is, as headers.

    The name is percent-encoded UTF-8: a header holds no other text safely, and a name is chosen by strangers.
    """
    worker = verified.worker
    known = _headers_of.get(worker.id)
    # The very entry: one that has changed is another object.
    if known is not None and known[0] is worker:
        return known[1]
    if len(_headers_of) >= _MOST_REMEMBERED:
        _headers_of.clear()
    headers = _identity_headers(worker)
    _headers_of[worker.id] = worker, headers
    return headers


# Name and labels are put into words anew for an entry that has changed, and not for each of its Worker's requests.
_headers_of: dict[str, tuple[WorkerRecord, tuple[tuple[bytes, bytes], ...]]] = {}
_MOST_REMEMBERED = 10_000


def _identity_headers(worker: WorkerRecord) -> tuple[tuple[bytes, bytes], ...]:
    return (
        *RAW_NO_STORE,
        (b"x-lyftdata-worker-id", worker.id.encode()),
        (b"x-lyftdata-worker-name", quote(worker.name, safe=" ").encode()),
        (b"x-lyftdata-worker-strategy", worker.strategy.encode()),
        (b"x-lyftdata-worker-labels", format_labels(worker.labels).encode()),
    )
