"""Finds what Workers and other clients do that should not happen: credentials used from elsewhere, copies, endless registrations, silence."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from lyftdata.core.durations import describe_span, format_duration
from lyftdata.core.networks import network_of_host
from lyftdata.core.records import IdentityCopyRecord, TokenOriginRecord, WorkerRecord
from lyftdata.core.registration_groups import RegistrationGroup
from lyftdata.core.scopes import UNLIMITED
from lyftdata.core.text import count
from lyftdata.core.times import format_minute
from lyftdata.core.worker_query import parse_worker_query
from lyftdata.server.admin.alerts.marking import KEY_OF_A_COPY
from lyftdata.server.admin.schemas.status import Alert, AlertKind
from lyftdata.server.admin.worker_queries import WorkerQueries
from lyftdata.server.admission.directory import Directory

_COPY_SEEN_WITHIN = timedelta(hours=1)


def tokens_from_elsewhere(found: Sequence[tuple[WorkerRecord, TokenOriginRecord]]) -> list[Alert]:
    """Return an alert for each Worker a token of which was requested from a network that is not its session's."""
    return [
        Alert(
            kind=AlertKind.OTHER_NETWORK,
            subject=worker.id,
            key=worker.id,
            worker_id=worker.id,
            about=[network_of_host(origin.address)],
            title=f"A token of {worker.name} was asked for from {origin.address}",
            detail=f"The Worker was connected from {origin.session_address}, in another network, at {format_minute(origin.elsewhere_at)}.",
        )
        for worker, origin in found
    ]


def more_tokens_from_elsewhere(number: int) -> Alert:
    """Return the alert that counts the Workers that are not shown."""
    title = f"{number:,} more Workers with tokens asked for from another network"
    return Alert(kind=AlertKind.OTHER_NETWORK, subject="", title=title)


def copied_identities(
    copies: Sequence[IdentityCopyRecord], directory: Directory, now: datetime
) -> list[Alert]:
    """Return an alert for each copy that still asks; one that has not asked for an hour is only on its Worker's page."""
    return [
        Alert(
            kind=AlertKind.DUPLICATE,
            subject=copy.reference,
            # Not the reference: a copy that does not send it gets a different one for each request, and each would be an event.
            key=f"{KEY_OF_A_COPY}{copy.worker_id}",
            worker_id=worker.id,
            title=f"The identity of {worker.name} is used from a second directory",
            detail=f"Accepted: {copy.other_host or '?'} ({copy.other_address}). Refused: {copy.host or '?'} ({copy.address}).",
        )
        for copy in copies
        if now - copy.last_at <= _COPY_SEEN_WITHIN
        and (worker := directory.find_worker(copy.worker_id)) is not None
    ]


async def inactive_workers(workers: WorkerQueries, archive_after: timedelta | None) -> list[Alert]:
    """Return one alert for Workers that an operator added and that may be gone: they are never archived, and their keys still work."""
    if archive_after is None:
        return []
    span = format_duration(archive_after)
    wanted = parse_worker_query(f"strategy:api_key inactive:>{span}")
    found = [worker for worker in await workers.find(wanted, scope=UNLIMITED) if worker.enabled]
    if not found:
        return []
    have = "has" if len(found) == 1 else "have"
    return [
        Alert(
            kind=AlertKind.INACTIVE,
            subject=span,
            key=span,
            about=[worker.id for worker in found],
            title=f"{count(len(found), 'Worker')} with an API key {have} not been active for {describe_span(archive_after)}",
            detail="If they are gone, delete them: their API keys still work.",
        )
    ]


def repeated_registrations(groups: Sequence[RegistrationGroup]) -> list[Alert]:
    """Return an alert for each client that registers again at each start."""
    return [
        Alert(
            kind=AlertKind.REPEATED_REGISTRATIONS,
            subject=group.name,
            key=f"{group.name}:{group.address}",
            title=f"A client at {group.address} registers again and again as {group.name}",
            detail=f"{count(len(group.replaced), 'registration')} that it has replaced by later ones. Let it keep its key between starts, or "
            "give it an enrollment key for ephemeral Workers.",
        )
        for group in groups
    ]


def more_repeated_registrations(number: int) -> Alert:
    """Return the alert that counts the clients that are not shown."""
    title = f"{number:,} more clients that register again and again"
    return Alert(kind=AlertKind.REPEATED_REGISTRATIONS, subject="", title=title)
