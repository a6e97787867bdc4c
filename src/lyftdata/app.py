"""
Builds the Server's ASGI application.

What every Worker calls (token, register, session, verify) is plain Starlette; the admin API is FastAPI,
mounted next to it (docs/decisions/0001 says what was measured).
"""

from collections.abc import Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from lyftdata.core.log_events import Level
from lyftdata.server.api import (
    auth_verify,
    discovery,
    ext_authz,
    health,
    identity_key,
    oauth_authorize,
    oauth_register,
    oauth_token,
    oauth_token_checks,
    rabbitmq,
    worker_session,
)
from lyftdata.server.api.admin.app import admin_app
from lyftdata.server.api.operator_gate import OperatorGate
from lyftdata.server.http.freshness import FreshnessMiddleware
from lyftdata.server.http.oauth_errors import OAuthError, oauth_error_response
from lyftdata.server.http.overload import COME_BACK_AFTER_S, NO_POLLS_AFTER_S, NO_TOKENS_AFTER_S
from lyftdata.server.http.published import PUBLISHED_METHODS
from lyftdata.server.http.responses import temporarily_unavailable
from lyftdata.server.runtime.services import Services
from lyftdata.store import StoreError, UnstorableError
from lyftdata.web.gate import (
    early_error_page,
    failed,
    method_not_allowed,
    not_found,
    path_not_found,
    query_rejected,
)
from lyftdata.web.routes import web_routes
from lyftdata.web.shared import SharedValues

Endpoint = Callable[[Request], Awaitable[Response]]
RenderMetrics = Callable[[], Awaitable[bytes]]


# Endpoints that cost more than a 503, and whose callers retry by themselves: after how many seconds of queueing they are shed.
_SHED_AFTER_S: Mapping[Endpoint, float] = {
    oauth_token.token: NO_TOKENS_AFTER_S,
    oauth_register.register: NO_TOKENS_AFTER_S,
    worker_session.session: NO_POLLS_AFTER_S,
}


# What every Worker takes all the time, by method and path; each is a route as well.
_HOT: Mapping[tuple[str, str], Endpoint] = {
    ("POST", "/oauth2/token"): oauth_token.token,
    ("POST", "/oauth2/register"): oauth_register.register,
    ("POST", "/api/worker/session"): worker_session.session,
    ("GET", "/auth/verify"): auth_verify.verify,
}


class _App(Starlette):
    """
    Starlette, asked only for what is not among the few paths that every Worker takes all the time.

    Its middleware and its search through the routes take as long as all that a token needs besides its signature. A
    path with another method than its own goes the long way too, and is refused there.
    """

    def __init__(self, services: Services, render_metrics: RenderMetrics | None) -> None:
        super().__init__(
            routes=all_routes(services),
            exception_handlers={
                StoreError: _store_failed,
                404: not_found,
                405: method_not_allowed,
                500: failed,
            },
            middleware=[Middleware(OperatorGate, budget=services.budget, error_page=early_error_page)],
        )
        # A redirect would repeat a body with a key in it at an address made of the request's own headers.
        self.router.redirect_slashes = False
        self.state.services = services
        self.state.shared = SharedValues(services)
        self.state.render_metrics = render_metrics or services.metrics.render_alone
        self._overload = services.overload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._find_frequent_endpoint(scope) if scope["type"] == "http" else None
        if endpoint is None:
            rejected = await _reject_null(self, scope) if scope["type"] == "http" else None
            await (rejected or super().__call__)(scope, receive, send)
            return
        after_s = _SHED_AFTER_S.get(endpoint)
        if after_s is not None and self._overload.should_shed(after_s):
            await _overloaded_response()(scope, receive, send)
            return
        scope["app"] = self
        request = Request(scope, receive, send)
        try:
            response = await endpoint(request)
        except StoreError as error:
            response = await _store_failed(request, error)
        await response(scope, receive, send)

    def _find_frequent_endpoint(self, scope: Scope) -> Endpoint | None:
        method, path = scope["method"], scope["path"]
        found = _HOT.get((method, path))
        if found is not None:
            return found
        if method == "GET" and path.startswith(auth_verify.PREFIX):
            return auth_verify.verify_for_service
        # Envoy asks with the method of the request that it asks about, and that may be any.
        return ext_authz.ext_authz if path.startswith(ext_authz.PREFIX) else None


