"""A Server of ours with a fleet: entries, keys and identity keys in its database, credentials in files for the load."""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from benchmarks.harness import Served, serving
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from sqlalchemy import Table, insert
from tests.processes import free_port

from lyftdata.core.api_keys import NewApiKey, generate_api_key
from lyftdata.core.identity_keys import IdentityKey
from lyftdata.core.records import ApiKeyRecord, Strategy, WorkerRecord
from lyftdata.server.clock import random_bytes, random_id
from lyftdata.server.services import open_services
from lyftdata.server.settings import read_server_settings
from lyftdata.store import WriteTx, schema
from lyftdata.store.rows import to_row

PASSWORD = "correct horse battery"  # noqa: S105 - of these runs alone
ENROLLMENT_KEY = "Zt8qYw3nV5rKc1xLm7Pb2Hd9Gf4Js6Ua"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_A_TRANSACTION = 2_000


class Fleet:
    """
    The state of a Server with so many Workers, half a kilobyte each.

    Args:
        place: A directory of its own.
        by_key: Workers with an API key of their own, as the UI issues them.
        enrolled: Workers with an identity key.
        one_key: Whether those by key share one, re-used as an operator may.
        environ: More settings of the Server.
    """

    def __init__(
        self, place: Path, *, by_key: int = 0, enrolled: int = 0, one_key: bool = False, **environ: str
    ) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        self.url = f"http://127.0.0.1:{free_port()}"
        self.environ = {
            "LYFTDATA_STAGING_DIR": str(place / "staging"),
            "LYFTDATA_BIND_ADDRESS": self.url.removeprefix("http://"),
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
        """What the key is called if all share one."""
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
                self.keys += await services.store.write(lambda tx, batch=batch: self._add_by_key(tx, batch))  # type: ignore[misc]
            for begin in range(0, enrolled, _A_TRANSACTION):
                batch = range(begin, min(enrolled, begin + _A_TRANSACTION))
                self.identities += await services.store.write(
                    lambda tx, batch=batch: _add_enrolled(tx, batch)
                )  # type: ignore[misc]

    def _add_by_key(self, tx: WriteTx, numbers: range) -> list[tuple[str, str]]:
        if self._one_key is None:
            return _add_with_keys(tx, numbers)
        if numbers.start == 0:
            _insert(tx, schema.api_keys, [_key_row(self._one_key, self.key_name, for_all=True)])
        made = [_worker(number, "w", Strategy.API_KEY) for number in numbers]
        _insert(tx, schema.workers, [to_row(worker) for worker in made])
        return [(worker.id, self._one_key.text.reveal()) for worker in made]

    @contextlib.contextmanager
    def served(self) -> Iterator[Served]:
        """Run the Server on this state, as users run it."""
        command = [sys.executable, "-m", "lyftdata", "run", "server"]
        with serving(
            command,
            log=self.place / "server.log",
            is_ready=lambda: answers(f"{self.url}/readyz"),
            environ=self.environ,
        ) as served:
            yield served

    def post_bodies(self) -> Path:
        """Write one `client_secret_post` body a Worker; return the file."""
        file = self.place / "bodies"
        file.write_text(
            "".join(f"{secret_body(worker_id, key)}\n" for worker_id, key in self.keys), encoding="ascii"
        )
        return file

    def assertion_bodies(self, count: int) -> Path:
        """Write so many `private_key_jwt` bodies, Workers in turn, each good once and for four minutes; return the file."""
        file = self.place / "assertions"
        chosen = list(itertools.islice(itertools.cycle(self.identities), count))
        with ProcessPoolExecutor(1) as elsewhere:
            bodies = elsewhere.submit(_signed_bodies, chosen, self.url).result()
        file.write_text("".join(f"{body}\n" for body in bodies), encoding="ascii")
        return file


def answers(url: str) -> bool:
    """Return whether something answers 200 there."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except OSError:
        return False


def secret_body(client_id: str, secret: str, **more: str) -> str:
    """Return the form of a token request (RFC 6749, section 4.4.2)."""
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, **more}
    return "&".join(f"{name}={quote_plus(value)}" for name, value in form.items())


def _worker(number: int, kind: str, strategy: Strategy, **fields: str) -> WorkerRecord:
    return WorkerRecord(
        id=f"{kind}-{number:06}",
        name=f"{kind} {number:06}",
        strategy=strategy,
        labels={"zone": f"eu-{number % 7}", "line": str(number % 100)},
        created_at=datetime.now(UTC),
        created_by="operator:admin",
        **fields,
    )


def _add_with_keys(tx: WriteTx, numbers: range) -> list[tuple[str, str]]:
    made = [(_worker(number, "w", Strategy.API_KEY), generate_api_key(random_bytes)) for number in numbers]
    _insert(tx, schema.workers, [to_row(worker) for worker, _ in made])
    _insert(tx, schema.api_keys, [_key_row(key, f"key-{worker.id}", for_all=False) for worker, key in made])
    scopes = [{"public_id": key.public_id, "worker_id": worker.id} for worker, key in made]
    _insert(tx, schema.api_key_workers, scopes)
    return [(worker.id, key.text.reveal()) for worker, key in made]


def _key_row(key: NewApiKey, name: str, *, for_all: bool) -> dict[str, Any]:
    record = ApiKeyRecord(
        public_id=key.public_id,
        name=name,
        digest=key.digest,
        for_all_workers=for_all,
        created_at=datetime.now(UTC),
        created_by="operator:admin",
    )
    row = to_row(record)
    del row["worker_ids"]
    return row


def _add_enrolled(tx: WriteTx, numbers: range) -> list[tuple[str, bytes]]:
    made = []
    for number in numbers:
        private = ec.generate_private_key(ec.SECP256R1())
        public = IdentityKey(private).public
        fields = {"public_jwk": public.canonical_jwk, "thumbprint": public.thumbprint}
        made.append((_worker(number, "e", Strategy.AUTO_ENROLLMENT, **fields), private))
    _insert(tx, schema.workers, [to_row(worker) for worker, _ in made])
    return [
        (worker.id, private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
        for worker, private in made
    ]


def _insert(tx: WriteTx, table: Table, rows: list[dict[str, Any]]) -> None:
    # Not one by one as operators make them, with an audit event each: a hundred thousand would take minutes.
    tx.conn.execute(insert(table), rows)


def _signed_bodies(identities: list[tuple[str, bytes]], audience: str) -> list[str]:
    os.sched_setaffinity(0, {1})
    now = int(datetime.now(UTC).timestamp())
    keys = {
        worker_id: load_der_private_key(der, password=None) for worker_id, der in dict(identities).items()
    }
    head = (
        f"grant_type=client_credentials&client_assertion_type={quote_plus(ASSERTION_TYPE)}&client_assertion="
    )
    return [head + _assertion(keys[worker_id], worker_id, audience, now) for worker_id, _ in identities]


def _assertion(key: object, worker_id: str, audience: str, now: int) -> str:
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - narrows a type
    claims = {"iss": worker_id, "sub": worker_id, "aud": audience, "jti": random_id(random_bytes)}
    parts = ({"alg": "ES256", "typ": "JWT"}, claims | {"iat": now, "exp": now + 240})
    message = b".".join(_base64url(json.dumps(part).encode()) for part in parts)
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256())))
    return (message + b"." + _base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))).decode()


def _base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
