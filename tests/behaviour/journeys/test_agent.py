"""The agent through outages, operators' changes and crashes, with real processes."""

import json
import os
import re
import signal
import stat
from pathlib import Path

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.processes import until

# A COMMAND that writes its PID to a file, and has a child process.
WORK = """
import os, signal, subprocess, sys, time
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1], "a").write(f"{os.getpid()} {helper.pid}\\n")
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(600)
"""


@pytest.fixture
def site(shared_site):
    """Return the Server that the journeys of this file share."""
    return shared_site


def with_key(site, worker_id="press-01"):
    """Add a Worker with a key; return its host."""
    key = site.operator.done("workers", "add", worker_id, "--id", worker_id, "--issue-key").strip()
    return site.worker_host(worker_id, LYFTDATA_WORKER_ID=worker_id, LYFTDATA_WORKER_API_KEY=key)


def working(host, kind="docile"):
    """Start a Worker with a COMMAND; return it and a function that returns the process IDs of the COMMAND's runs."""
    ran = host.home / "ran"
    (host.home / "work.py").write_text(WORK)
    agent = host.start("run", "worker", "--", "python3", str(host.home / "work.py"), str(ran), kind)
    agent.wait_for("online")

    def runs():
        lines = ran.read_text().splitlines() if ran.exists() else []
        return [tuple(map(int, line.split())) for line in lines if len(line.split()) == 2]

    until(runs, "the COMMAND's start")
    return agent, runs


