"""A real Server with many Workers: entries, keys and identity keys in its database, and credentials in files for the load."""

import asyncio
import contextlib
import itertools
import os
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks.harness import Served, serving
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from tests.fleets import (
    add_enrolled,
    add_with_keys,
    assertion_body,
    insert_rows,
    key_row,
    secret_body,
    worker_record,
)
from tests.processes import free_port

from lyftdata.core.api_keys import generate_api_key
from lyftdata.core.records import Strategy
from lyftdata.server.clock import random_bytes
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services
from lyftdata.store import WriteTx, schema
from lyftdata.store.rows import to_row

PASSWORD = "correct horse battery"  # noqa: S105 - of these runs alone
ENROLLMENT_KEY = "Zt8qYw3nV5rKc1xLm7Pb2Hd9Gf4Js6Ua"
_A_TRANSACTION = 2_000


class Fleet:
    """
    The state of a Server with many Workers, half a kilobyte each.

    Args:
        place: A directory that is not used for anything else.
        by_key: The number of Workers with an API key each, as the UI issues them.
        enrolled: The number of Workers with an identity key.
        one_key: Whether the Workers with an API key all share one.
        environ: Additional settings of the Server.
    """

    def __init__(
        self,
        place: Path,
        *,
        by_key: int = 0,
        enrolled: int = 0,
        one_key: bool = False,
        environ: Mapping[str, str] = {},
    ) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        self.url = f"http://127.0.0.1:{free_port()}"
        self.environ = {
            "LYFTDATA_STAGING_DIR": str(place / "staging"),
            "LYFTDATA_BIND_ADDRESS": self.url.removeprefix("http://"),
            "LYFTDATA_PUBLIC_URL": self.url,
            "LYFTDATA_ADMIN_INIT_PASSWORD": PASSWORD,
            "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY,
            **environ,
        }
        self.keys: list[tuple[str, str]] = []
        """Worker ID and API key."""
        self.identities: list[tuple[str, bytes]] = []
        """Worker ID and identity key, PKCS #8 DER."""
        self._one_key = generate_api_key(random_bytes) if one_key else None
        self.key_name = "shared-key"
        """The name of the shared key."""
        asyncio.run(self._fill(by_key, enrolled))

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    async def _fill(self, by_key: int, enrolled: int) -> None:
        async with open_services(read_server_settings(self.environ)) as services:
            for begin in range(0, by_key, _A_TRANSACTION):
                batch = range(begin, min(by_key, begin + _A_TRANSACTION))
                self.keys += await services.store.write(partial(self._add_by_key, numbers=batch))
            for begin in range(0, enrolled, _A_TRANSACTION):
                batch = range(begin, min(enrolled, begin + _A_TRANSACTION))
                self.identities += await services.store.write(partial(_add_enrolled, numbers=batch))

    def _add_by_key(self, tx: WriteTx, numbers: range) -> list[tuple[str, str]]:
        if self._one_key is None:
            return add_with_keys(tx, numbers)
        if numbers.start == 0:
            insert_rows(tx, schema.api_keys, [key_row(self._one_key, self.key_name, for_all=True)])
        made = [worker_record(number, "w", Strategy.API_KEY) for number in numbers]
        insert_rows(tx, schema.workers, [to_row(worker) for worker in made])
        return [(worker.id, self._one_key.text.reveal()) for worker in made]

    @contextlib.contextmanager
    def served(self) -> Iterator[Served]:
        """Run the Server with this state, as users run it."""
        command = [sys.executable, "-m", "lyftdata", "run", "server"]
        with serving(
            command,
            log=self.place / "server.log",
            is_ready=lambda: answers(f"{self.url}/readyz"),
            environ=self.environ,
        ) as served:
            yield served

    def post_bodies(self) -> Path:
        """Write a `client_secret_post` body for each Worker; return the file."""
        file = self.place / "bodies"
        file.write_text(
            "".join(f"{secret_body(worker_id, key)}\n" for worker_id, key in self.keys), encoding="ascii"
        )
        return file

    def assertion_bodies(self, count: int) -> Path:
        """Write `count` `private_key_jwt` bodies, Workers in turn, single use and valid for four minutes; return the file."""
        file = self.place / "assertions"
        chosen = list(itertools.islice(itertools.cycle(self.identities), count))
        with ProcessPoolExecutor(1) as elsewhere:
            bodies = elsewhere.submit(_signed_bodies, chosen, self.url).result()
        file.write_text("".join(f"{body}\n" for body in bodies), encoding="ascii")
        return file


def answers(url: str) -> bool:
    """Return whether the URL answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except OSError:
        return False


def _add_enrolled(tx: WriteTx, numbers: range) -> list[tuple[str, bytes]]:
    return [
        (worker_id, private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
        for worker_id, private in add_enrolled(tx, numbers)
    ]


def _signed_bodies(identities: list[tuple[str, bytes]], audience: str) -> list[str]:
    os.sched_setaffinity(0, {1})
    now = int(datetime.now(UTC).timestamp())
    keys = {
        worker_id: load_der_private_key(der, password=None) for worker_id, der in dict(identities).items()
    }
    return [_signed_body(keys[worker_id], worker_id, audience, now) for worker_id, _ in identities]


def _signed_body(key: object, worker_id: str, audience: str, now: int) -> str:
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - narrows a type
    return assertion_body(key, worker_id, audience, now=now)
