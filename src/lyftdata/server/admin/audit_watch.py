"""Checks the whole audit log at startup and once a day, and logs if it was tampered with."""

import asyncio

from lyftdata.core.log_events.server import AUDIT_LOG_CHANGED, AUDIT_LOG_NOT_CHECKED
from lyftdata.log import emit, get_logger
from lyftdata.store import Store, StoreError

_log = get_logger(__name__)

_CHECK_EVERY_S = 86_400.0


class AuditWatch:
    """
    A background task.

    Args:
        store: Whose audit log.
        warnings: Shown to operators; a finding is added once.
    """

    def __init__(self, store: Store, warnings: list[str]) -> None:
        self._store = store
        self._warnings = warnings
        self._is_reported = False

    async def run(self) -> None:
        """Check now, and then once a day."""
        while True:
            await self.check()
            await asyncio.sleep(_CHECK_EVERY_S)

    async def check(self) -> None:
        """Check every event."""
        try:
            report = await self._store.verify_audit()
        except StoreError as error:
            emit(_log, AUDIT_LOG_NOT_CHECKED, problem=str(error))
            return
        if report.ok:
            return
        emit(
            _log,
            AUDIT_LOG_CHANGED,
            problem=report.problem,
            first_bad=report.first_bad,
            checked=report.checked,
        )
        if not self._is_reported:
            self._is_reported = True
            self._warnings.append(f"The audit log was changed. {report.problem} See: lyftdata audit verify")
