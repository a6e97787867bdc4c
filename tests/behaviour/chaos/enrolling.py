"""A load of enrollments that records what was acknowledged, through any fault of the Servers."""

import os
import subprocess
import sys
import threading
from pathlib import Path

from tests.builders import ENROLLMENT_KEY

ROOT = Path(__file__).parents[3]


class Enroller:
    """A process that enrolls Workers, and the enrollments that were acknowledged to it."""

    def __init__(self, url: str, root: Path, acknowledged: set[tuple[str, str]], count: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.behaviour.chaos.enroller", url, str(root), str(count)],
            env={"PATH": os.environ["PATH"], "HOME": str(root), "SECRET": ENROLLMENT_KEY},
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._acknowledged = acknowledged
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            # A line that a kill has cut does not count as acknowledged.
            if line.endswith("\n"):
                name, worker_id = line.split()
                self._acknowledged.add((name, worker_id))
        self.process.stdout.close()

    def end(self, *, kill: bool) -> int:
        """Wait for its end, or kill it; return the exit code."""
        if kill:
            self.process.kill()
        code = self.process.wait(180)
        self._reader.join()
        return code
