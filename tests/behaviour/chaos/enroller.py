"""
Enroll many Workers, each in its own directory, with the Worker's own code; the process may be killed and started again.

    python -m tests.behaviour.chaos.enroller URL DIRECTORY COUNT

Prints `NAME ID` once an identity is on the disk, which is when the Worker would use it.
"""

import asyncio
import os
import sys
from pathlib import Path

from lyftdata.client.credentials import Credential
from lyftdata.core.secret import Secret
from lyftdata.current_secrets import CurrentEnrollmentKey
from lyftdata.log import configure_logging
from lyftdata.worker.client import ServerClient, ServerUnreachableError
from lyftdata.worker.identity.credentials import choose_credential
from lyftdata.worker.identity.enrollment import enroll
from lyftdata.worker.identity.state import StateDirectory
from lyftdata.worker.settings import read_worker_settings

_AT_ONCE = 8


async def one(name: str, url: str, root: Path, gate: asyncio.Semaphore) -> None:
    """Enroll one Worker, with retries through any fault, and print its name and ID."""
    environ = {"LYFTDATA_URL": url, "LYFTDATA_WORKER_NAME": name, "LYFTDATA_JOBS_DIR": str(root / name)}
    settings = read_worker_settings(environ | {"LYFTDATA_AUTO_ENROLLMENT_KEY": os.environ["SECRET"]})
    enrollment_key = CurrentEnrollmentKey(settings.enrollment_key or Secret(""))
    directory = StateDirectory(settings.jobs_dir)
    async with gate:
        client = ServerClient(settings)
        with directory.locked():
            credential: Credential | None = choose_credential(settings, directory)
            while credential is None:
                try:
                    credential = await enroll(settings, directory, client, enrollment_key)
                except ServerUnreachableError:
                    await asyncio.sleep(0.05)
        await client.aclose()
    print(name, credential.worker_id, flush=True)


async def main(url: str, root: str, count: str) -> None:
    """Enroll all of them, a few at a time."""
    # Standard output is only for what was enrolled.
    configure_logging(format="json", level="info", stream=sys.stderr)
    gate = asyncio.Semaphore(_AT_ONCE)
    await asyncio.gather(*(one(f"w-{n:04}", url, Path(root), gate) for n in range(int(count))))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
