"""A run of all tests fails if any cause of refusals was not answered by a Server, whatever is written in the tests."""

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from tests import prefork
from tests.answered_refusals import FILE_VARIABLE, Recorder, missing_causes
from tests.processes import Site, end_started

from lyftdata.app import _App
from lyftdata.core.refusals import UnknownWorkerError, all_causes
from lyftdata.server.admission.refusal_log import RefusalLog

ROOT = Path(__file__).parents[2]
CODES = [cause.code for cause in all_causes()]
FORM = {"grant_type": "client_credentials", "client_id": "press-99", "client_secret": "nonsense"}


@pytest.fixture
def answered(tmp_path, monkeypatch):
    """Return a function that returns the causes that this process's Servers have answered during the test."""
    for owner, method in ((RefusalLog, "record"), (RefusalLog, "record_unchecked"), (_App, "__call__")):
        monkeypatch.setattr(owner, method, getattr(owner, method))
    file = tmp_path / "answered"
    file.touch()
    Recorder(file).install()
    return lambda: set(file.read_text().split())


async def test_a_refusal_counts_once_a_server_has_answered_it(server, answered):
    """Even if the answer hides the cause from the caller."""
    answer = await server.http.post("/oauth2/token", data=FORM)

    assert answered() == {await server.cause(answer)} == {"malformed_api_key"}


async def test_a_refusal_without_a_request_does_not_count(server, answered):
    """An error that a test records itself proves nothing about the Server."""
    server.services.refusals.record(UnknownWorkerError("made by a test"), address="192.0.2.1")

    assert answered() == set()


async def test_the_end_of_a_session_counts_once_the_worker_is_notified(server, admin, press, answered):
    """It is decided during an operator's request, and counts with the answer to the Worker's poll."""
    worker_id, key = press
    token = (await server.token_by_key(worker_id, key)).json()["access_token"]
    poll = {"boot_id": "boot-0001", "host": {}}
    bearer = {"Authorization": f"Bearer {token}"}
    assert (await server.http.post("/api/worker/session", json=poll, headers=bearer)).status_code == 200
    held = asyncio.create_task(server.http.post("/api/worker/session", json=poll, headers=bearer))
    session = server.services.sessions.find_here(worker_id)
    async with asyncio.timeout(180):
        while session.poll is None:
            await asyncio.sleep(0.01)
    await server.http.delete(f"/api/workers/{worker_id}", headers=admin)

    assert "worker_deleted" in (await held).text
    assert answered() == {"worker_deleted"}


def test_a_forked_server_writes_to_the_file_of_its_test_process(tmp_path, monkeypatch):
    """The answers of a Server in another process count too."""
    file = tmp_path / "answered"
    file.touch()
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    monkeypatch.setattr(prefork, "_running", [])
    try:
        site = Site(tmp_path / "site")
        assert (
            httpx2.post(f"{site.url}/oauth2/token", data=FORM, trust_env=False, timeout=180).status_code
            == 401
        )
    finally:
        end_started()
        for forking in prefork._running:
            forking.close()

    assert file.read_text().split() == ["malformed_api_key"]


def test_causes_without_an_answer_are_missing(tmp_path):
    """However often other causes were answered."""
    file = tmp_path / "answered"
    file.write_text("".join(f"{code}\n" for code in [*CODES[1:], *CODES[1:]]))

    assert missing_causes(file) == CODES[:1]


ANSWERS = """
import os, pytest

# {codes}

@pytest.mark.parametrize("number", range(4))
def test_answers(number):
    with open(os.environ["{variable}"], "a") as stream:
        stream.write("".join(code + "\\n" for code in {answered}[number::4]))
"""


@pytest.fixture
def run(tmp_path):
    """Return a function that runs the tests of a small project, which answer with the given codes, and returns the result."""
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\ntestpaths = ["tests"]\n')
    (tmp_path / "tests").mkdir()

    def run_(codes, *arguments):
        test = ANSWERS.format(
            codes=" ".join(f'"{code}"' for code in CODES), variable=FILE_VARIABLE, answered=codes
        )
        (tmp_path / "tests" / "test_it.py").write_text(test)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.whole_run",
            "-p",
            "no:cacheprovider",
            *arguments,
        ]
        environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=180, check=False
        )

    return run_


def test_a_whole_run_fails_for_a_cause_that_no_server_answered(run):
    """It names the cause, although every code is in a comment of a test, and every test passed."""
    result = run([code for code in CODES if code != "superseded"])

    assert result.returncode == 1
    assert "4 passed" in result.stdout
    lines = [line for line in result.stdout.splitlines() if line.startswith("FAILED")]
    assert lines == ["FAILED no test makes a Server answer: superseded"]


def test_a_whole_run_in_several_processes_passes_if_all_were_answered(run):
    """Each process answers some of the causes."""
    result = run(CODES, "-n", "2")

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    "selection",
    [["tests/test_it.py"], ["-k", "answers"], ["--deselect", "tests/test_it.py::test_answers[0]"]],
)
def test_a_run_of_selected_tests_is_not_checked(run, selection):
    """The result of one file depends only on that file."""
    assert run([], *selection).returncode == 0


def test_every_directory_of_tests_belongs_to_a_whole_run(pytestconfig):
    """`make test` runs all of them, except those that `make packages` and `make soak` run separately."""
    listed = pytestconfig.getini("testpaths")
    files = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py")]
    for apart in ("tests/packages", "tests/soak"):
        files = [file for file in files if not file.is_relative_to(apart)]
        assert f"pytest -q {apart}" in (ROOT / "Makefile").read_text(encoding="utf-8")

    assert [file for file in files if sum(file.is_relative_to(path) for path in listed) != 1] == []
    assert [path for path in listed if not any(file.is_relative_to(path) for file in files)] == []
