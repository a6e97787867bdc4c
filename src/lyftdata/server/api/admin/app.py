"""The application of the admin API: everything that the command line and the pages do, behind one policy table."""

from fastapi import FastAPI

import lyftdata
from lyftdata.server.admin.schemas.base import Problem
from lyftdata.server.api.admin import (
    account,
    api_keys,
    api_tokens,
    approvals,
    audit,
    change_requests,
    enrollment,
    enrollment_keys,
    event_destinations,
    events,
    fleet_policy,
    incidents,
    operators,
    refusals,
    registrations,
    resources,
    second_factors,
    signing_keys,
    status,
    workers,
)
from lyftdata.server.http import problems
from lyftdata.server.http.body_limit import BodyLimit
from lyftdata.server.http.cross_site import SameSiteJson
from lyftdata.server.http.no_store import NoStore
from lyftdata.server.runtime.services import Services

_PROBLEM = {
    "model": Problem,
    "description": "An error (RFC 9457).",
    "content": {"application/problem+json": {}},
}


def admin_app(services: Services | None = None) -> FastAPI:
    """
    Return the admin API, to be mounted at `/api`.

    Args:
        services: The Server's parts; None to generate only the OpenAPI document.
    """
    app = FastAPI(
        title="lyftdata admin API",
        version=lyftdata.__version__,
        # The interactive pages would load scripts from other sites; the document itself is served.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={"4XX": _PROBLEM, "5XX": _PROBLEM},
        # Secret disclosure: it would report requests, and the texts of exceptions, to any tracing that it finds in the process.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    app.state.services = services
    app.add_middleware(BodyLimit)
    # Outside of what reads bodies: a request from another site is not even read.
    app.add_middleware(SameSiteJson, issuer=None if services is None else services.issuer)
    app.add_middleware(NoStore)
    problems.install(app)
    for module in (
        account,
        workers,
        registrations,
        api_keys,
        resources,
        event_destinations,
        enrollment,
        enrollment_keys,
        approvals,
        refusals,
        audit,
        signing_keys,
        status,
        fleet_policy,
        incidents,
        events,
        operators,
        second_factors,
        change_requests,
        api_tokens,
    ):
        app.include_router(module.router)
    return app
