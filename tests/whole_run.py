"""
Fails a whole test run if any cause of refusals was not answered by a Server in it.

A run of selected tests is not checked. To use it as a plugin of another pytest: `-p tests.whole_run`.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from tests import run_again
from tests.answered_refusals import FILE_VARIABLE, Recorder, missing_causes

_WORKER_INPUT = "answered_refusals_file"


class RunPlugin:
    """Watches one process of a test run."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Watch from the first test whose module imports the Server."""
        self._recorder.install()


class WholeRunPlugin:
    """Checks a whole run, in the main process."""

    def __init__(self, config: pytest.Config, file: Path) -> None:
        self._config = config
        self._file = file
        self._deselected = False
        self._missing: list[str] = []

    def pytest_deselected(self) -> None:
        """Note that a test was left out."""
        self._deselected = True

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give each pytest-xdist process the file to write to."""
        node.workerinput[_WORKER_INPUT] = str(self._file)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a whole run in which a cause was never answered."""
        if self._was_whole(session):
            self._missing = missing_causes(self._file)
        if self._missing:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        run_again.remember(self._config, session.exitstatus, self._missing)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List the missing causes."""
        if self._missing:
            terminalreporter.section("refusals that no Server answered in this run", red=True)
            for code in self._missing:
                terminalreporter.write_line(f"FAILED no test makes a Server answer: {code}", red=True)

    def pytest_unconfigure(self) -> None:
        """Remove the file."""
        self._file.unlink(missing_ok=True)

    def _was_whole(self, session: pytest.Session) -> bool:
        option = self._config.option
        selected = (
            option.keyword,
            option.markexpr,
            option.collectonly,
            option.ignore,
            option.ignore_glob,
            option.deselect,
            getattr(option, "lf", False),
            getattr(option, "stepwise", False),
        )
        ended_early = session.shouldfail or session.shouldstop or session.exitstatus not in {0, 1}
        return (
            _names_all_tests(self._config) and not any(selected) and not ended_early and not self._deselected
        )


def _names_all_tests(config: pytest.Config) -> bool:
    """Return whether the arguments select all tests: none, the `testpaths`, or a directory that contains these."""
    whole = {(config.rootpath / path).resolve() for path in config.getini("testpaths")}
    named = {(config.invocation_params.dir / argument).resolve() for argument in config.args}
    return bool(whole) and all(named & {path, *path.parents} for path in whole)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Start recording in this process."""
    given = getattr(config, "workerinput", {}).get(_WORKER_INPUT)
    if given is None:
        handle, name = tempfile.mkstemp(prefix="answered-refusals-")
        os.close(handle)
        given = name
        config.pluginmanager.register(WholeRunPlugin(config, Path(given)))
    # Read when the process that forks Servers is started.
    os.environ[FILE_VARIABLE] = given
    config.pluginmanager.register(RunPlugin(Recorder(Path(given))))
