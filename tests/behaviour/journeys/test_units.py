"""The units in examples/systemd/: systemd accepts them, and Server and Worker run under them."""

import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.builders import SECRET_KEY
from tests.processes import PASSWORD, WITHIN_S, Host, Site, end_started, free_port
from tests.sandbox import missing
from tests.units import DIRECTORY, Unit, notify_socket

ROOT = DIRECTORY.parents[1]
HOW_TO = ROOT / "docs" / "how-to"
UNITS = {
    "lyftdata-server.service": HOW_TO / "run-under-systemd.md",
    "lyftdata-worker.service": HOW_TO / "run-a-program-under-an-identity.md",
}
WORST_SCORE = 1.5
STATED_SCORE = re.compile(r"`systemd-analyze security` scores the unit ([\d.]+) ")
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
needs_seccomp = pytest.mark.skipif(bool(missing()), reason=missing())


def read(name):
    """Return a unit."""
    return Unit((DIRECTORY / name).read_text())


def host_under(name, root, **environ):
    """Return a host whose programs run under a unit, with its directories below a root."""
    given = read(name).environ(root) | {"PYTHONPATH": str(ROOT)} | environ
    prefix = (sys.executable, str(ROOT / "tests" / "sandbox.py"), str(DIRECTORY / name))
    return Host(root / "home", prefix=prefix, **given)


@pytest.fixture(autouse=True)
def ended():
    """Stop what a test has started."""
    yield
    end_started()


def analyze(name, tmp_path, *arguments):
    """Return the output of systemd-analyze for a unit; lyftdata itself is not installed here."""
    unit = tmp_path / name
    unit.write_text((DIRECTORY / name).read_text().replace("/opt/lyftdata/bin/lyftdata", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", *arguments, "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_the_units(name, tmp_path):
    """`systemd-analyze verify` reports nothing."""
    done = analyze(name, tmp_path, "verify", "--man=no")

    assert (done.stdout, done.stderr) == ("", "")


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_the_units_are_hardened(name, tmp_path):
    """`systemd-analyze security` scores them 1.5 or better, and no worse than the unit's page says."""
    printed = analyze(name, tmp_path, "security", "--offline=yes").stdout

    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", printed)
    assert found, printed
    stated = STATED_SCORE.search(UNITS[name].read_text())
    assert stated
    assert float(found[1]) <= float(stated[1]) <= WORST_SCORE, printed


@pytest.mark.parametrize("name", UNITS)
def test_the_pages_show_the_units(name):
    """Each how-to contains the example file verbatim."""
    assert f"```ini\n{(DIRECTORY / name).read_text()}```\n" in UNITS[name].read_text()


@needs_seccomp
def test_a_server_runs_under_its_unit(tmp_path):
    """With the unit's settings, credentials and restrictions: READY once it answers, the watchdog, and STOPPING at its end."""
    (tmp_path / "etc" / "lyftdata").mkdir(parents=True)
    (tmp_path / "etc" / "lyftdata" / "admin-password").write_text(f"{PASSWORD}\n")
    url = f"http://127.0.0.1:{free_port()}"
    given = {"LYFTDATA_BIND_ADDRESS": url.removeprefix("http://"), "LYFTDATA_PUBLIC_URL": url}
    host = host_under("lyftdata-server.service", tmp_path, **given)
    with notify_socket(tmp_path, within_s=WITHIN_S) as systemd:
        server = host.start(*read("lyftdata-server.service").program(), **systemd.environ)

        assert systemd.wait_for("READY=1") == {"READY": "1", "STATUS": f"Ready: {url}"}, server.log
        with urllib.request.urlopen(f"{url}/readyz") as answer:
            assert answer.status == 200
        systemd.wait_for("WATCHDOG=1")
        # Seccomp mode 2: the filter is in force.
        assert "Seccomp:\t2\n" in Path(f"/proc/{server.process.pid}/status").read_text()
        operator = Host(tmp_path / "operator", LYFTDATA_URL=url)
        assert "successful" in operator.done("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert "READY=1" not in systemd.waiting()
        assert server.terminate() == 0
        ended = systemd.waiting()
        assert "STOPPING=1" in ended
        # A long LYFTDATA_SHUTDOWN_DELAY may exceed the unit's own limit.
        assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in ended)
    assert (tmp_path / "var" / "lib" / "lyftdata" / "lyftdata.db").exists()


@needs_seccomp
@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_a_worker_runs_its_program_under_its_unit(tmp_path):
    """With the unit's restrictions the agent is online, and the page's program gets its token by file and by socket."""
    site = Site(tmp_path / "site")
    key = site.sign_in().done("workers", "add", "press-01", "--id", "press-01", "--issue-key")
    (tmp_path / "etc" / "lyftdata").mkdir(parents=True)
    (tmp_path / "etc" / "lyftdata" / "worker.key").write_text(key)
    page = UNITS["lyftdata-worker.service"].read_text()
    script = tmp_path / "press.sh"
    script.write_text(page.partition("```sh\n")[2].partition("```")[0])
    arguments = read("lyftdata-worker.service").program()
    assert arguments[-1] == "/opt/press/press.sh"
    host = host_under("lyftdata-worker.service", tmp_path, LYFTDATA_URL=site.url)
    with notify_socket(tmp_path, within_s=WITHIN_S) as systemd:
        worker = host.start(*arguments[:-1], str(script), **systemd.environ)

        assert systemd.wait_for("READY=1")["STATUS"] == "Online as press-01."
        assert worker.exit_code() == 0, worker.log
    assert "by file: 204" in worker.log
    assert '{"access_token":"' in worker.log


def test_systemd_restarts_a_server_only_after_temporary_failures(tmp_path):
    """It exits with a code for which systemd restarts it if the database is not up yet, but not if the settings are wrong."""
    host = Host(
        tmp_path / "host", LYFTDATA_STAGING_DIR=str(tmp_path / "staging"), LYFTDATA_SECRET_KEY=SECRET_KEY
    )
    final = read("lyftdata-server.service").value("RestartPreventExitStatus").split()
    given = {"LYFTDATA_PUBLIC_URL": "http://localhost:3000", "LYFTDATA_BIND_ADDRESS": "127.0.0.1:0"}
    down = f"postgresql://lyftdata@127.0.0.1:{free_port()}/lyftdata"

    waiting = host.run("run", "server", **given, LYFTDATA_DATABASE_URL=down)
    wrong = host.run("run", "server", **given, LYFTDATA_WORKER_TOKEN_TTL="never")

    assert str(waiting.returncode) not in {*final, "0"}, waiting.stderr
    assert str(wrong.returncode) in final, wrong.stderr


def test_systemd_does_not_restart_a_worker_that_is_refused_for_good(tmp_path):
    """It exits with codes for which its unit stays down after a refusal, and with wrong settings."""
    site = Site(tmp_path / "site")
    final = read("lyftdata-worker.service").value("RestartPreventExitStatus").split()
    host = site.worker_host("press-01", LYFTDATA_WORKER_ID="press-01")

    refused = host.run("run", "worker", LYFTDATA_WORKER_API_KEY="wrong")
    wrong = host.run("run", "worker")

    assert str(refused.returncode) in final, refused.stderr
    assert str(wrong.returncode) in final, wrong.stderr
    assert refused.returncode != wrong.returncode
