"""
Puts the Server together and runs it.

What every Worker calls (token, register, session, verify) is plain Starlette; the admin API is FastAPI,
mounted beside it (docs/decisions/0001 says what was measured).
"""

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from lyftdata.core.errors import LyftdataError, SettingsError
from lyftdata.core.log_events import Level
from lyftdata.core.log_events.common import CONFIGURATION_WARNING
from lyftdata.core.log_events.server import CERTIFICATE_RELOAD_FAILED, CERTIFICATE_RELOADED, READY, STOPPING
from lyftdata.hardening import hide_from_other_programs
from lyftdata.keepalive import keepalive_options
from lyftdata.log import configure_logging, emit, get_logger
from lyftdata.server.admin.operator_gate import OperatorGate
from lyftdata.server.api import (
    auth_verify,
    discovery,
    ext_authz,
    health,
    oauth_authorize,
    oauth_register,
    oauth_token,
    oauth_token_checks,
    rabbitmq,
    worker_session,
)
from lyftdata.server.api.admin.app import admin_app
from lyftdata.server.http.forwarded import ForwardedAddresses
from lyftdata.server.http.freshness import FreshnessMiddleware
from lyftdata.server.http.handshakes import with_bounded_handshakes
from lyftdata.server.http.oauth_errors import OAuthError, oauth_error_response
from lyftdata.server.http.overload import COME_BACK_AFTER_S, NO_POLLS_AFTER_S, NO_TOKENS_AFTER_S, Overload
from lyftdata.server.http.protocol import BoundedHttpProtocol
from lyftdata.server.http.published import PUBLISHED_METHODS
from lyftdata.server.http.responses import temporarily_unavailable
from lyftdata.server.runtime.services import Services
from lyftdata.server.runtime.settings import ServerSettings
from lyftdata.server.runtime.settings_values import BindAddress
from lyftdata.server.runtime.start_checks import check_files
from lyftdata.server.runtime.tls_files import check_tls_files, load_certificate, server_context
from lyftdata.server.runtime.wiring.open_services import open_services
from lyftdata.service_manager import Notifier
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

_log = get_logger(__name__)

_BACKLOG = 4096
# A held poll is released at once when the Server stops; this is for requests that are being answered.
_STOP_WITHIN_S = 5
_CERT_CHECK_EVERY_S = 30.0
_SWITCH_EVERY_S = 0.0005
# So many more objects made than dropped until Python looks for cycles among the newest; of each twenty such looks one goes to
# those that lived on, and of each fifty of these one to all.
_COLLECT_AFTER = (10_000, 20, 50)


class ListenError(LyftdataError):
    """The address to listen on is taken or cannot be used."""

    code = "cannot_listen"


Endpoint = Callable[[Request], Awaitable[Response]]
# What takes longer than to say no, and whose callers come back by themselves: after how many seconds of a turn they have to.
_TURNED_AWAY_AFTER_S: Mapping[Endpoint, float] = {
    oauth_token.token: NO_TOKENS_AFTER_S,
    oauth_register.register: NO_TOKENS_AFTER_S,
    worker_session.session: NO_POLLS_AFTER_S,
}


class _App(Starlette):
    """
    Starlette, asked only for what is not among the few paths that every Worker takes all the time.

    Its middleware and its search through the routes take as long as all that a token needs besides its signature. A
    path with another method than its own goes the long way too, and is refused there.
    """

    hot: Mapping[tuple[str, str], Endpoint] = {}
    """What answers by method and path; every one of them is a route as well."""
    overload: Overload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._find_hot(scope) if scope["type"] == "http" else None
        if endpoint is None:
            rejected = await _reject_null(self, scope) if scope["type"] == "http" else None
            await (rejected or super().__call__)(scope, receive, send)
            return
        after_s = _TURNED_AWAY_AFTER_S.get(endpoint)
        if after_s is not None and self.overload.turns_away(after_s):
            await _come_back()(scope, receive, send)
            return
        scope["app"] = self
        request = Request(scope, receive, send)
        try:
            response = await endpoint(request)
        except StoreError as error:
            response = await _store_failed(request, error)
        await response(scope, receive, send)

    def _find_hot(self, scope: Scope) -> Endpoint | None:
        method, path = scope["method"], scope["path"]
        found = self.hot.get((method, path))
        if found is not None:
            return found
        if method == "GET" and path.startswith(auth_verify.PREFIX):
            return auth_verify.verify_for_service
        # Envoy asks with the method of the request that it asks about, and that may be any.
        return ext_authz.ext_authz if path.startswith(ext_authz.PREFIX) else None


