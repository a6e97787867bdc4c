"""Runs the Server: listens, serves until a signal arrives, and shuts down cleanly."""

import asyncio
import contextlib
import functools
import gc
import os
import random
import resource
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import cast

import msgspec
import uvicorn

from lyftdata.app import create_app
from lyftdata.certificate_reload import certificate_kept_fresh
from lyftdata.core.errors import LyftdataError
from lyftdata.core.log_events.common import CONFIGURATION_WARNING
from lyftdata.core.log_events.server import READY, STOPPING
from lyftdata.hardening import hide_from_other_programs
from lyftdata.keepalive import keepalive_options
from lyftdata.log import configure_logging, emit, get_logger
from lyftdata.processes.link import SupervisorLink
from lyftdata.processes.merged_metrics import merge_metrics
from lyftdata.processes.supervisor import Supervisor
from lyftdata.server.http.forwarded import ForwardedAddresses
from lyftdata.server.http.handshakes import with_bounded_handshakes
from lyftdata.server.http.protocol import BoundedHttpProtocol
from lyftdata.server.runtime.drain import drained_within_s
from lyftdata.server.runtime.services import Services
from lyftdata.server.runtime.settings import ServerSettings
from lyftdata.server.runtime.settings_values import BindAddress
from lyftdata.server.runtime.start_checks import check_files
from lyftdata.server.runtime.tls_files import server_context
from lyftdata.server.runtime.trace_switch import traced
from lyftdata.server.runtime.wiring.open_services import open_services
from lyftdata.service_manager import Notifier

_log = get_logger(__name__)

_BACKLOG = 4096
# Held polls have been answered by then; this is for requests that are being answered.
_STOP_WITHIN_S = 5
# Pending writes, once all requests have ended.
_WRITTEN_WITHIN_S = 30
# One of several processes that has not ended by then hangs.
_KILLED_AFTER_S = 10
_CLOSE = (b"connection", b"close")
_OUTAGE_CHECK_S = 1.0
_NOT_WRITING = "The database takes no changes: the log says why (writes_unavailable)."
# The writer's thread computes for a while at a time, and the event loop waits for its turn at each read and write. With
# Python's default of 5 ms, writing one second's traces of a busy fleet delayed every answer by a tenth of a second.
_SWITCH_INTERVAL_S = 0.0005
# Thresholds of Python's garbage collector for its three generations. With its defaults it paused a Server with 10,000
# held polls every few seconds.
_GC_THRESHOLDS = (10_000, 20, 50)


class ListenError(LyftdataError):
    """The address to listen on is taken or cannot be used."""

    code = "cannot_listen"


def run_server(settings: ServerSettings) -> int:
    """
    Run the Server until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a clean stop, 1 when it could not listen. With several processes it is returned in each.

    Raises:
        ListenError: The address is in use, not one of this host, or not allowed.
        SettingsError: A file or directory that the settings name cannot be used.
    """
    # The enrollment key, the secret key and the database's password may have come in its environment.
    hide_from_other_programs()
    # Everything the Server writes (database, its WAL, keys) is its own alone.
    os.umask(0o077)
    _allow_many_connections()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.set_threshold(*_GC_THRESHOLDS)
    configure_logging(format=settings.log_format, level=settings.log_level)
    # The address and the files come first: a Server that cannot start must not have touched its state.
    with listen(settings.bind_address) as listening:
        check_files(settings)
        bound = msgspec.structs.replace(settings.bind_address, port=listening.getsockname()[1])
        settings = msgspec.structs.replace(settings, bind_address=bound)
        link = None
        if settings.processes > 1:
            # Shared by the processes for as long as none of them writes there, as their own collections would.
            _freeze_loaded_objects()
            outcome = _supervisor(settings, listening).run()
            if isinstance(outcome, int):
                return outcome
            # From here on in each process.
            link = outcome
            settings = msgspec.structs.replace(settings, process=link.number)
            configure_logging(format=settings.log_format, level=settings.log_level, process=link.number)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(settings, listening, link))


def _supervisor(settings: ServerSettings, listening: socket.socket) -> Supervisor:
    return Supervisor(
        count=settings.processes,
        notifier=Notifier(os.environ),
        stop_within_s=drained_within_s(settings.shutdown_delay)
        + _STOP_WITHIN_S
        + _WRITTEN_WITHIN_S
        + _KILLED_AFTER_S,
        stop_listening=listening.close,
        random=random.random,
    )


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


async def _serve(settings: ServerSettings, listening: socket.socket, link: SupervisorLink | None) -> int:
    async with traced(settings) as tracing, open_services(settings, tracing=tracing) as services:
        notifier = link or Notifier(os.environ)
        server = _Server(_config(settings, services, link), services, notifier, heeds_signals=link is None)
        for warning in services.warnings:
            emit(_log, CONFIGURATION_WARNING, problem=warning)
        connected = (
            contextlib.nullcontext() if link is None else link.connected(server, services.metrics.render)
        )
        async with certificate_kept_fresh(server, settings), _systemd_notified(notifier, services), connected:
            await server.serve([listening])
        return 0 if server.started else 1


