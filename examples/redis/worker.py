"""
Process jobs from a Redis stream with this Worker's identity.

    lyftdata run worker -- python worker.py
"""

import os
import time
from typing import Any

import httpx2
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lyftdata.client import TokenKeeper, WorkerAuthError

WORKER_ID = os.environ["LYFTDATA_WORKER_ID"]
GUARD = os.environ.get("GUARD_URL", "http://127.0.0.1:6380")
HOST, _, PORT = os.environ.get("REDIS_ADDRESS", "127.0.0.1:6379").rpartition(":")
RENEW_EVERY_S = 60.0
TOKENS = TokenKeeper.from_environment(resource="redis")


class Login(redis.CredentialProvider):
    """Logs in to the guard, then to Redis, with the Worker's token; called for each connection."""

    def get_credentials(self) -> tuple[str, str]:
        """Return the user name and password."""
        try:
            token = TOKENS.get()
            shown = {"Authorization": f"Bearer {token}"}
            httpx2.post(f"{GUARD}/login", headers=shown, trust_env=False).raise_for_status()
        except (WorkerAuthError, httpx2.HTTPError) as error:
            raise redis.ConnectionError(str(error)) from error
        return f"worker:{WORKER_ID}", token


def work(jobs: redis.Redis) -> None:
    """Process one job: one that another Worker left unacknowledged, otherwise a new one. Acknowledge it when done."""
    _, taken, _ = jobs.xautoclaim("jobs", "workers", WORKER_ID, min_idle_time=3_000, count=1)
    if not taken:
        answer: Any = jobs.xreadgroup("workers", WORKER_ID, {"jobs": ">"}, count=1, block=1_000)
        taken = answer[0][1] if answer else []
    for entry, fields in taken:
        try:
            do(fields)
        except (KeyError, TypeError, ValueError) as error:
            # A malformed job would fail at every Worker: acknowledge it, so that it is not retried.
            print(f"{WORKER_ID} cannot process {entry}: {error!r}", flush=True)
        jobs.xack("jobs", "workers", entry)


def do(fields: dict[str, str]) -> None:
    """Process a job."""
    number, seconds = int(fields["number"]), float(fields.get("seconds", "0.2"))
    print(f"{WORKER_ID} started {number}", flush=True)
    time.sleep(seconds)
    print(f"{WORKER_ID} finished {number}", flush=True)


def make_group(jobs: redis.Redis) -> None:
    """Create the stream and its consumer group if they do not exist."""
    try:
        jobs.xgroup_create("jobs", "workers", id="0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):  # it already exists
            raise


def main() -> None:
    """Run until stopped; reconnect when the connection breaks."""
    login = Login()
    jobs = redis.Redis(
        host=HOST,
        port=int(PORT),
        credential_provider=login,
        decode_responses=True,
        # The loop below retries, and logs it.
        retry=Retry(NoBackoff(), 0),
    )
    renewed_at = time.monotonic()
    is_in = False
    while True:
        try:
            if not is_in:
                make_group(jobs)
            work(jobs)
            if not is_in:
                print(f"{WORKER_ID} is connected", flush=True)
            is_in = True
            if time.monotonic() - renewed_at > RENEW_EVERY_S:
                # A connection lasts as long as the Worker has a valid token: log in with the next one before the last expires.
                login.get_credentials()
                renewed_at = time.monotonic()
        except redis.RedisError as error:
            print(f"{WORKER_ID} cannot connect: {error}", flush=True)
            is_in = False
            time.sleep(1)


if __name__ == "__main__":
    main()
