"""
Take jobs from NATS, as the Worker that this is.

    lyftdata run worker -- python worker.py
"""

import asyncio
import os

import nats
from nats.aio.msg import Msg

from lyftdata.client import TokenKeeper, WorkerAuthError

WORKER_ID = os.environ["LYFTDATA_WORKER_ID"]
URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
TOKENS = TokenKeeper.from_environment(resource="nats")


async def work(message: Msg) -> None:
    """Do a job, and answer the caller."""
    print(f"{WORKER_ID} does {message.data.decode(errors='replace')}", flush=True)
    if message.reply:
        await message.respond(WORKER_ID.encode())


async def stay_connected() -> None:
    """Be connected until the connection ends: with its token, or because the Worker was revoked."""
    ended = asyncio.Event()

    async def on_end() -> None:
        ended.set()

    async def on_error(error: Exception) -> None:
        print(f"{WORKER_ID}: {error}", flush=True)

    connection = await nats.connect(
        URL,
        user=WORKER_ID,
        password=await TOKENS.aget(),
        # The only subjects for answers that this Worker may subscribe to.
        inbox_prefix=f"_INBOX.{WORKER_ID.replace('.', '_')}".encode(),
        # The loop below connects again, each time with a new token.
        allow_reconnect=False,
        closed_cb=on_end,
        disconnected_cb=on_end,
        error_cb=on_error,
    )
    try:
        # All Workers share the jobs: each goes to one of them.
        await connection.subscribe("jobs.>", queue="workers", cb=work)
        await connection.flush()
        print(f"{WORKER_ID} is in", flush=True)
        await ended.wait()
    finally:
        await connection.close()


async def main() -> None:
    """Work until stopped; reconnect when the connection ends."""
    while True:
        try:
            await stay_connected()
            print(f"{WORKER_ID} is out", flush=True)
        except (nats.errors.Error, WorkerAuthError, OSError) as error:
            print(f"{WORKER_ID} is kept out: {error!r}", flush=True)
        await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main())
