"""A program that is forked for a test is like one that is started as a new interpreter."""

import contextlib
import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest
from argon2 import extract_parameters
from tests import prefork
from tests.processes import Host, Site, end_started

from lyftdata.server.runtime.data_dir import database_file

# Properties of a process that are the same for others of its kind.
_ALIKE = ("PPid", "Umask", "SigBlk", "SigIgn", "SigCgt", "NoNewPrivs", "Seccomp", "CapEff")


@pytest.fixture
def host(tmp_path):
    """Return a host whose Worker waits for a Server that does not exist."""
    key = "AAAAAAAAAA-lyftdata"
    yield Host(
        tmp_path / "host",
        LYFTDATA_URL="http://127.0.0.1:1",
        LYFTDATA_WORKER_ID="w-1",
        LYFTDATA_WORKER_API_KEY=key,
    )
    end_started()


def _seen_from_outside(program):
    program.wait_for("retrying")
    process = Path(f"/proc/{program.process.pid}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    streams = {number: str((process / "fd" / number).readlink()) for number in "012"}
    return {
        "alike": {name: status[name] for name in _ALIKE},
        "directory": str((process / "cwd").readlink()),
        "leads_session": os.getsid(program.process.pid) == program.process.pid,
        "limits": (process / "limits").read_text(),
        "descriptors": len(list((process / "fd").iterdir())),
        "input": streams["0"],
        "outputs": [streams[number] == str(program.log_file) for number in "12"],
    }


def test_a_forked_program_is_like_a_new_interpreter(host, monkeypatch):
    """It is a child with its own session, directory, streams and limits, the same signals, and no other open files."""
    forked = host.start("run", "worker")
    monkeypatch.setenv("LYFTDATA_TEST_FRESH", "1")
    fresh = host.start("run", "worker", LYFTDATA_JOBS_DIR=str(host.home / "other"))

    assert type(forked.process) is not subprocess.Popen
    assert type(fresh.process) is subprocess.Popen
    assert _seen_from_outside(forked) == _seen_from_outside(fresh)


def test_the_end_of_a_forked_program_is_known(host):
    """Its exit code, its output, and the signal that ended it."""
    program = host.start("run", "worker")
    program.wait_for("retrying")
    program.kill()
    wrong = host.run("no-such-command")

    assert program.process.returncode == -signal.SIGKILL
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "No such command 'no-such-command'" in wrong.stderr


def test_a_forked_program_reports_output_that_cannot_be_written(host, monkeypatch):
    """If standard output is full, it ends with the exit code and the error message of a new interpreter."""
    forked = _run_into_full_output(host)
    monkeypatch.setenv("LYFTDATA_TEST_FRESH", "1")

    assert forked == _run_into_full_output(host)
    assert forked[0] != 0
    assert "No space left on device" in forked[1]


def _run_into_full_output(host):
    with Path("/dev/full").open("wb") as full:
        program = prefork.start(
            [*host.python, "--version"], env=host.environ, stdout=full, stderr=subprocess.PIPE, text=True
        )
        _, complaint = program.communicate(timeout=180)
    return program.returncode, complaint


def test_a_server_in_a_new_interpreter_hashes_passwords_at_the_real_costs(fresh_programs, tmp_path):
    """The costs of RFC 9106 for 64 MiB, not those of forked Servers; its operator can sign in with them."""
    site = Site(tmp_path)
    site.sign_in()
    site.server.terminate()

    with contextlib.closing(sqlite3.connect(database_file(tmp_path / "server" / "staging"))) as database:
        [[password_hash]] = database.execute("SELECT password_hash FROM operators").fetchall()

    costs = extract_parameters(password_hash)
    assert (costs.memory_cost, costs.time_cost, costs.parallelism) == (64 * 1024, 3, 4)
    end_started()


@pytest.mark.parametrize("is_forked", [True, False])
def test_a_test_module_that_patches_lyftdata_can_be_forked(host, monkeypatch, is_forked):
    """It is forked by default, and started as a new interpreter if forks are switched off."""
    if not is_forked:
        monkeypatch.setenv("LYFTDATA_TEST_FRESH", "1")
    changed = Host(
        host.home / "changed",
        module="tests.behaviour.several_servers.renamed_host",
        **host.environ | {"HOST_NAME": "another-name"},
    )

    program = changed.start("run", "worker")
    program.wait_for("retrying")

    assert (type(program.process) is not subprocess.Popen) is is_forked


def test_variables_that_are_read_at_the_start_prevent_a_fork(host):
    """With a library to preload, a locale or a setting of the interpreter, a program is started as a new interpreter."""
    for name in ("LD_PRELOAD", "LC_ALL", "PYTHONPATH"):
        program = prefork.start([*host.python, "--version"], env={**host.environ, name: ""})
        assert type(program) is subprocess.Popen
        assert program.wait(60) == 0
