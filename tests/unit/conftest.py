"""Fixtures: a whole Server in this process, an admin's session, a Worker with an API key."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.builders import ENROLLMENT_KEY, ISSUER, SECRET_KEY, FakeClock
from tests.deployment import CHEAP, PASSWORD, Deployment, Open
from tests.shared_starts import share_starts

from lyftdata.app import create_app
from lyftdata.server.admin.operator_budget import OperatorBudget
from lyftdata.server.admin.passwords import Passwords
from lyftdata.server.runtime import background
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services


# For each module separately: other tests that run later in this process must create their databases by the migrations.
@pytest.fixture(scope="module", autouse=True)
def _shared_starts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        share_starts(patch.setattr)
        # Alerts are audit events, and many tests count those.
        patch.setattr(background, "_ALERT_EVERY_S", 86_400.0)
        yield


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Return a function that opens a Server; opened again, it has the same state."""
    # Checking the strength of a key that each Server generates would slow every start.
    (tmp_path / "staging").mkdir(0o700)
    (tmp_path / "staging" / "secret.key").touch(0o600)
    (tmp_path / "staging" / "secret.key").write_text(SECRET_KEY)

    @contextlib.asynccontextmanager
    async def open_deployment(
        clock: FakeClock | None = None, *, tracing: Any = None, **environ: str
    ) -> AsyncIterator[Deployment]:
        settings = read_server_settings(
            {
                "LYFTDATA_STAGING_DIR": str(tmp_path / "staging"),
                "LYFTDATA_PUBLIC_URL": ISSUER,
                "LYFTDATA_TRUSTED_PROXIES": "192.0.2.250",
                "LYFTDATA_ADMIN_INIT_PASSWORD": PASSWORD,
                "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY,
            }
            | environ
        )
        clock = clock or FakeClock()
        async with open_services(
            settings, clock=clock, passwords=Passwords(CHEAP), tracing=tracing
        ) as services:
            transport = httpx2.ASGITransport(create_app(services), raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url=ISSUER) as http:
                yield Deployment(services, clock, http)

    return open_deployment


@pytest.fixture
async def server(opened: Open) -> AsyncIterator[Deployment]:
    """Return a Server with Auto-Enrollment on."""
    async with opened() as deployment:
        yield deployment


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lift the limit on operators' requests: tests send more at once than a person can."""
    monkeypatch.setattr(OperatorBudget, "wait_s", lambda *_: 0.0)


@pytest.fixture
async def admin(server: Deployment) -> dict[str, str]:
    """Return the headers of an admin's session."""
    return await server.sign_in()


@pytest.fixture
async def press(server: Deployment, admin: dict[str, str]) -> tuple[str, str]:
    """Return the ID and the API key of a Worker with its own key."""
    body = {"name": "press-01", "id": "press-01", "issue_key": True}
    answer = await server.http.post("/api/workers", json=body, headers=admin)
    return "press-01", answer.json()["api_key"]["key"]