@contextlib.asynccontextmanager
async def _systemd_notified(notifier: Notifier | SupervisorLink, services: Services) -> AsyncIterator[None]:
    """Notify systemd's watchdog while the event loop runs, and have `systemctl status` tell when the database takes no changes."""
    tasks = [
        asyncio.create_task(notifier.notify_watchdog()),
        asyncio.create_task(_notify_outages(notifier, services)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _notify_outages(notifier: Notifier | SupervisorLink, services: Services) -> None:
    was_writing = True
    while True:
        await asyncio.sleep(_OUTAGE_CHECK_S)
        is_writing = services.store.writer_health.is_writing()
        if is_writing != was_writing:
            notifier.notify(STATUS=_ready_text(services) if is_writing else _NOT_WRITING)
        was_writing = is_writing


def _ready_text(services: Services) -> str:
    return f"Ready: {services.issuer}"


def listen(address: BindAddress) -> socket.socket:
    """
    Return a socket that listens; port 0 takes a free one.

    Raises:
        ListenError: The address is in use, not one of this host, or not allowed.
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


def _config(
    settings: ServerSettings, services: Services, link: SupervisorLink | None = None
) -> uvicorn.Config:
    render_metrics = None if link is None else functools.partial(_metrics_of_all, services, link)
    return uvicorn.Config(
        ForwardedAddresses(create_app(services, render_metrics), trusted_proxies=settings.trusted_proxies),
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


async def _metrics_of_all(services: Services, link: SupervisorLink) -> bytes:
    """Return the metrics of all processes: whichever is asked, Prometheus must get the same series each time."""
    texts = await link.collect_metrics()
    return merge_metrics({**texts, link.number: services.metrics.render().decode()})


def _tls(cert: Path | None, key: Path | None) -> Callable[..., ssl.SSLContext] | None:
    """Return what makes the context that uvicorn serves by; None for plain HTTP."""
    if cert is None or key is None:
        return None
    return lambda *_uvicorns_own: server_context(cert, key)


class _Server(uvicorn.Server):
    """uvicorn that reports when it is ready, and drains before it stops listening."""

    def __init__(
        self,
        config: uvicorn.Config,
        services: Services,
        notifier: Notifier | SupervisorLink,
        *,
        heeds_signals: bool,
    ) -> None:
        super().__init__(config)
        self._services = services
        self._notifier = notifier
        self._heeds_signals = heeds_signals
        self._leaving: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """
        Stop at SIGTERM and SIGINT, then shut down in order; one of several processes ignores both to its end.

        uvicorn raises the signal again when it has stopped, which would end the process before pending writes are made and
        the store is closed.
        """
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        if not self._heeds_signals:
            # systemd and terminals send them to all processes: the supervisor gets them, and passes each on once.
            for number in numbers:
                signal.signal(number, signal.SIG_IGN)
            yield
            return
        for number in numbers:
            loop.add_signal_handler(number, self._signalled, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _signalled(self, number: int) -> None:
        if self._leaving is None:
            self.stop()
        else:
            self.hurry(number)

    def stop(self, siblings: frozenset[str] = frozenset()) -> None:
        """
        Drain, then stop; does nothing if it has begun.

        Args:
            siblings: IDs of Servers that stop at the same time: the other processes of this one.
        """
        if self._leaving is None:
            emit(_log, STOPPING)
            self._notify_stopping()
            self._leaving = asyncio.create_task(self._leave(siblings))

    def hurry(self, number: int = signal.SIGINT) -> None:
        """Drain no longer at the second signal; those after it are uvicorn's."""
        if not self.should_exit:
            self._services.drain.hurry()
        else:
            self.handle_exit(number, None)

    def _notify_stopping(self) -> None:
        # systemd's limit is for a Server that stops at once.
        within_s = self._services.drain.takes_at_most_s + _WRITTEN_WITHIN_S
        self._notifier.notify(
            STOPPING="1", STATUS="Stopping.", EXTEND_TIMEOUT_USEC=str(round(within_s * 1_000_000))
        )

    async def _leave(self, siblings: frozenset[str]) -> None:
        try:
            self._close_after_each_answer()
            await self._services.drain.run(
                open_requests=lambda: len(self.server_state.tasks),
                end_streams=self._end_streams,
                leaving_too=siblings,
            )
        finally:
            # At once: uvicorn checks only now and then whether it is to stop.
            self.handle_exit(signal.SIGTERM, None)
            self._release_polls()

    def _close_after_each_answer(self) -> None:
        """
        Have each answer say that it is the last of its connection.

        A client that keeps its connection would never be sent elsewhere by a balancer of connections, and its last request would
        meet the end of it.
        """
        for connection in self.server_state.connections:
            # No other protocol is served.
            cast("BoundedHttpProtocol", connection).close_after_answer()
        self.config.encoded_headers = [*self.config.encoded_headers, _CLOSE]
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]

    def _end_streams(self) -> None:
        self._services.held_requests.close()
        self._services.events.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _freeze_loaded_objects()
            self._services.overload.watch()
            _report_ready(self._services)
            # For the supervisor alone.
            own_id = {} if self._heeds_signals else {"X_SERVER": self._services.store.server_id}
            self._notifier.notify(READY="1", STATUS=_ready_text(self._services), **own_id)

    def _release_polls(self) -> None:
        self._services.overload.end()
        self._services.sessions.release_all()
        self._end_streams()


def _freeze_loaded_objects() -> None:
    """
    Exclude what is loaded by now, modules and the directory, from garbage collection: it stays until the end.

    A full collection stops every answer: with 10,000 held polls it took half a second.
    """
    gc.collect()
    gc.freeze()


def _report_ready(services: Services) -> None:
    settings = services.settings
    emit(
        _log,
        READY,
        address=str(settings.bind_address),
        issuer=services.issuer,
        staging_dir=str(settings.staging_dir),
        workers=services.directory.worker_count(),
        auto_enrollment="on" if services.enrollment.is_enabled() else "off",
    )
