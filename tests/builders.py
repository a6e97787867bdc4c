"""Small builders that tests share: a fixed noon, records with sensible defaults, keys from a seeded source."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from lyftdata.core.records import ApiKeyRecord, AuditEvent, Strategy, WorkerRecord

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ISSUER = "https://lyft.example"
# Made by `lyftdata enrollment generate-key`. A key chosen by a person is stretched, which takes each program a third of a second.
ENROLLMENT_KEY = "lyftdata_enroll_uuiKgFhuYc_EdJdIedgM3UCplFIa81OhKlDHkOOFXVV2WbURv"
CHOSEN_ENROLLMENT_KEY = "Zt8qYw3nV5rKc1xLm7Pb2Hd9Gf4Js6Ua"
SECRET_KEY = "LvKbzGCBPeQhng5MvCn4ZjdLj5ymzlqykhg2tAVo8ik"
OTHER_SECRET_KEY = "lYjNbOYroxCWHha4cnNQHt7YihGjI0vRYiaFnDxQ2aU"


def seeded_bytes(seed: int = 1) -> Callable[[int], bytes]:
    """Return a repeatable source of random bytes."""
    return random.Random(seed).randbytes


def worker(worker_id: str = "w-1", **fields: Any) -> WorkerRecord:
    """Return a Worker entry of strategy `api_key`."""
    given: dict[str, Any] = {
        "id": worker_id,
        "name": worker_id,
        "strategy": Strategy.API_KEY,
        "created_at": NOON,
        "created_by": "operator:admin",
    }
    return WorkerRecord(**(given | fields))


def api_key(public_id: str = "AAAAAAAAAA", **fields: Any) -> ApiKeyRecord:
    """Return a record of an API key for every Worker."""
    given: dict[str, Any] = {
        "public_id": public_id,
        "name": f"key-{public_id}",
        "digest": bytes(32),
        "for_all_workers": True,
        "created_at": NOON,
        "created_by": "operator:admin",
    }
    return ApiKeyRecord(**(given | fields))


def event(action: str = "worker.created", **fields: Any) -> AuditEvent:
    """Return an audit event."""
    given: dict[str, Any] = {"at": NOON, "actor": "operator:admin", "action": action, "subject": "worker:w-1"}
    return AuditEvent(**(given | fields))


class FakeClock:
    """A clock that stands still until it is moved forward."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **delta: float) -> None:
        """Let time pass."""
        self.now += timedelta(**delta)


def case(_value: object) -> str:
    """Name a parameter `case`: random values must not be in test names, since each process would name the tests differently."""
    return "case"
