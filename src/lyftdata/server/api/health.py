"""Routes of `/healthz`, `/readyz` and `/metrics`."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from lyftdata.core.errors import LyftdataError
from lyftdata.server.http.forwarded import is_forwarded
from lyftdata.server.http.freshness import ensure_current
from lyftdata.server.runtime.services import Services


async def healthz(_request: Request) -> Response:
    """Answer that the process is alive."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """
    Answer whether the Server can do its work: the store answers and accepts changes, and the changes of peers are known.

    503 if not, 404 when it is about to stop.
    """
    services: Services = request.app.state.services
    if services.drain.has_begun:
        # 404, not 503: HAProxy (`http-check disable-on-404`) then sends no new requests, but does not interrupt those in
        # progress. Other load balancers treat it like any other failure.
        return PlainTextResponse("stopping\n", status_code=404)
    if not services.store.writer_health.is_writing():
        return PlainTextResponse("the store does not take changes\n", status_code=503)
    try:
        if services.store.is_shared:
            # A Server that receives its peers' changes knows that the database answers. Not queried by a reader: callers with made-up
            # sessions keep readers busy, and a load balancer would then take every Server out of service.
            await ensure_current(services.store)
        else:
            await services.store.read(lambda conn: conn.exec_driver_sql("SELECT 1").scalar())
    except LyftdataError:
        return PlainTextResponse("the store does not answer\n", status_code=503)
    return PlainTextResponse("ready\n")


async def metrics(request: Request) -> Response:
    """
    Answer Prometheus; see `server.metrics` for why causes of refusals are not distinguished here.

    404 to a request forwarded by a proxy: the metrics need no credential, so they must not be available to everyone who reaches the proxy.
    Nor would the numbers be useful behind a load balancer, since each Server counts for itself.
    """
    if is_forwarded(request.headers):
        return PlainTextResponse(
            "metrics are not given through a proxy: ask the Server at its own address\n", status_code=404
        )
    return Response(
        await request.app.state.render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8"
    )
