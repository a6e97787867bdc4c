"""Fleets: writes entries, keys and identity keys straight into a Server's database, and makes their Workers' token requests."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import Table, insert

from lyftdata.core.api_keys import NewApiKey, generate_api_key
from lyftdata.core.identity_keys import IdentityKey
from lyftdata.core.records import ApiKeyRecord, Strategy, WorkerRecord, WorkerSessionRecord, WorkerTraces
from lyftdata.server.clock import random_bytes, random_id
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.sessions.session import Boot, Session
from lyftdata.store import WriteTx, schema
from lyftdata.store.rows import to_row

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_HEAD = (
    f"grant_type=client_credentials&client_assertion_type={quote_plus(ASSERTION_TYPE)}&client_assertion="
)


def secret_body(client_id: str, secret: str, **more: str) -> str:
    """Return the form of a token request (RFC 6749, section 4.4.2)."""
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, **more}
    return "&".join(f"{name}={quote_plus(value)}" for name, value in form.items())


def worker_record(number: int, kind: str, strategy: Strategy, **fields: Any) -> WorkerRecord:
    """Return an entry whose ID and name consist of its kind and number."""
    return WorkerRecord(
        id=f"{kind}-{number:06}",
        name=f"{kind} {number:06}",
        strategy=strategy,
        labels={"zone": f"eu-{number % 7}", "line": str(number % 100)},
        created_at=datetime.now(UTC),
        created_by="operator:admin",
        **fields,
    )


def add_with_keys(tx: WriteTx, numbers: range) -> list[tuple[str, str]]:
    """Add Workers with an API key each, as the UI issues them; return IDs and keys."""
    made = [
        (worker_record(number, "w", Strategy.API_KEY), generate_api_key(random_bytes)) for number in numbers
    ]
    insert_rows(tx, schema.workers, [to_row(worker) for worker, _ in made])
    insert_rows(
        tx, schema.api_keys, [key_row(key, f"key-{worker.id}", for_all=False) for worker, key in made]
    )
    scopes = [{"public_id": key.public_id, "worker_id": worker.id} for worker, key in made]
    insert_rows(tx, schema.api_key_workers, scopes)
    return [(worker.id, key.text.reveal()) for worker, key in made]


def key_row(key: NewApiKey, name: str, *, for_all: bool) -> dict[str, Any]:
    """Return the row of an API key."""
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


def add_enrolled(tx: WriteTx, numbers: range) -> list[tuple[str, ec.EllipticCurvePrivateKey]]:
    """Add Workers with an identity key each; return IDs and keys."""
    made = []
    for number in numbers:
        private = ec.generate_private_key(ec.SECP256R1())
        public = IdentityKey(private).public
        fields = {"public_jwk": public.canonical_jwk, "thumbprint": public.thumbprint}
        made.append((worker_record(number, "e", Strategy.AUTO_ENROLLMENT, **fields), private))
    insert_rows(tx, schema.workers, [to_row(worker) for worker, _ in made])
    return [(worker.id, private) for worker, private in made]


def insert_rows(tx: WriteTx, table: Table, rows: list[dict[str, Any]]) -> None:
    """Add many rows at once."""
    # Not one by one with an audit event each, as operators do: a hundred thousand would take minutes.
    tx.conn.execute(insert(table), rows)


def assertion_body(
    key: ec.EllipticCurvePrivateKey, worker_id: str, audience: str, *, now: int, nonce: str = ""
) -> str:
    """Return the form of a token request with `private_key_jwt` (RFC 7523); single use, valid for four minutes."""
    claims = {"iss": worker_id, "sub": worker_id, "aud": audience, "jti": random_id(random_bytes)}
    claims |= {"nonce": nonce} if nonce else {}
    parts = ({"alg": "ES256", "typ": "JWT"}, claims | {"iat": now, "exp": now + 240})
    message = b".".join(_base64url(json.dumps(part).encode()) for part in parts)
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256())))
    assertion = (message + b"." + _base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))).decode()
    return f"{_ASSERTION_HEAD}{assertion}"


def _base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def add_past(tx: WriteTx, numbers: range, *, lost: range, now: datetime, key: str = "press-keys") -> None:
    """
    Add Workers with the records of an earlier connection: traces and a session each.

    Those with a number in `lost` lost their connection within the last four minutes; they share a network, hosts and a zone of
    their own. The sessions of the others have no end; `connect` makes them connected.
    """
    workers, traces, sessions = [], [], []
    for number in numbers:
        is_lost = number in lost
        worker = worker_record(number, "f", Strategy.API_KEY)
        zone = {"zone": "eu-9"} if is_lost else worker.labels
        workers.append(to_row(msgspec.structs.replace(worker, labels=zone)))
        boot = boot_of(number, is_lost=is_lost)
        ended = now - timedelta(seconds=30 + number % 200) if is_lost else None
        session = WorkerSessionRecord(
            worker_id=worker.id,
            started_at=now - timedelta(days=1),
            ended_at=ended,
            end="lost" if is_lost else "",
            address=boot.address,
            host=boot.host,
        )
        sessions.append(to_row(session))
        trace = WorkerTraces(
            worker_id=worker.id,
            last_seen_at=ended or now,
            address=boot.address,
            api_key_name=key,
            host=boot.host,
        )
        traces.append(to_row(trace))
    insert_rows(tx, schema.workers, workers)
    insert_rows(tx, schema.worker_traces, traces)
    insert_rows(tx, schema.worker_sessions, sessions)


def boot_of(number: int, *, is_lost: bool = False) -> Boot:
    """Return what a Worker of `add_past` reports about itself."""
    rack = "eu9-rack" if is_lost else f"eu{number % 7}-rack"
    host = {"hostname": f"{rack}{number % 40}-n{number}", "agent_version": "0.1.0"}
    network = 9 if is_lost else number // 200 % 8
    address = f"10.{network}.{number // 200 % 250}.{number % 200 + 1}"
    return Boot(boot_id=f"boot-{number:06}", host=host, reported_labels={}, address=address)


def connect(sessions: Sessions, numbers: range, *, public_id: str, now: datetime) -> None:
    """Make Workers of `add_past` appear connected to another Server, so that no timer of this Server ends their sessions."""
    for number in numbers:
        worker_id = f"f-{number:06}"
        session = Session(worker_id, boot_of(number), f"key.{public_id}.0", now - timedelta(days=1))
        sessions.set_remote_session(worker_id, session)
