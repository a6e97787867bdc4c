"""
Start Firefox and relay WebDriver BiDi between it and Playwright: `bidi_relay.py FIREFOX ARGUMENTS…`.

Playwright sends commands that Firefox ESR does not support yet, and has no option to omit them, so the relay answers them itself.
This file can be removed once Firefox ESR supports them.
"""

import asyncio
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process

import msgspec
from aiohttp import ClientSession, ClientWebSocketResponse, web

# These emulate another screen; the tests in Firefox do not need them.
LEFT_OUT = frozenset({"emulation.setMediaFeaturesOverride"})
ANY_SIZE = 0


class Command(msgspec.Struct):
    """The members of a command that the relay needs."""

    id: int
    method: str


async def main(firefox: str, *arguments: str) -> None:
    """Run Firefox until it exits."""
    process = await asyncio.create_subprocess_exec(firefox, *arguments, stdout=DEVNULL, stderr=PIPE)
    firefox_url = await _read_url(process)
    app = web.Application()

    async def relay(request: web.Request) -> web.WebSocketResponse:
        playwright = web.WebSocketResponse(max_msg_size=ANY_SIZE)
        await playwright.prepare(request)
        async with (
            ClientSession() as session,
            session.ws_connect(firefox_url + request.path, max_msg_size=ANY_SIZE) as connected,
            asyncio.TaskGroup() as both,
        ):
            both.create_task(_relay_answers(connected, playwright))
            both.create_task(_relay_commands(playwright, connected))
        return playwright

    app.router.add_get("/{path:.*}", relay)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    # Playwright reads exactly this line to find Firefox.
    print(f"WebDriver BiDi listening on ws://127.0.0.1:{port}", file=sys.stderr, flush=True)
    await process.communicate()


async def _read_url(process: Process) -> str:
    """Return the URL on which Firefox listens."""
    assert process.stderr is not None
    async for line in process.stderr:
        if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", line.decode(errors="replace")):
            return found[1]
    raise SystemExit("Firefox ended before it listened")


async def _relay_answers(connected: ClientWebSocketResponse, playwright: web.WebSocketResponse) -> None:
    async for message in connected:
        await playwright.send_str(message.data)
    await playwright.close()


async def _relay_commands(playwright: web.WebSocketResponse, connected: ClientWebSocketResponse) -> None:
    async for message in playwright:
        command = msgspec.json.decode(message.data, type=Command)
        if command.method in LEFT_OUT:
            answer = {"type": "success", "id": command.id, "result": {}}
            await playwright.send_str(msgspec.json.encode(answer).decode())
        else:
            await connected.send_str(message.data)
    await connected.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
