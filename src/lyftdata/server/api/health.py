"""Routes of `/healthz`, `/readyz` and `/metrics`."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from lyftdata.core.errors import LyftdataError
from lyftdata.server.http.forwarded import is_forwarded
from lyftdata.server.http.freshness import ensure_current
from lyftdata.server.runtime.services import Services


async def healthz(_request: Request) -> Response:
    """Say that the process lives."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """
    Say whether the Server can do its work: the store answers and takes changes, and what other Servers have changed is known.

    503 if not, 404 once it is about to stop.
    """
    services: Services = request.app.state.services
    if services.drain.has_begun:
        # 404 and not 503: HAProxy (`http-check disable-on-404`) then sends no new requests and leaves those alone that are being
        # answered. Every other load balancer takes it for any other failure.
        return PlainTextResponse("stopping\n", status_code=404)
    if not services.store.writer_health.is_writing():
        return PlainTextResponse("the store does not take changes\n", status_code=503)
    try:
        if services.store.is_shared:
            # A Server that receives the changes of its peers is answered by the database. Not asked by a reader: callers that send made-up
            # sessions keep those busy, and a load balancer would take every Server out for it.
            await ensure_current(services.store)
        else:
            await services.store.read(lambda conn: conn.exec_driver_sql("SELECT 1").scalar())
    except LyftdataError:
        return PlainTextResponse("the store does not answer\n", status_code=503)
    return PlainTextResponse("ready\n")


async def metrics(request: Request) -> Response:
    """
    Answer Prometheus; see `server.metrics` for why causes of refusals are not distinguished here.

    404 to a request that a proxy passes on: the metrics need no credential, so they are not for everyone who reaches the proxy. Nor would the
    numbers be of use behind a load balancer, since each Server counts for itself.
    """
    if is_forwarded(request.headers):
        return PlainTextResponse(
            "metrics are not given through a proxy: ask the Server at its own address\n", status_code=404
        )
    return Response(
        await request.app.state.render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8"
    )
