"""The agent through outages, orders and crashes, with real processes."""

import json
import os
import re
import signal
import stat
from pathlib import Path

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.processes import until

# A COMMAND that says that it lives, in a file of its own, with a process of its own beside it.
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
    """Start a Worker with a COMMAND; return it and the function that lists the COMMAND's runs as process IDs."""
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
    """Return whether a process is no more (a zombie counts as none)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_disabled_it_stops_its_work_stays_and_is_back_by_itself(site):
    """Disabled: session and COMMAND end at once, the agent stays; enabled: back online, with nobody touching its host."""
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
def test_deleted_or_revoked_it_exits_3(site, order, code):
    """The COMMAND ends, the agent exits 3 with the reference, and the operator finds it."""
    agent, runs = working(with_key(site))
    (key,) = (key for key in site.operator.json("api-key", "list") if key["used_by"])

    site.operator.done(*(part.format(key=key["name"]) for part in order))

    assert agent.exit_code() == 3
    until(lambda: all(gone(pid) for pid in runs()[0]), "the end of the COMMAND and all it started")
    (refused,) = agent.events("refused")
    assert refused["code"] == code
    assert site.cause(refused["reference"]) == code


def test_deleted_while_it_was_away_it_exits_3_too(site):
    """An enrolled Worker whose entry is gone is refused for good at its next start; its container's termination message says so."""
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


def test_a_stubborn_command_is_killed_and_a_clean_stop_is_offline_at_once(site):
    """SIGTERM: the COMMAND gets it, then SIGKILL after the grace; the Worker is offline when it has ended."""
    agent, runs = working(with_key(site), "stubborn")

    assert agent.terminate() == 128 + signal.SIGKILL

    assert site.status("press-01") == "offline"
    until(lambda: all(gone(pid) for pid in runs()[0]), "the end of the COMMAND and all it started")


@pytest.mark.parametrize("code", [0, 7])
def test_the_commands_exit_code_is_passed_through(site, code):
    """When the COMMAND ends by itself the Worker signs off and exits with its code."""
    host = with_key(site)
    agent = host.start("run", "worker", "--", "sh", "-c", f"exit {code}")

    assert agent.exit_code() == code
    assert site.status("press-01") == "offline"


@pytest.mark.parametrize(("program", "code"), [("no-such-program", 127), ("./notes.txt", 126)])
def test_a_command_that_cannot_be_started_is_told_before_the_server_hears_of_it(site, program, code):
    """A shell's exit code and one line with the program's name; the Worker was never connected."""
    host = with_key(site)
    (host.home / "notes.txt").write_text("no program")
    result = host.run("run", "worker", "--", program)

    assert result.returncode == code
    assert [line for line in result.stderr.splitlines() if program in line] == [result.stderr.strip()]
    assert site.status("press-01") == "never_connected"


def test_none_of_the_workers_secrets_reach_the_command(site, tmp_path):
    """The COMMAND's environment has the Worker's ID, and neither key nor secret nor a path to them."""
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


def test_an_outage_needs_no_human_and_does_not_stop_the_work(site):
    """The Server is killed and comes back: both Workers are online again, and the COMMAND has never stopped."""
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


def test_started_before_its_server_a_worker_waits(site):
    """A Worker that finds nobody asks again until somebody is there."""
    host = site.worker_host("b", LYFTDATA_WORKER_NAME="press-02", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    site.server.terminate()
    agent = host.start("run", "worker")
    agent.wait_for("retrying")

    site.start_server()

    agent.wait_for("online")


def test_a_stopping_server_lets_its_workers_go_and_they_come_back(site):
    """A rolling restart: held polls are answered, the Server stops quickly, the Workers are back by themselves."""
    host = with_key(site)
    agent = host.start("run", "worker")
    agent.wait_for("online")

    assert site.server.terminate() == 0
    site.start_server()

    agent.wait_for("online", count=2)


def test_killed_and_started_again_it_is_no_clone(site):
    """After kill -9 the next start takes the place at once, under the same ID."""
    host = with_key(site)
    first = host.start("run", "worker")
    first.wait_for("online")
    first.kill()

    second = host.start("run", "worker")

    second.wait_for("online")
    assert second.events("refused") == []
    assert site.status("press-01") == "online"


def test_a_copy_is_refused_and_both_hosts_are_shown(site):
    """Two processes with one identity: the first keeps its place, the second stays out, does no work, and gets in later."""
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


def test_two_programs_do_not_share_a_directory(site):
    """A second Worker in the same directory exits 2 and names LYFTDATA_JOBS_DIR."""
    host = site.worker_host("b", LYFTDATA_WORKER_NAME="press-02", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    host.start("run", "worker").wait_for("online")

    message = host.home / "termination-log"
    message.touch()

    result = host.run("run", "worker", LYFTDATA_TERMINATION_LOG=str(message))

    assert result.returncode == 2
    assert "LYFTDATA_JOBS_DIR" in result.stderr
    assert "LYFTDATA_JOBS_DIR" in message.read_text()


def test_a_name_in_use_waits_until_it_is_free(site):
    """Another host with the same name is refused while the holder is connected, and gets a new ID once it has gone."""
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


def test_the_directory_is_private(site):
    """Identity key and identity have mode 0600 in a directory of 0700; one that others can read is refused."""
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


def test_tokens_for_scripts(site):
    """`lyftdata token` prints a token by API key and by stored identity, that the Server takes; exit 3 when refused."""
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


def test_no_secret_in_any_log_or_argv(fresh_programs, own_site):
    """After a day's worth of events, neither key, secret, password nor token is in a log or a command line."""
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
        # Header and claims of a JWT; three letters alone may stand in the thumbprint of a key.
        assert not re.search(r"eyJ[\w-]+\.eyJ", program.log)
        assert not any(line.startswith("lyftdata_") for line in program.log.splitlines())
        argv = Path(f"/proc/{program.process.pid}/cmdline").read_bytes().decode()
        assert not [secret for secret in secrets if secret in argv]


def test_an_idle_worker_and_server_are_small(fresh_programs, own_site):
    """Bounds with room, so that a library that doubles either is noticed: measured figures are in the docs."""
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


def test_a_read_only_directory_loses_nothing(site, tmp_path):
    """A directory that cannot be written is a clear error before anything is sent: no entry is made."""
    if os.geteuid() == 0:
        # Root may write anywhere but where there is nothing to write to: a file in the directory's place.
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