def gone(pid):
    """Return whether a process has ended; a zombie counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_disabled_agent_stops_its_command_and_resumes_when_it_is_enabled(site):
    """On disable its session and COMMAND end at once and the agent stays; on enable it is online again without a change on its host."""
    agent, runs = working(with_key(site))
    site.operator.done("workers", "disable", "press-01", "--yes")

    assert site.workers()["press-01"]["status"] == "offline"
    until(lambda: all(gone(pid) for pid in runs()[0]), "the end of the COMMAND and all it started")
    refused = agent.wait_for("refused")
    assert (refused["code"], "enable" in refused["remedy"]) == ("worker_disabled", True)
    assert agent.wait_for("command_stopped")["signal"] == "SIGTERM"
    assert agent.alive()

    site.operator.done("workers", "enable", "press-01")

    agent.wait_for("online", count=2)
    until(lambda: len(runs()) == 2, "the COMMAND's second run")
    assert site.status("press-01") == "online"
    assert agent.terminate() == 128 + signal.SIGTERM
    until(lambda: all(gone(pid) for pid in runs()[1]), "the end of the second run")


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (("workers", "delete", "press-01", "--yes"), "worker_deleted"),
        (("api-key", "revoke", "{key}", "--yes"), "api_key_revoked"),
    ],
)
def test_an_agent_whose_worker_is_deleted_or_whose_key_is_revoked_exits_3(site, order, code):
    """Its COMMAND ends, and an operator finds the cause by the reference that it logs."""
    agent, runs = working(with_key(site))
    (key,) = (key for key in site.operator.json("api-key", "list") if key["used_by"])

    site.operator.done(*(part.format(key=key["name"]) for part in order))

    assert agent.exit_code() == 3
    until(lambda: all(gone(pid) for pid in runs()[0]), "the end of the COMMAND and all it started")
    (refused,) = agent.events("refused")
    assert refused["code"] == code
    assert site.cause(refused["reference"]) == code


def test_an_agent_whose_worker_was_deleted_while_it_was_stopped_exits_3(site):
    """It is refused for good at its next start, and the container's termination message has the reference."""
    host = site.worker_host("b", LYFTDATA_WORKER_NAME="press-02")
    message = host.home / "termination-log"
    message.touch()
    host.environ["LYFTDATA_TERMINATION_LOG"] = str(message)
    agent = host.start("run", "worker", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    worker_id = agent.wait_for("online")["worker_id"]
    agent.terminate()
    site.operator.done("workers", "delete", worker_id, "--yes")

    again = host.start("run", "worker", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)

    assert again.exit_code() == 3
    reference = again.events("refused")[0]["reference"]
    assert site.cause(reference) == "unknown_worker"
    assert f"Reference {reference}." in message.read_text()


def test_a_command_that_ignores_sigterm_is_killed_after_the_grace_period(site):
    """On SIGTERM the agent passes it on, then sends SIGKILL; the Worker is offline when the agent has ended."""
    agent, runs = working(with_key(site), "stubborn")

    assert agent.terminate() == 128 + signal.SIGKILL

    assert site.status("press-01") == "offline"
    until(lambda: all(gone(pid) for pid in runs()[0]), "the end of the COMMAND and all it started")


@pytest.mark.parametrize("code", [0, 7])
def test_the_commands_exit_code_is_passed_through(site, code):
    """When the COMMAND ends by itself, the agent signs off and exits with the same code."""
    host = with_key(site)
    agent = host.start("run", "worker", "--", "sh", "-c", f"exit {code}")

    assert agent.exit_code() == code
    assert site.status("press-01") == "offline"


@pytest.mark.parametrize(("program", "code"), [("no-such-program", 127), ("./notes.txt", 126)])
def test_a_command_that_cannot_be_started_is_reported_before_the_worker_connects(site, program, code):
    """The exit code is a shell's, and one line names the program; the Worker was never connected."""
    host = with_key(site)
    (host.home / "notes.txt").write_text("no program")
    result = host.run("run", "worker", "--", program)

    assert result.returncode == code
    assert [line for line in result.stderr.splitlines() if program in line] == [result.stderr.strip()]
    assert site.status("press-01") == "never_connected"


def test_none_of_the_workers_secrets_reach_the_command(site, tmp_path):
    """Its environment has the Worker's ID, but no key or secret and no path to one."""
    host = with_key(site)
    out = tmp_path / "env.json"
    program = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"
    agent = host.start(
        "run",
        "worker",
        "--",
        "python3",
        "-c",
        program,
        str(out),
        OTHER="kept",
        LYFTDATA_AUTO_ENROLLMENT_KEY_FILE="/none",
    )
    assert agent.exit_code() == 0

    seen = json.loads(out.read_text())
    assert seen["LYFTDATA_WORKER_ID"] == "press-01"
    assert seen["OTHER"] == "kept"
    assert not {name for name in seen if "API_KEY" in name or "ENROLLMENT" in name}
    assert host.environ["LYFTDATA_WORKER_API_KEY"] not in json.dumps(seen)


def test_workers_recover_from_an_outage_without_stopping_their_commands(site):
    """After the Server was killed and started again, both Workers are online and the COMMAND has never stopped."""
    by_key, runs = working(with_key(site))
    enrolled_host = site.worker_host(
        "b", LYFTDATA_WORKER_NAME="press-02", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
    )
    enrolled = enrolled_host.start("run", "worker")
    enrolled.wait_for("online")
    site.server.kill()
    for agent in (by_key, enrolled):
        agent.wait_for("retrying")

    site.start_server()

    for agent in (by_key, enrolled):
        agent.wait_for("online", count=2)
    assert len(runs()) == 1
    assert not gone(runs()[0][0])
    assert {w["status"] for w in site.workers().values()} == {"online"}


def test_a_worker_started_before_its_server_waits_for_it(site):
    """It retries until the Server is there."""
    host = site.worker_host("b", LYFTDATA_WORKER_NAME="press-02", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    site.server.terminate()
    agent = host.start("run", "worker")
    agent.wait_for("retrying")

    site.start_server()

    agent.wait_for("online")


def test_workers_reconnect_after_a_clean_restart_of_the_server(site):
    """The Server exits with 0 although a poll is held, and the Worker is online again by itself."""
    host = with_key(site)
    agent = host.start("run", "worker")
    agent.wait_for("online")

    assert site.server.terminate() == 0
    site.start_server()

    agent.wait_for("online", count=2)


def test_an_agent_restarted_after_a_kill_is_not_taken_for_a_clone(site):
    """After SIGKILL the next start gets the slot at once, under the same ID."""
    host = with_key(site)
    first = host.start("run", "worker")
    first.wait_for("online")
    first.kill()

    second = host.start("run", "worker")

    second.wait_for("online")
    assert second.events("refused") == []
    assert site.status("press-01") == "online"


def test_a_copy_is_refused_and_both_hosts_are_shown(site):
    """Of two processes with one identity the first stays connected; the second runs no COMMAND and connects once the first has ended."""
    host = with_key(site)
    first = host.start("run", "worker")
    first.wait_for("online")

    copy, runs = (
        host.start("run", "worker", "--", "sh", "-c", "touch copied; sleep 600"),
        host.home / "copied",
    )
    refused = copy.wait_for("refused")

    assert refused["code"] == "duplicate_instance"
    assert copy.alive()
    assert not runs.exists()
    detail = site.operator.json("refusals", "show", refused["reference"])["detail"]
    assert str(first.process.pid) in detail
    assert str(copy.process.pid) in detail
    first.terminate()
    copy.wait_for("online")
    until(runs.exists, "the copy's work")


def test_two_agents_cannot_share_a_directory(site):
    """A second agent in the same directory exits 2 and names LYFTDATA_JOBS_DIR."""
    host = site.worker_host("b", LYFTDATA_WORKER_NAME="press-02", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    host.start("run", "worker").wait_for("online")

    message = host.home / "termination-log"
    message.touch()

    result = host.run("run", "worker", LYFTDATA_TERMINATION_LOG=str(message))

    assert result.returncode == 2
    assert "LYFTDATA_JOBS_DIR" in result.stderr
    assert "LYFTDATA_JOBS_DIR" in message.read_text()


def test_a_worker_whose_name_is_in_use_waits_until_it_is_free(site):
    """It is refused while the holder is connected, and enrolls with a new ID once the holder has stopped."""
    given = {"LYFTDATA_WORKER_NAME": "press-02", "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY}
    holder = site.worker_host("b", **given).start("run", "worker")
    first_id = holder.wait_for("online")["worker_id"]
    newcomer = site.worker_host("c", **given).start("run", "worker")
    assert newcomer.wait_for("refused")["code"] == "name_in_use"

    holder.terminate()

    second_id = newcomer.wait_for("online")["worker_id"]
    shown = site.workers()
    assert shown[first_id]["superseded_by"] == second_id
    again = site.worker_host("b", **given).start("run", "worker")
    assert again.exit_code() == 3
    assert again.events("refused")[0]["code"] == "superseded"


def test_the_agents_directory_must_be_private(site):
    """Its files have mode 0600 in a directory with 0700; a directory that others can read is refused."""
    host = site.worker_host("b", LYFTDATA_WORKER_NAME="press-02", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    agent = host.start("run", "worker")
    agent.wait_for("online")
    agent.terminate()
    jobs = host.home / "jobs"

    assert stat.S_IMODE(jobs.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in jobs.iterdir()} == {0o600}
    jobs.chmod(0o750)
    result = host.run("run", "worker")
    assert result.returncode == 2
    assert "chmod 700" in result.stderr


def test_lyftdata_token_prints_a_valid_token(site):
    """With an API key or a stored identity; it exits 3 when it is refused."""
    import httpx2

    host = site.worker_host("b", LYFTDATA_WORKER_NAME="press-02")
    not_yet = host.run("token", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    assert not_yet.returncode == 2
    agent = host.start("run", "worker", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    worker_id = agent.wait_for("online")["worker_id"]
    for each, expected in ((host, worker_id), (with_key(site), "press-01")):
        token = each.done("token").strip()
        answer = httpx2.get(
            f"{site.url}/auth/verify",
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=180,
        )
        assert answer.headers["X-Lyftdata-Worker-Id"] == expected
    site.operator.done("workers", "delete", "press-01", "--yes")
    refused = site.worker_host("press-01", **with_key(site, "tmp").environ).run(
        "token", LYFTDATA_WORKER_ID="press-01"
    )
    assert refused.returncode == 3
    assert "reference" in refused.stderr


def test_no_secret_is_in_a_log_or_a_command_line(fresh_programs, own_site):
    """Neither a key, a secret, a password nor a token, after enrollment, connection and a refusal."""
    site = own_site
    agent, _ = working(with_key(site))
    enrolled = site.worker_host(
        "b", LYFTDATA_WORKER_NAME="press-02", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
    )
    other = enrolled.start("run", "worker", LYFTDATA_LOG_LEVEL="debug")
    other.wait_for("online")
    site.operator.done("workers", "disable", "press-01", "--yes")
    agent.wait_for("refused")
    secrets = [ENROLLMENT_KEY, "correct horse battery", "lyftdata_session_", "BEGIN PRIVATE"]
    for program in (agent, other, site.server):
        assert not [secret for secret in secrets if secret in program.log]
        # Header and claims of a JWT: "eyJ" alone may also be part of a key's thumbprint.
        assert not re.search(r"eyJ[\w-]+\.eyJ", program.log)
        assert not any(line.startswith("lyftdata_") for line in program.log.splitlines())
        argv = Path(f"/proc/{program.process.pid}/cmdline").read_bytes().decode()
        assert not [secret for secret in secrets if secret in argv]


def test_an_idle_worker_and_server_use_little_memory(fresh_programs, own_site):
    """The bounds are loose, to notice a library that doubles either; the docs have measured figures."""
    agent = with_key(own_site).start("run", "worker")
    agent.wait_for("online")

    def resident_mb(program):
        status = Path(f"/proc/{program.process.pid}/status")
        if not status.exists():
            pytest.skip("this system has no /proc")
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1024

    assert resident_mb(agent) < 60
    assert resident_mb(own_site.server) < 140


def test_an_unwritable_directory_is_reported_before_anything_is_sent(site, tmp_path):
    """The error says that it cannot be written, and no entry is created."""
    if os.geteuid() == 0:
        # Root may write to any directory, so a file takes its place.
        jobs = tmp_path / "file"
        jobs.write_text("x")
        jobs = jobs / "jobs"
    else:
        jobs = tmp_path / "ro"
        jobs.mkdir(mode=0o500)
        jobs = jobs / "jobs"
    host = site.worker_host(
        "b",
        LYFTDATA_WORKER_NAME="press-02",
        LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY,
        LYFTDATA_JOBS_DIR=str(jobs),
    )
    result = host.run("run", "worker")

    assert result.returncode in {1, 2}
    assert "cannot be written" in result.stderr
    assert "Traceback" not in result.stderr
    assert site.workers() == {}