def create_app(services: Services, render_metrics: RenderMetrics | None = None) -> ASGIApp:
    """
    Return the whole Server as one ASGI application.

    Args:
        services: The parts of the Server.
        render_metrics: Returns the answer to Prometheus where this is one of several processes.
    """
    app: ASGIApp = _App(services, render_metrics)
    if services.store.is_shared:
        app = FreshnessMiddleware(app, services.store, error_page=early_error_page)
    return app if services.trace_requests is None else services.trace_requests(app)


def all_routes(services: Services) -> list[BaseRoute]:
    """Return every path that the Server answers."""
    return [
        Route("/oauth2/authorize", oauth_authorize.authorize, methods=["GET", "POST"]),
        Route("/oauth2/token", oauth_token.token, methods=["POST"]),
        Route("/oauth2/nonce", oauth_token.nonce, methods=["POST"]),
        Route("/oauth2/register", oauth_register.register, methods=["POST"]),
        Route("/oauth2/register/{worker_id}", oauth_register.manage, methods=["GET", "PUT", "DELETE"]),
        Route("/oauth2/introspect", oauth_token_checks.introspect, methods=["POST"]),
        Route("/oauth2/revoke", oauth_token_checks.revoke, methods=["POST"]),
        Route("/api/worker/identity-key", identity_key.register_next, methods=["POST"]),
        Route("/api/worker/session", worker_session.session, methods=["POST"]),
        Route("/auth/verify", auth_verify.verify, methods=["GET"]),
        Route(auth_verify.PREFIX + "{resource}", auth_verify.verify_for_service, methods=["GET"]),
        Route("/auth/rabbitmq/user", rabbitmq.user, methods=["POST"]),
        Route("/auth/rabbitmq/vhost", rabbitmq.vhost, methods=["POST"]),
        Route("/auth/rabbitmq/resource", rabbitmq.resource, methods=["POST"]),
        Route("/auth/rabbitmq/topic", rabbitmq.topic, methods=["POST"]),
        Route("/auth/rabbitmq/connections", rabbitmq.connections, methods=["POST"]),
        _public("/.well-known/oauth-authorization-server", discovery.authorization_server),
        _public("/.well-known/openid-configuration", discovery.openid_configuration),
        _public("/.well-known/jwks.json", discovery.jwks),
        _public("/.well-known/lyftdata-audit-key", discovery.audit_key),
        Route("/healthz", health.healthz),
        Route("/readyz", health.readyz),
        Route("/metrics", health.metrics),
        Mount("/api", admin_app(services)),
        *web_routes(),
    ]


async def _reject_null(app: Starlette, scope: Scope) -> Response | None:
    """
    Return the answer to a null character in a path or a query, or None where there is none.

    Nothing has it in its name, and PostgreSQL takes it in no text: a search for it would be a failure of the database.
    """
    if "\0" in scope["path"]:
        return await path_not_found(Request(dict(scope, app=app)))
    if b"%00" in scope["query_string"]:
        return await query_rejected(Request(dict(scope, app=app)))
    return None


def _public(path: str, endpoint: Endpoint) -> Route:
    return Route(path, endpoint, methods=PUBLISHED_METHODS)


def _overloaded_response() -> Response:
    return temporarily_unavailable(
        "The Server is asked for more than it can answer.", retry_after_s=COME_BACK_AFTER_S
    )


async def _store_failed(request: Request, error: Exception) -> Response:
    """Tell Workers to come back: a full disk is an outage, not a refusal. Not those who sent what cannot be stored."""
    if isinstance(error, UnstorableError):
        return oauth_error_response(OAuthError("invalid_request", error.message))
    services: Services = request.app.state.services
    # While the database takes no changes at all, that is logged as an error by the writer's watch.
    level: Level = "error" if services.store.writer_health.is_writing() else "warning"
    services.request_failures.failed(level=level, problem=str(error))
    return temporarily_unavailable("The Server cannot write its state.", retry_after_s=5)
