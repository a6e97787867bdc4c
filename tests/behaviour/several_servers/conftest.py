"""Several Servers on one PostgreSQL, in this process: real rules, real store, real notifications."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from pathlib import Path

import httpx2
import pytest
from tests.builders import ENROLLMENT_KEY, ISSUER, SECRET_KEY, FakeClock
from tests.deployment import CHEAP, PASSWORD, Deployment
from tests.postgres import Cable, Cluster
from tests.shared_starts import share_starts

from lyftdata.app import create_app
from lyftdata.server.admin.passwords import Passwords
from lyftdata.server.clock import utc_now
from lyftdata.server.runtime import background
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services

StartServer = Callable[..., contextlib.AbstractAsyncContextManager[Deployment]]


class RealClock(FakeClock):
    """The real time: the database has its own clock, which no test can stop."""

    def __call__(self) -> datetime:
        """Return the current time."""
        return utc_now()


# Undone at the end of each module: later tests in the same process create their databases with the migrations.
@pytest.fixture(scope="module", autouse=True)
def _shared_starts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        share_starts(patch.setattr)
        # Alerts are events of the audit log, which many tests count.
        patch.setattr(background, "_ALERT_EVERY_S", 86_400.0)
        yield


@pytest.fixture
def database_url(cluster: Cluster) -> str:
    """Return the URL of an empty database."""
    return cluster.new_database()


@pytest.fixture
def start_server(database_url: str, tmp_path: Path) -> StartServer:
    """Return a function that starts another Server on the same database."""
    count = iter(range(100))

    @contextlib.asynccontextmanager
    async def start(*, url: str = database_url, **environ: str) -> AsyncIterator[Deployment]:
        settings = read_server_settings(
            {
                "LYFTDATA_STAGING_DIR": str(tmp_path / f"staging-{next(count)}"),
                "LYFTDATA_PUBLIC_URL": ISSUER,
                "LYFTDATA_TRUSTED_PROXIES": "192.0.2.250",
                "LYFTDATA_ADMIN_INIT_PASSWORD": PASSWORD,
                "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY,
                "LYFTDATA_DATABASE_URL": url,
                "LYFTDATA_SECRET_KEY": SECRET_KEY,
            }
            | environ
        )
        async with open_services(settings, clock=RealClock(), passwords=Passwords(CHEAP)) as services:
            transport = httpx2.ASGITransport(create_app(services), raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url=ISSUER) as http:
                yield Deployment(services, RealClock(), http)

    return start


@pytest.fixture
async def two(start_server: StartServer) -> AsyncIterator[tuple[Deployment, Deployment]]:
    """Return two Servers on one state."""
    async with start_server() as first, start_server() as second:
        yield first, second


@pytest.fixture
def cable(cluster: Cluster) -> Iterator[Cable]:
    """Return a network path to the database that can be cut."""
    line = Cable(cluster)
    yield line
    line.close()
