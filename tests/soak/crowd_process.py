"""The process of the light Workers, as seen from the soak test."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class CrowdProcess:
    """
    Light Workers in a separate process.

    Args:
        port: The port of the Servers' load balancer.
        environ: Additional environment variables, for its clock.
    """

    def __init__(self, port: int, environ: Mapping[str, str], log: Path) -> None:
        self._log = log.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.crowd", "127.0.0.1", str(port)],
            env={"PATH": os.environ["PATH"], **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=ROOT,
        )

    def add(self, workers: Iterable[tuple[str, str]]) -> None:
        """Add Workers, given by ID and credential: an API key or the PEM of an identity key."""
        self._send(kind="add", workers=list(workers))

    def use(self, workers: Iterable[tuple[str, str]]) -> None:
        """Give Workers another credential."""
        self._send(kind="use", workers=list(workers))

    def state(self) -> dict[str, Any]:
        """Return which Workers are online, and when each was last admitted, by the monotonic clock of this machine."""
        self._send(kind="state")
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the light Workers have ended: see {self._log.name}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            assert stream is not None
            stream.close()

    def _send(self, **order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
