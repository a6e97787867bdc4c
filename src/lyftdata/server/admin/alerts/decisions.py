"""Finds what waits for an operator's decision: Workers pending approval, and actions that need a second operator."""

from collections.abc import Sequence

from lyftdata.core.change_requests import ChangeRequestRecord
from lyftdata.core.records import Approval
from lyftdata.core.text import count
from lyftdata.core.times import format_minute
from lyftdata.server.admin.alerts.marking import MAX_OF_A_KIND
from lyftdata.server.admin.schemas.status import Alert, AlertKind
from lyftdata.server.admission.approval_queue import MAX_PENDING, MAX_PENDING_OF_A_KEY
from lyftdata.server.admission.directory import Directory


def awaiting_approval(directory: Directory) -> list[Alert]:
    """Return one alert for all Workers that wait for approval."""
    pending = directory.pending()
    total = pending.total()
    if not total:
        return []
    full = total >= MAX_PENDING or max(pending.values()) >= MAX_PENDING_OF_A_KEY
    return [
        Alert(
            kind=AlertKind.APPROVAL,
            subject="",
            key="approval",
            about=[worker.id for worker in directory.workers() if worker.approval is Approval.PENDING],
            title=f"{count(total, 'Worker')} {'waits' if total == 1 else 'wait'} for approval",
            detail="No more are added until you have decided about some: if these are not your hosts, revoke the enrollment key."
            if full
            else "",
        )
    ]


def awaiting_second_operator(requests: Sequence[ChangeRequestRecord]) -> list[Alert]:
    """Return an alert for each of the first few requests, and one that counts the rest."""
    alerts = [
        Alert(
            kind=AlertKind.CHANGE_REQUEST,
            subject=record.id,
            key=record.id,
            title=f"{record.operator} asks for a second operator until {format_minute(record.expires_at)}",
            detail=record.asked.statement,
            requested_by=record.operator,
        )
        for record in requests[:MAX_OF_A_KIND]
    ]
    if len(requests) > MAX_OF_A_KIND:
        title = f"{count(len(requests) - MAX_OF_A_KIND, 'more request')} for a second operator"
        alerts.append(Alert(kind=AlertKind.CHANGE_REQUEST, subject="", title=title))
    return alerts
