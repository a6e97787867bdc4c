"""Signs a checkpoint of the audit log at startup, every hour and at shutdown, and reports if none can be signed."""

import asyncio

from lyftdata.core.errors import ConflictError
from lyftdata.core.log_events.server import AUDIT_CHECKPOINT_NOT_SIGNED
from lyftdata.log import emit, get_logger
from lyftdata.server.admin.audit_checkpoints import AuditCheckpoints, Occasion
from lyftdata.store import StoreError

_log = get_logger(__name__)

# Not a setting: what can be truncated unnoticed is what follows the last checkpoint outside the database, and an export signs its own.
_EVERY_S = 3_600.0
_MAX_WAITED_FOR = 20_000


class CheckpointSchedule:
    """
    A background task.

    Args:
        checkpoints: Signs them.
        warnings: Shown to operators; a finding is added once.
    """

    def __init__(self, checkpoints: AuditCheckpoints, warnings: list[str]) -> None:
        self._checkpoints = checkpoints
        self._warnings = warnings
        self._is_started = False

    async def start(self) -> None:
        """Sign before the first request is answered, unless that would take long: then `run` does it."""
        await self._sign_if_short(Occasion.START)

    async def run(self) -> None:
        """Sign every hour."""
        if not self._is_started:
            await self._sign(Occasion.START)
        while True:
            await asyncio.sleep(_EVERY_S)
            await self._sign(Occasion.HOUR)

    async def stop(self) -> None:
        """Sign the last one."""
        await self._sign_if_short(Occasion.STOP)

    async def _sign_if_short(self, occasion: Occasion) -> None:
        # Neither startup nor shutdown waits for the first checkpoint of a long log.
        try:
            is_short = await self._checkpoints.count_unsigned() <= _MAX_WAITED_FOR
        except StoreError as error:
            emit(_log, AUDIT_CHECKPOINT_NOT_SIGNED, level="warning", problem=str(error))
            return
        if is_short:
            self._is_started = True
            await self._sign(occasion)

    async def _sign(self, occasion: Occasion) -> None:
        try:
            await self._checkpoints.sign(occasion)
        except StoreError as error:
            emit(_log, AUDIT_CHECKPOINT_NOT_SIGNED, level="warning", problem=str(error))
        except ConflictError as error:
            emit(_log, AUDIT_CHECKPOINT_NOT_SIGNED, problem=str(error))
            warning = f"{error.message} {error.hint}"
            if warning not in self._warnings:
                self._warnings.append(warning)
