"""What every test shares. In CI a skipped test is an error, since a skip there hides a promise that was not checked."""

import gc
import importlib.util
import os
import signal
import sys
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings
from tests import whole_run
from tests.postgres import Cluster
from tests.shared_certificates import share_certificates

# A busy machine is not a failure: no test promises a duration. `make exhaustive` tries more examples.
settings.register_profile(
    "lyftdata", deadline=None, max_examples=int(os.environ.get("LYFTDATA_TEST_EXAMPLES", "25"))
)
settings.load_profile("lyftdata")

share_certificates()

# Read when gRPC is imported. By default it restarts its threads in a forked child. They use descriptors that the child
# closes before it execs its program, which kills about one child in fourteen.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

# httpx2 looks for it at each request to a Server in this process. If it is not installed, each lookup searches the whole path.
if importlib.util.find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment]

# A background job starts with SIGINT and SIGQUIT ignored, and `nohup` ignores SIGHUP. Every program that a test starts and
# signals would inherit that. Python itself ignores SIGPIPE and SIGXFSZ, and restores them for its children.
for _number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Turn a skip into an error where skips are not allowed."""
    if os.environ.get("LYFTDATA_TEST_NO_SKIPS") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where no test may be: {report.longrepr}"


# Each process imports and collects every test. These objects stay, and searching them for garbage took a fifth of the time.
gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Keep the half a million objects of the collected tests out of garbage collections, which took a twentieth of the run's CPU time."""
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture
def fresh_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each program as a new interpreter, not forked from a process that has imported it (see `tests/prefork.py`)."""
    monkeypatch.setenv("LYFTDATA_TEST_FRESH", "1")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Begin each test with the usual umask, whatever the shell or an earlier test has set, since other users' programs read files."""
    before = os.umask(0o022)
    try:
        return (yield)
    finally:
        os.umask(before)


class _FailuresAtOnce:
    """Prints each failure when it happens, since a run that is cut off never gets to its summary."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._terminal.ensure_newline()
            self._terminal.write_line(f"FAILED {report.nodeid} ({report.when})")
            self._terminal.write_line(report.longreprtext[-2000:])


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Record what Servers answer; in CI, also print failures immediately."""
    whole_run.pytest_configure(config)
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("LYFTDATA_TEST_NO_SKIPS") and terminal is not None:
        config.pluginmanager.register(_FailuresAtOnce(terminal))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Return a running PostgreSQL."""
    running = Cluster()
    yield running
    running.close()
