"""
Many Workers in one process, with the clock of their hosts: `python -m tests.soak.crowd HOST PORT`.

They never give up: one that is cut off keeps retrying, like an attacker who has its credential. Orders are JSON lines on
standard input; `state` is answered with a line on standard output.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.lean_workers import LeanWorker, Tally, allow_many_connections

_MAX_LINE = 16 * 1024 * 1024
_RETRY_S = 2.0


class PersistentWorker(LeanWorker):
    """A Worker that keeps retrying after the Server's directive to stop, and knows when it was last admitted."""

    let_in_s = 0.0
    """When the last request that was answered with success was sent, by the monotonic clock of this machine."""
    asking: tuple[str, float] | None = None
    """The path of the pending request, and when it was sent; None if there is no pending request."""

    def use(self, credential: str | ec.EllipticCurvePrivateKey) -> None:
        """Log in with another credential from now on, even if the token is still valid."""
        self._credential = credential
        self._token = None

    async def _obey(self) -> None:
        self._tally.online.discard(self.worker_id)
        await asyncio.sleep(_RETRY_S)

    async def _ask(
        self, path: bytes, body: bytes, *, within_s: float, bearer: str = ""
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        sent_s = time.monotonic()
        self.asking = path.decode(), sent_s
        try:
            answer = await super()._ask(path, body, within_s=within_s, bearer=bearer)
        finally:
            self.asking = None
        if answer[0] == 200 and b'"stop"' not in answer[2]:
            self.let_in_s = sent_s
        return answer


class Crowd:
    """The Workers in this process, by ID."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._tally = Tally()
        self._workers: dict[str, PersistentWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def obey(self, order: dict[str, Any]) -> None:
        """Execute an order from standard input."""
        match order["kind"]:
            case "add":
                for worker_id, credential in order["workers"]:
                    self._add(worker_id, credential)
            case "use":
                for worker_id, credential in order["workers"]:
                    self._workers[worker_id].use(read_credential(credential))
            case "state":
                print(json.dumps(self._state()), flush=True)

    def _add(self, worker_id: str, credential: str) -> None:
        worker = PersistentWorker(
            worker_id, read_credential(credential), host=self._host, port=self._port, tally=self._tally
        )
        self._workers[worker_id] = worker
        self._tasks[worker_id] = asyncio.create_task(worker.run())

    def _state(self) -> dict[str, Any]:
        return {
            "online": sorted(self._tally.online),
            "let_in_s": {worker_id: worker.let_in_s for worker_id, worker in self._workers.items()},
            "asking": {worker_id: worker.asking for worker_id, worker in self._workers.items()},
            "ended": [worker_id for worker_id, task in self._tasks.items() if task.done()],
            "answers": dict(self._tally.answers),
        }


def read_credential(text: str) -> str | ec.EllipticCurvePrivateKey:
    """Return an API key unchanged, or an identity key from its PEM."""
    if not text.startswith("-----BEGIN"):
        return text
    key = serialization.load_pem_private_key(text.encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


async def main(arguments: Sequence[str]) -> None:
    """Execute orders until standard input ends."""
    allow_many_connections()
    host, port = arguments
    crowd = Crowd(host, int(port))
    reader = asyncio.StreamReader(limit=_MAX_LINE)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        crowd.obey(json.loads(line))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
