"""
The COMMAND over the agent's life: started when the Worker is let in, stopped when it is not, started again.

    work = Work(["./press"], environ=os.environ, on_end=agent.stop)
    await work.ensure(worker_id="press-01", worker_name=None, server="https://lyft.example")
    await work.stop()          # on the Server's order; a later `ensure` starts it again
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from lyftdata.worker.child import Child


class Work:
    """
    Keeps at most one run of the COMMAND going.

    Args:
        command: Program and arguments; empty for a Worker that only stays connected.
        environ: What the COMMAND inherits, less the Worker's secrets.
        on_end: Called when the COMMAND ends by itself; not when it was stopped from here.
    """

    def __init__(
        self, command: Sequence[str], *, environ: Mapping[str, str], on_end: Callable[[], None]
    ) -> None:
        self._command = list(command)
        self._environ = environ
        self._on_end = on_end
        self._child: Child | None = None
        self._ending: asyncio.Task[int] | None = None
        self.exit_code: int | None = None
        """How the last run ended, as a shell would say it; None while one goes on, or before the first."""

    async def ensure(self, *, worker_id: str, worker_name: str | None, server: str) -> None:
        """Start the COMMAND unless it runs; raises CommandError when it cannot be started."""
        if not self._command or self._child is not None:
            return
        identity = {"LYFTDATA_URL": server, "LYFTDATA_WORKER_ID": worker_id}
        if worker_name:
            identity["LYFTDATA_WORKER_NAME"] = worker_name
        self._child = await Child.start(self._command, environ=self._environ, identity=identity)
        self.exit_code = None
        self._ending = asyncio.create_task(self._child.wait())
        self._ending.add_done_callback(self._ended)

    async def stop(self) -> None:
        """End the COMMAND and all it started; returns when they are gone."""
        child, self._child = self._child, None
        ending, self._ending = self._ending, None
        if child is None or ending is None:
            return
        if ending.done():
            self.exit_code = ending.result()
            return
        ending.cancel()
        self.exit_code = await child.stop()

    def _ended(self, task: asyncio.Task[int]) -> None:
        if task is self._ending and not task.cancelled():
            self._on_end()
