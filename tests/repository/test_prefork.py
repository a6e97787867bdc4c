"""A program that was forked for a test is what it would be if it had been started by itself."""

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

# What the kernel says of a process that others of its kind have too.
_ALIKE = ("PPid", "Umask", "SigBlk", "SigIgn", "SigCgt", "NoNewPrivs", "Seccomp", "CapEff")


@pytest.fixture
def host(tmp_path):
    """Return a host whose Worker waits for a Server that is not there."""
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


def test_it_is_like_one_that_was_started_by_itself(host, monkeypatch):
    """A child with its own session, directory, streams and limits, the same signals, and nothing open but its own."""
    forked = host.start("run", "worker")
    monkeypatch.setenv("LYFTDATA_TEST_FRESH", "1")
    fresh = host.start("run", "worker", LYFTDATA_JOBS_DIR=str(host.home / "other"))

    assert type(forked.process) is not subprocess.Popen
    assert type(fresh.process) is subprocess.Popen
    assert _seen_from_outside(forked) == _seen_from_outside(fresh)


def test_it_ends_as_others_do(host):
    """Its exit code and its output are known, and a signal that ended it."""
    program = host.start("run", "worker")
    program.wait_for("retrying")
    program.kill()
    wrong = host.run("no-such-command")

    assert program.process.returncode == -signal.SIGKILL
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "No such command 'no-such-command'" in wrong.stderr


def test_output_that_cannot_be_written_is_reported_as_by_others(host, monkeypatch):
    """Where the standard output is full, a forked program ends with the exit code and the complaint of one started by itself."""
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


def test_a_server_that_is_started_by_itself_hashes_passwords_at_the_real_costs(fresh_programs, tmp_path):
    """Those of RFC 9106 for 64 MiB, not those of forked Servers, and its operator signs in with them."""
    site = Site(tmp_path)
    site.sign_in()
    site.server.terminate()

    with contextlib.closing(sqlite3.connect(database_file(tmp_path / "server" / "staging"))) as database:
        [[password_hash]] = database.execute("SELECT password_hash FROM operators").fetchall()

    costs = extract_parameters(password_hash)
    assert (costs.memory_cost, costs.time_cost, costs.parallelism) == (64 * 1024, 3, 4)
    end_started()


@pytest.mark.parametrize("is_forked", [True, False])
def test_a_program_that_a_test_changes_is_one_too(host, monkeypatch, is_forked):
    """A module of the tests that changes something and then runs `lyftdata`: forked, and by itself where nothing is forked."""
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


def test_what_must_be_read_at_a_start_is_not_forked(host):
    """A library to preload, a locale or a setting of the interpreter: it is started by itself."""
    for name in ("LD_PRELOAD", "LC_ALL", "PYTHONPATH"):
        program = prefork.start([*host.python, "--version"], env={**host.environ, name: ""})
        assert type(program) is subprocess.Popen
        assert program.wait(60) == 0
