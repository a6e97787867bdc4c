"""
Records which refusals the Servers actually answered in a test run.

A cause counts when it decided an answer that was sent to a Worker, a service or a proxy, or when an answer contains its
reference. A line in a test, or an error that a test makes itself, does not count. Neither does what an operator's request
does to a Worker that has not been notified yet. Each process appends its answers to one file: test
processes, those of pytest-xdist, and the Servers that `tests/prefork.py` forks.

This module does not import pytest, since Server processes do not. `tests/whole_run.py` reads the file.
"""

import contextlib
import os
import re
import sys
from collections import OrderedDict
from collections.abc import MutableMapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

# Passed to the process that forks Servers, which inherits nothing else.
FILE_VARIABLE = "ANSWERED_REFUSALS_FILE"
_REFERENCE = re.compile(rb'"reference": ?"([0-9A-Z]{8})"')
_MAX_REFERENCES = 10_000
# The paths of Workers, and of services and proxies that ask about them.
_FOR_WORKERS = ("/oauth2/", "/auth/", "/api/worker/")

_decided: ContextVar[set[str] | None] = ContextVar("decided", default=None)


class Recorder:
    """
    Records what the Servers in this process answer.

    Args:
        file: Codes are appended to it, one per line.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._noted: set[str] = set()
        self._by_reference: OrderedDict[str, str] = OrderedDict()
        self._installed = False

    def install(self) -> None:
        """Start to watch the Servers in this process, unless the Server has not been imported yet for another reason."""
        if self._installed or "lyftdata.app" not in sys.modules:
            return
        self._installed = True
        from lyftdata.app import _App
        from lyftdata.server.admission.refusal_log import RefusalLog

        for owner, method, watch in (
            (RefusalLog, "record", self._watch_decision),
            (RefusalLog, "record_unchecked", self._watch_decision),
            (_App, "__call__", self._watch_answers),
        ):
            setattr(owner, method, watch(getattr(owner, method)))

    def _watch_decision(self, record: Any) -> Any:
        def watched(*args: Any, **kwargs: Any) -> Any:
            public = record(*args, **kwargs)
            code = public.code
            self._by_reference[public.reference] = code
            if len(self._by_reference) > _MAX_REFERENCES:
                self._by_reference.popitem(last=False)
            decided = _decided.get()
            if decided is not None:
                decided.add(code)
            return public

        return watched

    def _watch_answers(self, call: Any) -> Any:
        async def watched(app: Any, scope: Any, receive: Any, send: Any) -> None:
            decided: set[str] = set()

            async def send_and_note(message: MutableMapping[str, Any]) -> None:
                # Before it is sent, since a test may end this Server as soon as it has read it.
                if message["type"] == "http.response.body":
                    self._note(decided | self._codes_in(message.get("body", b"")))
                await send(message)

            is_for_workers = scope["type"] == "http" and scope["path"].startswith(_FOR_WORKERS)
            token = _decided.set(decided if is_for_workers else None)
            try:
                await call(app, scope, receive, send_and_note)
            finally:
                _decided.reset(token)

        return watched

    def _codes_in(self, body: bytes) -> set[str]:
        """Return the causes of the references in a body, since the end of a session is decided before it is answered."""
        found = (self._by_reference.get(reference.decode()) for reference in _REFERENCE.findall(body))
        return {code for code in found if code is not None}

    def _note(self, codes: set[str]) -> None:
        # A short line is appended in one piece, even if other processes write at the same time.
        for code in codes - self._noted:
            with contextlib.suppress(OSError), self.file.open("ab", buffering=0) as stream:
                stream.write(f"{code}\n".encode())
                self._noted.add(code)


def recorder_of_forked_servers() -> Recorder | None:
    """Return the recorder for Servers that this process will fork, or None if the test process named no file."""
    file = os.environ.get(FILE_VARIABLE)
    return Recorder(Path(file)) if file else None


def missing_causes(file: Path) -> list[str]:
    """Return the codes of the causes that no Server has answered."""
    from lyftdata.core.refusals import all_causes

    answered = set(file.read_text(encoding="utf-8").split())
    return [cause.code for cause in all_causes() if cause.code not in answered]
