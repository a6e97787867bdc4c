"""
`GET /auth/verify`: decides for a proxy whether to pass a request on (nginx `auth_request`, Caddy and Traefik `forward_auth`).

`GET /auth/verify/{resource}` is the same for a proxy that names the service behind it. Only there are bound tokens (DPoP)
accepted, because a proof of possession names a host, which must be one that an operator has configured. What a proxy forwards as
the host is often the client's own Host header: with it, a service that received a proof could use it at another service
(docs/decisions/0015).
"""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lyftdata.core.records import ResourceRecord
from lyftdata.core.refusals import RefusedError, UnnamedServiceError
from lyftdata.core.resources import service_url
from lyftdata.server.admission.dpop import DpopNonceError
from lyftdata.server.api.bearer import nonce_response, verified_worker
from lyftdata.server.api.identity_headers import identity_headers
from lyftdata.server.api.refusal_response import refusal_response
from lyftdata.server.http.authorization_header import header_values
from lyftdata.server.http.client_address import client_address
from lyftdata.server.http.freshness import decide
from lyftdata.server.http.responses import RawResponse
from lyftdata.server.runtime.services import Services

PREFIX = "/auth/verify/"


class ProxyQuestion(msgspec.Struct, frozen=True):
    """
    A question from a proxy that names the service behind it.

    Attributes:
        resource_name: The resource in the proxy's configuration. If it does not exist, no request passes: a misspelled or deleted
            name is noticed at the first request, not when the first proof arrives.
        method: Of the forwarded request; None if the proxy does not send it.
        target: Its path and query as the client sent them, decoded as Latin-1; None if the proxy does not send them.
    """

    resource_name: str
    method: str | None
    target: str | None

    def resource(self, services: Services, *, worker_id: str) -> ResourceRecord:
        """Return the resource; raises UnnamedServiceError if it does not exist."""
        resource = services.directory.find_resource_by_name(self.resource_name)
        if resource is None:
            raise UnnamedServiceError(
                f"There is no resource '{self.resource_name}'.", claimed_worker=worker_id
            )
        return resource

    def proved_request(self, services: Services, *, worker_id: str) -> tuple[str, str]:
        """Return the method and URL that a proof must be for; raises UnnamedServiceError if the request is not for the service."""
        resource = self.resource(services, worker_id=worker_id)
        if self.method is None or self.target is None:
            raise UnnamedServiceError(
                "The proxy did not send X-Forwarded-Method and X-Forwarded-Uri, each exactly once.",
                claimed_worker=worker_id,
            )
        url = service_url(resource, self.target)
        if url is None:
            # Without the query, in which clients send secrets.
            path = self.target.partition("?")[0]
            raise UnnamedServiceError(
                f"The audience of the resource '{resource.name}' is {resource.audience}; the request was for {path}.",
                claimed_worker=worker_id,
            )
        return self.method, url


async def verify(request: Request) -> Response:
    """Answer 204 and who the Worker is, or 401. A proof of possession must be for this request itself, not for one behind a proxy."""
    services: Services = request.app.state.services
    return await _answered(
        request, services, status=204, proved_for=lambda worker_id: _own_request(request, services, worker_id)
    )


async def verify_for_service(request: Request) -> Response:
    """Answer like `verify`, to a proxy that names its resource."""
    question = ProxyQuestion(
        resource_name=request.scope["path"].removeprefix(PREFIX),
        method=_only_value(request, b"x-forwarded-method"),
        target=_only_value(request, b"x-forwarded-uri"),
    )
    return await answer_proxy(request, question, status=204)


async def answer_proxy(request: Request, question: ProxyQuestion, *, status: int) -> Response:
    """
    Answer a proxy's question: who the Worker is, or 401.

    Args:
        request: Carries the client's token, and its proof of possession if it has one.
        question: The service and the request that the proxy asks about.
        status: Of the response that lets the request pass.
    """
    services: Services = request.app.state.services
    return await _answered(
        request,
        services,
        status=status,
        proved_for=lambda worker_id: question.proved_request(services, worker_id=worker_id),
        check=lambda worker_id: question.resource(services, worker_id=worker_id),
    )


async def _answered(
    request: Request,
    services: Services,
    *,
    status: int,
    proved_for: Callable[[str], tuple[str, str]],
    check: Callable[[str], object] | None = None,
) -> Response:
    try:
        verified = await verified_worker(request, services, proved_for=proved_for)
        if check is not None:
            worker_id = verified.worker.id
            await decide(services.store, lambda: check(worker_id))
    except DpopNonceError:
        return nonce_response(services)
    except RefusedError as refused:
        # The caller is a proxy that asks on behalf of many: failures are counted, but not against its address.
        answer = services.refusals.record(refused, address=client_address(request.scope), limited=False)
        return refusal_response(
            answer, error="invalid_token", status=401, proved_error="invalid_token", proved_status=401
        )
    return RawResponse(status, identity_headers(verified))


def _own_request(request: Request, services: Services, worker_id: str) -> tuple[str, str]:
    """Return the method and URL of a request that is not a proxy's question about another one."""
    if "x-forwarded-uri" in request.headers:
        host = request.headers.get("x-forwarded-host", "")
        raise UnnamedServiceError(
            f"The proxy asked {request.scope['path']}, without a resource; it says that the request was for '{host}'.",
            claimed_worker=worker_id,
        )
    return request.method, f"{services.issuer}{request.scope['path']}"


def _only_value(request: Request, name: bytes) -> str | None:
    """Return a header's value. If there are two, either could be the client's."""
    values = header_values(request, name)
    return values[0].decode("latin-1") if len(values) == 1 else None
