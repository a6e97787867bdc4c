"""Examines a Worker's host, in the order in which a start would meet each fault."""

from collections.abc import Callable, Mapping
from datetime import datetime

from lyftdata.bounded_http import proxy_for
from lyftdata.client.server_clock import ServerClock, utc_now
from lyftdata.core.errors import SettingsError
from lyftdata.doctor import findings
from lyftdata.doctor.findings import Finding, each_problem, is_stopped_by
from lyftdata.doctor.network import Target, check_connection
from lyftdata.doctor.server_answers import check_answers
from lyftdata.doctor.worker_host import check_host
from lyftdata.worker.client import ServerClient
from lyftdata.worker.settings import WorkerSettings, read_worker_settings

_SEE_ALL = "Correct it, then run `lyftdata config check worker` to see the settings as they are read."


async def examine_worker(
    environ: Mapping[str, str],
    *,
    announce: Callable[[float], None] | None = None,
    now: Callable[[], datetime] = utc_now,
) -> list[Finding]:
    """
    Return everything that is wrong with a Worker's set-up, in the order in which its start would meet it.

    Asks the Server for its metadata and, if this host has a credential, for a token. Changes nothing here, and does not disturb
    the Worker if it is running.

    Args:
        environ: The environment that the Worker is started with.
        announce: Called with the seconds for which a request will be held; None skips the check of held requests.
        now: For tests: this host's time, aware UTC.
    """
    try:
        settings = read_worker_settings(environ)
    except SettingsError as error:
        return list(each_problem(findings.SETTING_INVALID, error, _SEE_ALL))
    found = list(check_host(settings, environ))
    if not is_stopped_by(found):
        found += await _check_server(settings, announce=announce, now=now)
    return found


async def _check_server(
    settings: WorkerSettings, *, announce: Callable[[float], None] | None, now: Callable[[], datetime]
) -> list[Finding]:
    try:
        proxy = proxy_for(settings.url)
    except SettingsError as error:
        fix = "Correct the variable, or name the Server's host in NO_PROXY."
        return list(each_problem(findings.PROXY_UNUSABLE, error, fix))
    # Behind a proxy, the request itself checks name and certificate.
    found = [] if proxy is not None else list(check_connection(_target(settings), now=now()))
    if is_stopped_by(found):
        return found
    clock = ServerClock(now=now)
    client = ServerClient(settings, clock=clock)
    try:
        return [
            *found,
            *[finding async for finding in check_answers(settings, client, clock, announce=announce)],
        ]
    finally:
        await client.aclose()


def _target(settings: WorkerSettings) -> Target:
    return Target(settings.url, tls_ca=settings.tls_ca, insecure=settings.tls_insecure)
