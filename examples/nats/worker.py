"""
Process jobs from NATS with this Worker's identity.

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
    """Process a job, and reply if a reply is expected."""
    print(f"{WORKER_ID} processes {message.data.decode(errors='replace')}", flush=True)
    if message.reply:
        await message.respond(WORKER_ID.encode())


async def stay_connected() -> None:
    """Connect, and return when the connection ends: its token has expired, or the Worker was revoked."""
    ended = asyncio.Event()

    async def on_end() -> None:
        ended.set()

    async def on_error(error: Exception) -> None:
        print(f"{WORKER_ID}: {error}", flush=True)

    connection = await nats.connect(
        URL,
        user=WORKER_ID,
        password=await TOKENS.aget(),
        # This Worker may receive replies only on these subjects.
        inbox_prefix=f"_INBOX.{WORKER_ID.replace('.', '_')}".encode(),
        # main() reconnects, each time with a new token.
        allow_reconnect=False,
        closed_cb=on_end,
        disconnected_cb=on_end,
        error_cb=on_error,
    )
    try:
        # A queue group: each job goes to one Worker.
        await connection.subscribe("jobs.>", queue="workers", cb=work)
        await connection.flush()
        print(f"{WORKER_ID} is connected", flush=True)
        await ended.wait()
    finally:
        await connection.close()


async def main() -> None:
    """Run until stopped; reconnect when the connection ends."""
    while True:
        try:
            await stay_connected()
            print(f"{WORKER_ID} is disconnected", flush=True)
        except (nats.errors.Error, WorkerAuthError, OSError) as error:
            print(f"{WORKER_ID} cannot connect: {error!r}", flush=True)
        await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main())
