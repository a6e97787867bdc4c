"""
Limits requests of operators: a few of each at a time, and cheap answers to one that exceeds its budget.

What every Worker calls does not come by here (`app`). A flood by one operator costs what its budget allows; what goes
beyond is held for a moment and rejected, before it is routed or the database is asked.
"""

import asyncio
from collections import Counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lyftdata.core.errors import TooManyRequestsError
from lyftdata.server.admin.operator_budget import COST_PER_KIB, OperatorBudget
from lyftdata.server.http.problems import problem
from lyftdata.server.http.responses import ErrorPage, no_page

# Requests of one operator whose answers are being made. Each may hold the event loop for tens of milliseconds, and a
# Worker's request waits for all of those that are ready before it.
_AT_ONCE = 3
_MAX_WAITING = 100
# A client that asks again at once is slowed down by this much each time, on each of its connections.
_HELD_FOR_S = 1.0
_MAX_HELD = 64
_IDENTIFIED = "lyftdata.identified_operators"


def note_operator(scope: Scope, operator: str) -> None:
    """Say whose request it is, once that is known: its answer is charged to that operator."""
    identified: list[str] | None = scope.get(_IDENTIFIED)
    if identified is not None:
        identified.append(operator)


class OperatorGate:
    """
    ASGI middleware.

    Args:
        app: The application behind it.
        budget: What each operator has left.
        error_page: Makes the page for a browser that is rejected; others get a problem (RFC 9457).
    """

    def __init__(self, app: ASGIApp, budget: OperatorBudget, *, error_page: ErrorPage = no_page) -> None:
        self._app = app
        self._budget = budget
        self._error_page = error_page
        self._lines: dict[str, asyncio.Semaphore] = {}
        self._waiting: Counter[str] = Counter()
        self._held: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, in its turn, and charge its operator for the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        operator = self._budget.operator_of(scope["headers"])
        if operator is None:
            # A session that was not seen before waits for nothing. Its operator pays all the same.
            await _Answer(self._app, self._budget, None).send(scope, receive, send)
            return
        line = self._lines.setdefault(operator, asyncio.Semaphore(_AT_ONCE))
        if not self._budget.wait_s(operator) and self._waiting[operator] < _MAX_WAITING:
            self._waiting[operator] += 1
            try:
                await line.acquire()
            finally:
                self._waiting[operator] -= 1
            # Those that waited before it may have spent what there was.
            if not self._budget.wait_s(operator):
                await _Answer(self._app, self._budget, line).send(scope, receive, send)
                return
            line.release()
        await self._reject_over_budget(operator, scope, receive, send)

    async def _reject_over_budget(self, operator: str, scope: Scope, receive: Receive, send: Send) -> None:
        wait_s = self._budget.wait_s(operator)
        is_held = self._held[operator] < _MAX_HELD
        if is_held:
            self._held[operator] += 1
            try:
                await asyncio.sleep(min(wait_s, _HELD_FOR_S))
            finally:
                self._held[operator] -= 1
        error = TooManyRequestsError(wait_s)
        headers = {"Retry-After": str(error.wait_s)} | ({} if is_held else {"Connection": "close"})
        page = self._error_page(scope, error)
        response = page or problem(429, error.code, error.message, hint=error.hint)
        response.headers.update(headers)
        await response(scope, receive, send)


class _Answer:
    """One request whose turn has come: it frees its place when its answer begins, and is charged for its size."""

    def __init__(self, app: ASGIApp, budget: OperatorBudget, line: asyncio.Semaphore | None) -> None:
        self._app = app
        self._budget = budget
        self._line = line

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the answer made and sent."""
        identified: list[str] = []
        scope[_IDENTIFIED] = identified

        async def send_and_charge(message: Message) -> None:
            # An event stream goes on for hours after it has begun.
            self._leave_queue()
            for operator in identified[:1]:
                self._budget.charge(operator, len(message.get("body", b"")) / 1024 * COST_PER_KIB)
            await send(message)

        try:
            await self._app(scope, receive, send_and_charge)
        finally:
            self._leave_queue()

    def _leave_queue(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.release()
