"""Runs a Worker from start to end: opens its resources, and closes them in reverse order."""

import asyncio
import contextlib
import functools
import os
import random
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from typing import Any

from lyftdata.client.credentials import Credential
from lyftdata.client.token_endpoint import TokenReply
from lyftdata.core.log_events.common import CONFIGURATION_WARNING
from lyftdata.core.log_events.worker import WORKER_NAME_UNUSED
from lyftdata.hardening import hide_from_other_programs
from lyftdata.log import emit, get_logger
from lyftdata.service_manager import Notifier
from lyftdata.worker.agent import Agent
from lyftdata.worker.client import ServerClient
from lyftdata.worker.end_report import EndReport
from lyftdata.worker.identity.credentials import choose_credential
from lyftdata.worker.identity.enrollment import confirmed_identity
from lyftdata.worker.identity.state import StateDirectory
from lyftdata.worker.process.command import CommandProcess, check_command
from lyftdata.worker.process.reaper import Reaper
from lyftdata.worker.process.restart import RestartPolicy
from lyftdata.worker.process.signals import signals_passed_on
from lyftdata.worker.process.supervisor import CommandSupervisor
from lyftdata.worker.process.terminal import Terminal
from lyftdata.worker.settings import WorkerSettings, scrub_environment
from lyftdata.worker.tokens.provider import TokenProvider
from lyftdata.worker.tokens.runtime_dir import TOKEN_SOCKET, runtime_directory
from lyftdata.worker.tokens.socket import TokenSocket

_log = get_logger(__name__)


async def run_worker(
    settings: WorkerSettings, command: Sequence[str], *, end_report: EndReport, umask: int = -1
) -> int:
    """
    Run a Worker until SIGTERM, SIGINT, the end of its COMMAND, or a final refusal.

    Args:
        settings: The Worker's settings.
        command: The COMMAND to run while connected; empty for none.
        end_report: Gets the reason for an unrequested end; the caller reports an error that is raised.
        umask: The umask for the COMMAND; -1 for that of this process.

    Returns:
        0, the COMMAND's exit code, or 3 after a final refusal.

    Raises:
        SettingsError: Settings and directory contradict each other (exit 2).
        StateError: The directory cannot be written (exit 1).
        CommandError: The COMMAND cannot be started (exit 127 or 126).
    """
    hide_from_other_programs()
    environ = dict(os.environ)
    scrub_environment(os.environ)
    _warn(settings)
    directory = StateDirectory(settings.jobs_dir)
    credential = choose_credential(settings, directory)
    if command:
        check_command(command, environ)
    run = functools.partial(
        _run_agent,
        settings,
        command,
        directory=directory,
        environ=environ,
        end_report=end_report,
        umask=umask,
    )
    if credential is not None and credential.strategy.value == "api_key":
        if settings.worker_name is not None:
            emit(_log, WORKER_NAME_UNUSED)
        return await run(credential=credential)
    with directory.locked():
        directory.finish_replacement()
        # Checked again under the lock: another Worker may have enrolled into this directory in the meantime.
        return await run(credential=choose_credential(settings, directory))


def _warn(settings: WorkerSettings) -> None:
    for warning in settings.warnings:
        emit(_log, CONFIGURATION_WARNING, problem=warning)
    if settings.tls_insecure and settings.url.startswith("https:"):
        emit(
            _log,
            CONFIGURATION_WARNING,
            problem="LYFTDATA_TLS_INSECURE: the Server's certificate is not checked.",
        )


async def _run_agent(
    settings: WorkerSettings,
    command: Sequence[str],
    *,
    credential: Credential | None,
    directory: StateDirectory,
    environ: Mapping[str, str],
    end_report: EndReport,
    umask: int,
) -> int:
    notifier = Notifier(environ)
    async with contextlib.AsyncExitStack() as stack:
        client = ServerClient(settings)
        stack.push_async_callback(client.aclose)
        reaper = stack.enter_context(Reaper())
        provider = await stack.enter_async_context(_token_provider(settings, command, client, environ))
        launch = functools.partial(CommandProcess.start, command, environ=environ, reaper=reaper, umask=umask)
        terminal = stack.enter_context(_terminal(command))
        stop = asyncio.Event()
        supervisor = CommandSupervisor(
            launch if command else None,
            restart=RestartPolicy(settings.restart, chance=random.random),
            stop_grace_s=settings.stop_grace_s,
            on_end=stop.set,
            terminal=terminal,
        )
        agent = Agent(
            settings,
            client=client,
            directory=directory,
            supervisor=supervisor,
            provider=provider,
            notifier=notifier,
            end_report=end_report,
            stop=stop,
        )
        stack.enter_context(signals_passed_on(agent, supervisor))
        # Notifies systemd's watchdog as long as the event loop runs.
        await stack.enter_async_context(_running(notifier.notify_watchdog()))
        return await agent.run(credential)


@contextlib.asynccontextmanager
async def _token_provider(
    settings: WorkerSettings, command: Sequence[str], client: ServerClient, environ: Mapping[str, str]
) -> AsyncIterator[TokenProvider]:
    """Provide tokens; only with a COMMAND is there a directory for the token file and socket, which it reads."""
    if not command:
        yield TokenProvider(client, directory=None)
        return
    with runtime_directory(environ, jobs_dir=settings.jobs_dir) as path:
        provider = TokenProvider(client, directory=path)
        async with TokenSocket(provider).serving(path / TOKEN_SOCKET), _running(provider.keep_file()):
            yield provider


@contextlib.contextmanager
def _terminal(command: Sequence[str]) -> Iterator[Terminal | None]:
    terminal = Terminal.find() if command else None
    try:
        yield terminal
    finally:
        if terminal is not None:
            terminal.close()


@contextlib.asynccontextmanager
async def _running(keeping: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a task until the block ends."""
    task = asyncio.create_task(keeping)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def fetch_token(settings: WorkerSettings, *, audience: str | None = None) -> TokenReply:
    """
    Return a fresh worker token for the API key or the stored identity of this host; never enrolls.

    Args:
        settings: The Worker's settings.
        audience: The audience of the token; None for the Server.

    Raises:
        SettingsError: There is no credential.
        AudienceRefusedError, ServerUnreachableError, RefusedByServerError: As in `client`.
    """
    directory = StateDirectory(settings.jobs_dir)
    chosen = choose_credential(settings, directory)
    client = ServerClient(settings)
    try:
        credential = chosen or await confirmed_identity(settings, directory, client)
        return await client.token(credential, resource=audience)
    finally:
        await client.aclose()
