"""The command line waits for its operator's budget, at a Server with a socket."""

import asyncio
import socket

import uvicorn

from lyftdata.app import create_app
from lyftdata.cli.api import Api
from lyftdata.core.secret import Secret


async def test_a_command_that_is_told_to_come_back_does_so(server, admin, tmp_path, monkeypatch):
    """An operator in debt for two seconds gets the answer, not an error; one request is made until it is there."""
    monkeypatch.setenv("LYFTDATA_CONFIG_DIR", str(tmp_path / "config"))
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    budget = server.services.budget
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(server.services), lifespan="off", log_config=None, ws="none")
    running = uvicorn.Server(config)
    serving = asyncio.create_task(running.serve([listening]))

    def ask():
        with Api(f"http://127.0.0.1:{listening.getsockname()[1]}") as api:
            api.credentials.store(api.url, Secret(admin["Authorization"].split()[1]))
            budget.charge("admin", budget._left("admin") + 500)
            return api.get("/whoami")

    try:
        answer = await asyncio.to_thread(ask)
    finally:
        running.should_exit = True
        await serving
        listening.close()

    assert answer["name"] == "admin"
