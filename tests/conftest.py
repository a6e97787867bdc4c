"""What every test shares: in CI a skipped test is an error, since a skip there hides a promise nobody checked."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings
from tests.postgres import Cluster

# A machine that is busy elsewhere is no failure: no test here promises a duration.
settings.register_profile("ours", deadline=None)
settings.load_profile("ours")

# Whoever runs the tests in the background has them ignored, and so would every program that a test starts and signals.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Turn a skip into an error where skips are not allowed."""
    if os.environ.get("LYFTDATA_TEST_NO_SKIPS") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where no test may be: {report.longrepr}"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Return a running PostgreSQL."""
    running = Cluster()
    yield running
    running.close()
