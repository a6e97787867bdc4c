"""The Server's background tasks: write what is pending, delete what has expired, publish to peers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from lyftdata.core.errors import LyftdataError
from lyftdata.core.log_events.server import (
    BACKGROUND_STEP_FAILED,
    BACKGROUND_TASK_FAILED,
    FINAL_FLUSH_FAILED,
    PEER_CHANGE_LOAD_FAILED,
)
from lyftdata.failure_log import FailureLog
from lyftdata.log import emit, get_logger
from lyftdata.server.admin.alerts.watch import AlertWatch
from lyftdata.server.admin.audit_retention import AuditRetention
from lyftdata.server.admin.audit_watch import AuditWatch
from lyftdata.server.admin.checkpoint_schedule import CheckpointSchedule
from lyftdata.server.runtime.services import Services
from lyftdata.server.runtime.writer_watch import WriterWatch
from lyftdata.store import StoreError, WriteTx
from lyftdata.store.tables import (
    enrollment_proofs,
    revoked_tokens,
)

_log = get_logger(__name__)

_FLUSH_EVERY_S = 1.0
_PRUNE_EVERY_S = 30.0
_ARCHIVE_EVERY_S = 600.0
_REMOVE_ABSENT_EVERY_S = 30.0
_ENABLE_EVERY_S = 2.0
_DELIVER_EVERY_S = 1.0
_ALERT_EVERY_S = 15.0
_LOOK_FOR_REPEATED_EVERY_S = 20.0
_COUNT_VERSIONS_EVERY_S = 60.0
_PRUNE_AUDIT_EVERY_S = 3_600.0
_WATCH_EVERY_S = 1.0
_PUBLISH_EVERY_S = 0.2
_BEAT_EVERY_S = 1.0
_END_LISTENERS_EVERY_S = 0.8
# A service manager usually waits a minute and a half; after that, what is not written is lost anyway.
_FLUSHED_WITHIN_S = 30.0


@contextlib.asynccontextmanager
async def background_tasks(services: Services) -> AsyncIterator[None]:
    """Run the background tasks during the block, and flush once more at its end."""
    checkpoints = CheckpointSchedule(services.checkpoints, services.warnings)
    await checkpoints.start()
    tasks = [
        asyncio.create_task(_every("flush", _FLUSH_EVERY_S, lambda: flush(services))),
        asyncio.create_task(_every("prune and rotate", _PRUNE_EVERY_S, lambda: prune_and_rotate(services))),
        asyncio.create_task(_every("end listeners", _END_LISTENERS_EVERY_S, lambda: end_listeners(services))),
        asyncio.create_task(_every("watch the writer", _WATCH_EVERY_S, WriterWatch(services.store).check)),
        asyncio.create_task(_every("archive Workers", _ARCHIVE_EVERY_S, lambda: archive_inactive(services))),
        asyncio.create_task(
            _every("remove absent Workers", _REMOVE_ABSENT_EVERY_S, lambda: remove_absent(services))
        ),
        asyncio.create_task(_every("enable Workers", _ENABLE_EVERY_S, lambda: enable_due(services))),
        asyncio.create_task(
            _every(
                "look for repeated registrations",
                _LOOK_FOR_REPEATED_EVERY_S,
                lambda: look_for_repeated(services),
            )
        ),
        asyncio.create_task(_every("look for alerts", _ALERT_EVERY_S, alert_watch(services).look)),
        asyncio.create_task(
            _every("count versions of agents", _COUNT_VERSIONS_EVERY_S, lambda: count_versions(services))
        ),
        asyncio.create_task(_every("deliver events", _DELIVER_EVERY_S, services.event_delivery.look)),
        asyncio.create_task(AuditWatch(services.store, services.warnings).run()),
        asyncio.create_task(checkpoints.run()),
    ]
    if services.store.is_shared:
        tasks += [
            asyncio.create_task(
                _every("publish to peers", _PUBLISH_EVERY_S, lambda: publish_to_peers(services))
            ),
            asyncio.create_task(_every("heartbeat", _BEAT_EVERY_S, services.cluster.send_heartbeat)),
            asyncio.create_task(
                _every("release stale polls", _PUBLISH_EVERY_S, services.cluster.release_polls_if_stale)
            ),
        ]
    if services.settings.audit_retention is not None:
        retention = AuditRetention(
            store=services.store,
            checkpoints=services.checkpoints,
            keep=services.settings.audit_retention,
            clock=services.clock,
        )
        tasks.append(
            asyncio.create_task(_every("prune the audit log", _PRUNE_AUDIT_EVERY_S, retention.prune))
        )
    if services.decisions is not None:
        tasks.append(asyncio.create_task(_every("log decisions", _FLUSH_EVERY_S, services.decisions.follow)))
    try:
        yield
    finally:
        services.events.close()
        for task in tasks:
            task.cancel()
        with services.store.aborting_stuck_connections(after_s=_FLUSHED_WITHIN_S):
            await asyncio.gather(*tasks, return_exceptions=True)
            await services.event_delivery.stop()
            note_presence(services)
            await _flush_everything(services, checkpoints)


async def _flush_everything(services: Services, checkpoints: CheckpointSchedule) -> None:
    """Write everything pending when the Server stops."""
    await _flush_at_stop("operators", services.password_check.aclose())
    await _flush_at_stop("traces and refusals", flush(services))
    await _flush_at_stop("uses of API keys", services.traces.flush_all())
    await _flush_at_stop("origins of tokens", services.token_origins.flush_all())
    await _flush_at_stop("counts of tokens", services.token_counts.flush_all(services.clock()))
    await _flush_at_stop("that this Server stops", services.cluster.deregister())
    if services.decisions is not None:
        await _flush_at_stop("decisions", services.decisions.follow())
    # After every other event.
    await _flush_at_stop("the last audit checkpoint", checkpoints.stop())


def alert_watch(services: Services) -> AlertWatch:
    """Return the task that records when alerts are raised and end."""
    return AlertWatch(
        store=services.store,
        alerts=services.alerts,
        fleet=services.fleet_queries,
        directory=services.directory,
        all_servers=services.cluster.all_servers,
        clock=services.clock,
    )


async def _flush_at_stop(what: str, writing: Awaitable[None]) -> None:
    """Flush during shutdown; a failure is logged and does not keep the Server from stopping."""
    try:
        await writing
    except StoreError as error:
        emit(_log, FINAL_FLUSH_FAILED, what=what, problem=str(error))
    except Exception:  # noqa: BLE001 - the other writes are tried all the same
        emit(_log, FINAL_FLUSH_FAILED, exc_info=True, what=what)


async def run_all(*steps: Callable[[], Awaitable[object]]) -> None:
    """
    Run several coroutines to the end, even if some fail.

    Raises:
        Exception: The first failure; the others are logged.
    """
    first: Exception | None = None
    for step in steps:
        try:
            await step()
        except Exception as error:  # noqa: BLE001
            # In an outage of the database all of them fail in the same way, which is reported once.
            if first is not None and str(error) != str(first):
                emit(_log, BACKGROUND_STEP_FAILED, step=getattr(step, "__qualname__", ""), problem=str(error))
            first = first or error
    if first is not None:
        raise first


async def flush(services: Services) -> None:
    """Write the pending activity, sessions, refusals, samples, origins and counts; the interval bounds what a crash can lose."""
    await run_all(
        services.traces.flush,
        services.admission.counters.flush,
        services.session_log.flush,
        services.refusals.flush,
        services.samples.flush,
        services.token_origins.flush,
        lambda: services.token_counts.flush(services.clock()),
        services.worker_archive.flush,
        services.api_token_uses.flush,
        services.refused_agents.flush,
        services.session_uses.flush,
    )


async def end_listeners(services: Services) -> None:
    """End the event streams whose session or API token has ended."""
    listening = services.events.session_ids()
    if listening:
        services.events.end_sessions(await services.callers.ended(listening))


async def publish_to_peers(services: Services) -> None:
    """Publish ended sessions and failed attempts to peers, and load their signing keys if that has failed."""
    await run_all(
        services.signing_keys.catch_up,
        services.cluster.flush,
        services.limits.flush,
        services.logins.flush,
        services.origin_watch.flush,
    )


async def prune_and_rotate(services: Services) -> None:
    """Rotate signing keys when due, expire approvals, and delete what has expired."""
    now = services.clock()
    services.admission.spent.forget_idle(now.timestamp())
    services.dpop.spent.forget_idle(now.timestamp())
    note_presence(services)
    services.directory.forget_expired_tokens(now)
    services.brokers.forget_deleted()

    def prune(tx: WriteTx) -> None:
        enrollment_proofs.prune(tx, now)
        revoked_tokens.prune(tx, now)

    # Keys first: tokens depend on them.
    await run_all(
        services.signing_keys.refresh,
        lambda: services.store.write(prune),
        services.cluster.prune,
        lambda: services.token_counts.prune(now),
        services.approvals.expire,
        services.change_requests.expire,
    )


async def archive_inactive(services: Services) -> None:
    """Archive Workers that have been inactive for long; pending activity is written first."""
    await flush(services)
    await services.worker_archive.archive_inactive()


async def remove_absent(services: Services) -> None:
    """Remove ephemeral Workers that have been absent; pending activity is written first."""
    await flush(services)
    await services.ephemeral_workers.remove_absent()


async def enable_due(services: Services) -> None:
    """Enable the Workers whose disabling has ended."""
    await services.disabled_workers.enable_due()


async def count_versions(services: Services) -> None:
    """Record how many agents there are of each version, once an hour."""
    await services.version_histories.look()


async def look_for_repeated(services: Services) -> None:
    """Find clients that register again at each start; pending activity is written first."""
    await flush(services)
    await services.repeated_registrations.look()


def note_presence(services: Services) -> None:
    """Record that every connected Worker is seen now, since a held poll does not record it."""
    for session in services.sessions:
        services.traces.worker_left(session.worker_id, at=services.clock())


async def _every(name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Call a function every `seconds`, for ever; a failure is logged, and the next call is made anyway."""
    failures = FailureLog(_log, BACKGROUND_TASK_FAILED)
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except StoreError as error:
            # The writer watch logs an outage of the database as an error, once for all tasks.
            failures.failed(level="warning", work=name, problem=str(error))
        except LyftdataError as error:
            failures.failed(work=name, problem=str(error))
        except Exception as error:  # noqa: BLE001 - the next round may succeed
            failures.failed(exception=error, work=name)
        else:
            failures.succeeded()


class DetachedTasks:
    """Work that a handler starts without waiting for it; a failure is logged."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task, and keep a reference until it is done."""
        task = asyncio.create_task(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait(self) -> None:
        """Wait until every started task is done."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except LyftdataError as error:
        emit(_log, PEER_CHANGE_LOAD_FAILED, problem=str(error))
    except Exception:  # noqa: BLE001 - nothing waits for this task to see it
        emit(_log, PEER_CHANGE_LOAD_FAILED, exc_info=True)
