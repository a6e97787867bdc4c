"""Identity directories of enrolled Workers, as on hosts: they count signatures, and can be copied."""

import secrets
import shutil
from pathlib import Path
from typing import Any, Self

import httpx2
from tests.deployment import Deployment

from lyftdata.client.counter_file import CounterFile
from lyftdata.core.identity_keys import IdentityKey


class IdentityDirectory:
    """
    The directory of one Worker, which signs with the next number of its counter.

    Args:
        path: Where it is.
        worker_id: The Worker's ID.
        key: Its identity key.
    """

    def __init__(self, path: Path, worker_id: str, key: IdentityKey) -> None:
        path.mkdir(mode=0o700, exist_ok=True)
        self.path = path
        self.worker_id = worker_id
        self.key = key
        self.counter = CounterFile(path)

    @classmethod
    async def enroll(cls, server: Deployment, path: Path, *, name: str = "press") -> Self:
        """Enroll a Worker and make its directory."""
        worker_id, key = await server.enrolled(name)
        return cls(path, worker_id, key)

    def copy(self, path: Path) -> Self:
        """Copy the directory, as a thief or a virtual machine template does."""
        shutil.copytree(self.path, path)
        return type(self)(path, self.worker_id, self.key)

    def sign(self, server: Deployment, **changes: Any) -> str:
        """Return an assertion with the next number."""
        given = {"counter": self.counter.take_number(), "jti": secrets.token_hex(8)} | changes
        return server.assertion(self.key, self.worker_id, **given)

    async def token(
        self, server: Deployment, *, http: httpx2.AsyncClient | None = None, **changes: Any
    ) -> httpx2.Response:
        """Request a token as the agent does, and record the outcome in the directory."""
        answer = await server.token_by_assertion(self.sign(server, **changes), http=http)
        if answer.status_code == 200:
            self.counter.note_accepted()
        elif answer.json().get("code") == "identity_cloned":
            self.counter.note_refused(answer.json()["reference"])
        return answer