def create_app(services: Services) -> ASGIApp:
    """Return the whole Server as one ASGI application."""
    app = _routes(services)
    return (
        FreshnessMiddleware(app, services.store, error_page=early_error_page)
        if services.store.is_shared
        else app
    )


def _routes(services: Services) -> Starlette:
    app = _App(
        routes=[
            Route("/oauth2/authorize", oauth_authorize.authorize, methods=["GET", "POST"]),
            Route("/oauth2/token", oauth_token.token, methods=["POST"]),
            Route("/oauth2/nonce", oauth_token.nonce, methods=["POST"]),
            Route("/oauth2/register", oauth_register.register, methods=["POST"]),
            Route("/oauth2/register/{worker_id}", oauth_register.manage, methods=["GET", "PUT", "DELETE"]),
            Route("/oauth2/introspect", oauth_token_checks.introspect, methods=["POST"]),
            Route("/oauth2/revoke", oauth_token_checks.revoke, methods=["POST"]),
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
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
            Route("/metrics", health.metrics),
            Mount("/api", admin_app(services)),
            *web_routes(),
        ],
        exception_handlers={StoreError: _store_failed, 404: not_found, 405: method_not_allowed, 500: failed},
        middleware=[Middleware(OperatorGate, budget=services.budget, error_page=early_error_page)],
    )
    # A redirect would repeat a body with a key in it at an address made of the request's own headers.
    app.router.redirect_slashes = False
    app.state.services = services
    app.overload = services.overload
    app.state.shared = SharedValues(services)
    app.hot = {
        ("POST", "/oauth2/token"): oauth_token.token,
        ("POST", "/oauth2/register"): oauth_register.register,
        ("POST", "/api/worker/session"): worker_session.session,
        ("GET", "/auth/verify"): auth_verify.verify,
    }
    return app


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


def _come_back() -> Response:
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


def run_server(settings: ServerSettings) -> int:
    """
    Run the Server until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a clean stop, 1 when it could not listen.
    """
    # The enrollment key, the secret key and the database's password may have come in its environment.
    hide_from_other_programs()
    # Everything the Server writes (database, its WAL, keys) is its own alone.
    os.umask(0o077)
    _allow_many_connections()
    # The writer's thread computes for a while at a time. For as long as this the event loop waits for its turn, at each
    # read and each write: with Python's 5 ms a second's traces of a busy fleet held every answer up by a tenth of one.
    sys.setswitchinterval(_SWITCH_EVERY_S)
    gc.set_threshold(*_COLLECT_AFTER)
    configure_logging(format=settings.log_format, level=settings.log_level)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings))


