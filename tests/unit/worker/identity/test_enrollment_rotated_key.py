"""If the enrollment key was rotated in its file, the new one is tried before a refusal of the old one is final."""

import asyncio

import httpx2
import pytest

from lyftdata.service_manager import Notifier
from lyftdata.worker.agent import Agent
from lyftdata.worker.client import ServerClient
from lyftdata.worker.end_report import EndReport
from lyftdata.worker.identity.state import StateDirectory
from lyftdata.worker.process.restart import RestartPolicy
from lyftdata.worker.process.supervisor import CommandSupervisor
from lyftdata.worker.settings import read_worker_settings
from lyftdata.worker.tokens.provider import TokenProvider

SERVER = "https://lyft.example"


@pytest.mark.parametrize(
    ("replacement", "code", "attempts"), [("n" * 40, 0, 2), (None, 3, 1), ("n" * 5, 3, 1)]
)
async def test_a_rotated_enrollment_key_is_tried_before_the_worker_ends(
    tmp_path, replacement, code, attempts
):
    """With the same key or an incomplete one, the Worker ends with exit code 3."""
    file = tmp_path / "enrollment.key"
    file.write_text("o" * 40)
    settings = read_worker_settings(
        {
            "LYFTDATA_URL": SERVER,
            "LYFTDATA_WORKER_NAME": "press",
            "LYFTDATA_AUTO_ENROLLMENT_KEY_FILE": str(file),
        }
    )
    stop = asyncio.Event()
    registrations = []

    def answer(request):
        path = request.url.path
        if path == "/oauth2/register":
            registrations.append(request)
            if len(registrations) > 1:
                return httpx2.Response(201, json={"client_id": "w-1"})
            if replacement is not None:
                file.write_text(replacement)
            return httpx2.Response(401, json={"error": "invalid_token", "reference": "7K2M9QXD"})
        if path == "/oauth2/token":
            stop.set()
            return httpx2.Response(200, json={"access_token": "e30.e30.c2ln", "expires_in": 60})
        return httpx2.Response(200, json={"issuer": SERVER})

    client = ServerClient(settings, transport=httpx2.MockTransport(answer))
    directory = StateDirectory(tmp_path / "jobs")
    agent = Agent(
        settings,
        client=client,
        directory=directory,
        supervisor=CommandSupervisor(None, restart=RestartPolicy("never", chance=lambda: 0.5)),
        provider=TokenProvider(client, directory=None),
        notifier=Notifier({}),
        end_report=EndReport({}),
        stop=stop,
    )

    with directory.locked():
        assert await agent.run(None) == code

    assert len(registrations) == attempts
    await client.aclose()
