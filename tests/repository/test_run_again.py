"""CI reruns a few failed tests, and tolerates no other failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests import run_again, whole_run

ROOT = Path(__file__).parents[2]
ONCE = """
import pathlib

def test_the_second_time():
    file = pathlib.Path("tried")
    tried = file.exists()
    file.touch()
    assert tried
"""
NEVER = "def test_never(): assert False\n"
ALWAYS = "def test_always(): pass\n"


@pytest.fixture
def run(tmp_path):
    """Return a function that writes a test file and runs it with the given Python module."""

    def run_(module, *arguments, text=None):
        if text is not None:
            (tmp_path / "test_it.py").write_text(text)
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    return run_


@pytest.fixture
def fail(run):
    """Return a function that runs failing tests in several processes, like `make test`."""

    def fail_(text):
        assert run("pytest", "-p", "tests.whole_run", "-n", "2", text=text).returncode == 1

    return fail_


def test_a_test_that_passes_alone_is_reported_as_unreliable(run, fail):
    """Tests that passed are not run again."""
    fail(ONCE + ALWAYS)

    again = run("tests.run_again")

    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 passed" in again.stdout
    assert "UNRELIABLE test_it.py::test_the_second_time" in again.stdout.splitlines()


def test_a_test_that_fails_again_stops_ci(run, fail):
    """It is not reported as unreliable."""
    fail(NEVER)

    again = run("tests.run_again")

    assert again.returncode == 1
    assert "UNRELIABLE" not in again.stdout


def test_one_of_two_that_fails_again_stops_ci(run, fail):
    """Even if the other one passes."""
    fail(ONCE + NEVER)

    assert run("tests.run_again").returncode == 1


def test_many_failures_are_not_run_again(run, fail, tmp_path):
    """Even if they would pass."""
    one = "def test_{number}():\n    import pathlib\n    assert pathlib.Path('now').exists()\n"
    fail("".join(one.format(number=number) for number in range(run_again.AT_MOST + 1)))
    (tmp_path / "now").touch()

    again = run("tests.run_again")

    assert again.returncode == 1
    assert "4 tests failed, and only 1 to 3 get a second run" in again.stderr


def test_a_run_in_which_a_cause_was_never_answered_still_fails(run, fail, tmp_path):
    """A missing cause cannot be fixed by running tests again."""
    fail(ONCE)
    outcome = tmp_path / run_again.CACHE / run_again.OUTCOME
    outcome.write_text('{"exit_status": 1, "missing_causes": ["superseded"]}')

    again = run("tests.run_again")

    assert again.returncode == 1
    assert "no test made a Server answer superseded" in again.stderr


def test_a_run_that_did_not_finish_still_fails(run, fail):
    """For example because a file cannot be imported, which fails the run before its tests."""
    fail(ONCE)
    assert run("pytest", "-p", "tests.whole_run", text="import nothing_of_that_name\n").returncode == 2

    again = run("tests.run_again")

    assert again.returncode == 1
    assert "did not come to its end" in again.stderr


def test_missing_causes_are_recorded_with_the_outcome(pytestconfig, monkeypatch, tmp_path):
    """The whole run records what the rerun reads."""
    remembered = []
    monkeypatch.setattr(
        run_again, "remember", lambda _config, status, missing: remembered.append((status, missing))
    )
    monkeypatch.setattr(whole_run, "missing_causes", lambda _file: ["superseded"])
    plugin = whole_run.WholeRunPlugin(pytestconfig, tmp_path / "answered")
    monkeypatch.setattr(plugin, "_was_whole", lambda _session: True)
    session = type("Session", (), {"exitstatus": pytest.ExitCode.OK})()

    plugin.pytest_sessionfinish(session)

    assert remembered == [(pytest.ExitCode.TESTS_FAILED, ["superseded"])]


def test_ci_stops_when_a_step_fails():
    """Each step of `.ci/run` keeps its exit status, and the packages are built in a chain of commands."""
    script = (ROOT / ".ci/run").read_text()
    assert "make wheel && make sbom && make packages" in script
    function = script[script.index("step() {") : script.index("\n}\n") + 3]
    ran = ["bash", "-c", f"set -euo pipefail\n{function}\nstep false\necho went on"]
    failed = subprocess.run(ran, capture_output=True, text=True, check=False)

    assert failed.returncode == 1
    assert "went on" not in failed.stdout