def _allow_many_connections() -> None:
    """Raise the limit of open files to what the system allows: each connected Worker holds one connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems name a limit that the kernel then refuses; what was in force stays in force.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _loop_factory() -> "type[asyncio.AbstractEventLoop]":
    try:
        import uvloop
    except ImportError:
        return with_bounded_handshakes(asyncio.SelectorEventLoop)
    return with_bounded_handshakes(uvloop.Loop)


async def _serve(settings: ServerSettings) -> int:
    # The address and the files come first: a Server that cannot start must not have touched its state.
    with listen(settings.bind_address) as listening:
        check_files(settings)
        bound = msgspec.structs.replace(settings.bind_address, port=listening.getsockname()[1])
        settings = msgspec.structs.replace(settings, bind_address=bound)
        async with open_services(settings) as services:
            notifier = Notifier(os.environ)
            server = _Server(_config(settings, services), services, notifier)
            for warning in services.warnings:
                emit(_log, CONFIGURATION_WARNING, problem=warning)
            async with _certificate_kept_fresh(server, settings), _watchdog_kept(notifier):
                await server.serve([listening])
            return 0 if server.started else 1


@contextlib.asynccontextmanager
async def _watchdog_kept(notifier: Notifier) -> AsyncIterator[None]:
    """Notify systemd's watchdog while the event loop runs."""
    task = asyncio.create_task(notifier.keep_watchdog())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def listen(address: BindAddress) -> socket.socket:
    """
    Return a socket that listens; port 0 takes a free one.

    Raises:
        ListenError: The address is taken, not ours, or not allowed.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listening = socket.create_server(
            (address.host, address.port),
            family=family,
            backlog=_BACKLOG,
            # `::` means every interface, those of IPv4 too.
            dualstack_ipv6=address.host == "::" and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        raise ListenError(
            f"The Server cannot listen on {address}: {(error.strerror or str(error)).lower()}.",
            hint="Stop what is using it, or choose another LYFTDATA_BIND_ADDRESS.",
        ) from error
    # Connections that it accepts have them, too.
    for option in keepalive_options():
        listening.setsockopt(*option)
    return listening


def _config(settings: ServerSettings, services: Services) -> uvicorn.Config:
    return uvicorn.Config(
        ForwardedAddresses(create_app(services), trusted_proxies=settings.trusted_proxies),
        http=BoundedHttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        headers=[("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "same-origin")],
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_STOP_WITHIN_S,
        proxy_headers=False,
        ssl_context_factory=_tls(settings.tls_cert, settings.tls_key),
    )


def _tls(cert: Path | None, key: Path | None) -> Callable[..., ssl.SSLContext] | None:
    """Return what makes the context that uvicorn serves by; None for plain HTTP."""
    if cert is None or key is None:
        return None
    return lambda *_uvicorns_own: server_context(cert, key)


class _Server(uvicorn.Server):
    """uvicorn, which says when it is ready and lets held polls go before it waits for requests to end."""

    def __init__(self, config: uvicorn.Config, services: Services, notifier: Notifier) -> None:
        super().__init__(config)
        self._services = services
        self._notifier = notifier

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """
        Stop at SIGTERM and SIGINT, and then go on to the end.

        uvicorn raises the signal once more when it has stopped, which would end the process before what is
        pending is written and the store is closed.
        """
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self._stop, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _stop(self, number: int) -> None:
        """Let held polls go at once; uvicorn looks only now and then whether it is to stop."""
        self.handle_exit(number, None)
        self._let_go()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _leave_out_of_collections()
            self._services.overload.watch()
            _say_ready(self._services)
            self._notifier.tell(READY="1", STATUS=f"Ready: {self._services.issuer}")

    def _let_go(self) -> None:
        self._services.overload.end()
        self._services.sessions.release_all()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        emit(_log, STOPPING)
        self._notifier.tell(STOPPING="1", STATUS="Stopping.")
        self._let_go()
        self._services.events.close()
        await super().shutdown(sockets)


def _leave_out_of_collections() -> None:
    """
    Have Python look for cycles in what comes from now on alone: modules and the whole directory stay.

    Each look at everything stops every answer: with 10,000 held polls it took half a second, and Python's own thresholds
    brought one about every few seconds.
    """
    gc.collect()
    gc.freeze()


def _say_ready(services: Services) -> None:
    settings = services.settings
    emit(
        _log,
        READY,
        address=str(settings.bind_address),
        issuer=services.issuer,
        staging_dir=str(settings.staging_dir),
        workers=services.directory.worker_count(),
        auto_enrollment="on" if services.enrollment.keys else "off",
    )


@contextlib.asynccontextmanager
async def _certificate_kept_fresh(server: uvicorn.Server, settings: ServerSettings) -> AsyncIterator[None]:
    """Load a certificate again when it is renewed on disk; new connections get it, living ones stay."""
    if settings.tls_cert is None or settings.tls_key is None:
        yield
        return
    task = asyncio.create_task(_watch_certificate(server, settings.tls_cert, settings.tls_key))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch_certificate(server: uvicorn.Server, cert: Path, key: Path) -> None:
    seen = told = _stamp(cert, key)
    while True:
        await asyncio.sleep(_CERT_CHECK_EVERY_S)
        now = _stamp(cert, key)
        if now == seen or server.config.ssl is None:
            continue
        try:
            # Tried elsewhere first: a certificate without its key, half a renewal, would break the context in use.
            check_tls_files(cert, key)
            load_certificate(server.config.ssl, cert, key)
        except (OSError, SettingsError) as error:
            # Keep the one in force and look again.
            if now != told:
                emit(_log, CERTIFICATE_RELOAD_FAILED, problem=str(error))
            told = now
            continue
        seen = now
        emit(_log, CERTIFICATE_RELOADED)


def _stamp(*files: Path) -> list[tuple[int, int]]:
    try:
        return [(status.st_mtime_ns, status.st_ino) for status in (file.stat() for file in files)]
    except OSError:
        return []
