"""The Server's edges: TLS, proxies, endless request heads, ports, directories, and the command line."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from tests.builders import ENROLLMENT_KEY
from tests.certificates import self_signed
from tests.processes import PASSWORD, Host, Site, free_port, until

from lyftdata.client import TokenKeeper
from lyftdata.verify import WorkerVerifier


def test_tls_from_end_to_end(tmp_path, open_site):
    """A Worker connects if it trusts the Server's certificate or has checks turned off, which is logged as a warning."""
    cert, key = self_signed(tmp_path)
    site = open_site(
        LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY, LYFTDATA_TLS_CERT=str(cert), LYFTDATA_TLS_KEY=str(key)
    )
    url = f"https://localhost:{site.port}"
    given = {
        "LYFTDATA_URL": url,
        "LYFTDATA_WORKER_NAME": "press-02",
        "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY,
    }

    distrustful = site.worker_host("a", **given).start("run", "worker")
    assert "certificate" in distrustful.wait_for("retrying")["reason"].lower()
    trusting = site.worker_host("b", **given, LYFTDATA_TLS_CA=str(cert)).start("run", "worker")
    assert trusting.wait_for("online")["server"] == url
    unchecked = site.worker_host(
        "c", **{**given, "LYFTDATA_WORKER_NAME": "press-03"}, LYFTDATA_TLS_INSECURE="yes"
    )
    agent = unchecked.start("run", "worker")
    agent.wait_for("online")
    assert "LYFTDATA_TLS_INSECURE" in agent.events("configuration_warning")[0]["problem"]
    operator = Host(tmp_path / "op", LYFTDATA_URL=url, LYFTDATA_TLS_CA=str(cert))
    operator.done("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert len(operator.json("workers", "list")) == 2


def test_plain_http_to_another_machine_is_refused(tmp_path):
    """A Worker's key and an operator's password do not cross the network in the clear unless LYFTDATA_ALLOW_HTTP is set."""
    host = Host(
        tmp_path / "h", LYFTDATA_URL="http://192.0.2.1:3000", LYFTDATA_JOBS_DIR=str(tmp_path / "jobs")
    )
    worker = host.run("run", "worker", LYFTDATA_WORKER_ID="a", LYFTDATA_WORKER_API_KEY="b")
    operator = host.run("login", "admin", "--password-stdin", stdin="x\n")

    for result in (worker, operator):
        assert result.returncode == 2
        assert "LYFTDATA_ALLOW_HTTP" in result.stderr


def test_a_worker_does_not_enroll_with_a_server_of_another_public_url(open_site):
    """The issuer must be the Worker's LYFTDATA_URL, or its LYFTDATA_PUBLIC_URL."""
    site = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY, LYFTDATA_PUBLIC_URL="https://lyft.example")
    site.sign_in()
    given = {"LYFTDATA_WORKER_NAME": "press-02", "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY}

    result = site.worker_host("a", **given).run("run", "worker")
    assert result.returncode == 2
    assert "LYFTDATA_PUBLIC_URL" in result.stderr
    assert site.workers() == {}
    with_public_url = site.worker_host("b", **given, LYFTDATA_PUBLIC_URL="https://lyft.example").start(
        "run", "worker"
    )
    with_public_url.wait_for("online")


def refused_from(site, headers):
    """Fail to authenticate once with these headers; return the address that the operator sees."""
    answer = httpx2.post(
        f"{site.url}/oauth2/token",
        data={"grant_type": "client_credentials", "client_id": "x", "client_secret": "y"},
        headers=headers,
        trust_env=False,
        timeout=180,
    )
    return site.operator.json("refusals", "show", answer.json()["reference"])["address"]


@pytest.mark.parametrize(
    ("trusted", "seen"), [("", "127.0.0.1"), ("127.0.0.0/8", "198.51.100.7"), ("192.0.2.1", "127.0.0.1")]
)
def test_forwarded_addresses_are_accepted_only_from_trusted_proxies(open_site, trusted, seen):
    """Other callers cannot evade a limit or blame another address with `X-Forwarded-For`."""
    site = open_site(**({"LYFTDATA_TRUSTED_PROXIES": trusted} if trusted else {}))
    site.sign_in()

    assert refused_from(site, {"X-Forwarded-For": "198.51.100.7"}) == seen


def talk(port, *pieces, pause_s=0.0):
    """Send raw bytes; return the answer until the Server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=180) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause_s)
        except OSError:
            pass
        answer = b""
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except OSError:
            pass
        return answer


def test_request_heads_are_bounded(shared_site):
    """An endless head, a huge header, a huge URL and garbage are rejected; the Server goes on."""
    site = shared_site
    begin = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    assert talk(site.port, begin, *[b"X-Fill: " + b"a" * 1000 + b"\r\n"] * 60).startswith(b"HTTP/1.1 431")
    assert talk(site.port, begin + b"X-Fill: " + b"a" * 40_000 + b"\r\n\r\n").startswith(b"HTTP/1.1 431")
    assert talk(site.port, begin + b"X-Fill: ", *[b"a" * 10_000] * 200).startswith(b"HTTP/1.1 431")
    assert talk(site.port, b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n").startswith(
        b"HTTP/1.1 431"
    )
    assert talk(site.port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10).startswith(b"HTTP/1.1 400")
    fine = talk(site.port, begin + b"Connection: close\r\nX-Fill: " + b"a" * 20_000 + b"\r\n\r\n")
    assert fine.startswith(b"HTTP/1.1 200")
    two = begin + b"\r\n" + begin + b"Connection: close\r\n\r\n"
    assert talk(site.port, two).count(b"HTTP/1.1 200") == 2
    assert site.server.alive()
    assert "Traceback" not in site.server.log


def test_trailers_are_not_treated_as_headers(shared_site):
    """Fields after a chunked body neither authenticate a request nor fill the Server's memory."""
    site = shared_site
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    host = site.worker_host("a", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key)
    bearer = host.done("token").strip().encode()
    head = b"GET /auth/verify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert b" 204 " not in talk(site.port, head, b"0\r\nAuthorization: Bearer " + bearer + b"\r\n\r\n")
    flood = [b"X-Fill: " + b"a" * 1000 + b"\r\n"] * 100
    talk(site.port, head.replace(b"close", b"keep-alive"), b"0\r\n", *flood)
    assert site.server.alive()


def test_an_endless_chunked_body_is_cut_off(shared_site):
    """The size of a body is limited even if its length is not declared."""
    site = shared_site
    head = (
        b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\n"
    )
    answer = talk(site.port, head, *[b"1000\r\n" + b"a" * 4096 + b"\r\n"] * 20)

    assert answer.startswith(b"HTTP/1.1 413")


def test_a_second_server_on_the_same_port_exits_1(tmp_path, site):
    """With a message and without a traceback."""
    host = Host(
        tmp_path / "second",
        LYFTDATA_BIND_ADDRESS=f"127.0.0.1:{site.port}",
        LYFTDATA_STAGING_DIR=str(tmp_path / "second-staging"),
    )
    result = host.run("run", "server")

    assert result.returncode == 1
    assert "address already in use" in result.stderr.lower()
    assert "Traceback" not in result.stderr


def test_a_server_refuses_a_data_directory_that_others_can_read(tmp_path):
    """It does not start, and says how to fix it."""
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open").chmod(0o755)
    given = {"LYFTDATA_STAGING_DIR": str(tmp_path / "open"), "LYFTDATA_BIND_ADDRESS": "127.0.0.1:0"}
    result = Host(tmp_path / "h", **given).run("run", "server")

    assert result.returncode == 2
    assert "chmod 700" in result.stderr


def test_files_of_the_server_are_private(site):
    """Database, WAL and key have mode 0600 in a directory with 0700."""
    staging = Path(site.server_host.environ["LYFTDATA_STAGING_DIR"])

    assert oct(staging.stat().st_mode & 0o777) == "0o700"
    assert {oct(file.stat().st_mode & 0o777) for file in staging.iterdir()} == {"0o600"}


def test_the_database_contains_no_usable_secret(site):
    """Its files contain no API key, enrollment key, password, session, secret key or private key."""
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    enrolled = site.worker_host("b", LYFTDATA_WORKER_NAME="n", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    enrolled.start("run", "worker").wait_for("online")
    (credentials,) = site.operator.home.rglob("credentials.json")
    session = next(iter(json.loads(credentials.read_text()).values()))
    staging = Path(site.server_host.environ["LYFTDATA_STAGING_DIR"])
    content = b"".join(file.read_bytes() for file in staging.glob("lyftdata.db*"))

    for secret in (
        key,
        key[20:52],
        ENROLLMENT_KEY,
        PASSWORD,
        session,
        (staging / "secret.key").read_text().strip(),
    ):
        assert secret.encode() not in content
    assert b"PRIVATE KEY" not in content


def test_workers_watch_shows_changes_of_workers(shared_site):
    """It prints a line when a Worker connects, disconnects or is deleted, also after a restart of the Server."""
    site = shared_site
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    watch = site.operator.start("workers", "watch", PYTHONUNBUFFERED="1")
    until(lambda: "Following" in watch.log, "the watcher's stream")
    host = site.worker_host("a", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key)
    agent = host.start("run", "worker")
    agent.wait_for("online")
    # A line shows the Worker's state when the line is written, so wait for each change before the next.
    until(lambda: "press-01  press-01  online" in watch.log, "the Worker's start in the watcher")
    agent.terminate()
    until(lambda: "press-01  press-01  offline" in watch.log, "the Worker's end in the watcher")
    site.server.terminate()
    site.start_server()
    until(lambda: watch.log.count("Following Workers") == 2, "the watcher following the new Server")
    site.operator.done("workers", "delete", "press-01", "--yes")
    until(lambda: "deleted" in watch.log, "the deletion in the watcher")


def test_quickstart_runs_two_workers_and_ends_cleanly(tmp_path):
    """The printed password works until it is changed, the printed address is the issuer, and Ctrl-C leaves no files."""
    home = tmp_path / "home"
    home.mkdir()
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(tmp_path),
        "PYTHONUNBUFFERED": "1",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "lyftdata", "quickstart"], env=environ, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if sum("press-" in seen and seen.rstrip().endswith("online") for seen in lines) == 2:
                break
        (server,) = [line for line in lines if line.startswith("Server")]
        url, password = server.split()[1], server.rpartition(" ")[2].strip().rstrip(")")
        (kept,) = tmp_path.glob("lyftdata-quickstart-*/admin-password")
        assert kept.read_text() == password
        operator = Host(home, LYFTDATA_URL=url)
        operator.done("login", "admin", "--password-stdin", stdin=f"{password}\n")
        assert {w["status"] for w in operator.json("workers", "list")} == {"online"}
        key = operator.done("workers", "add", "press-03", "--id", "press-03", "--issue-key").strip()
        token = TokenKeeper.with_api_key(url, worker_id="press-03", api_key=key).get()
        assert WorkerVerifier(url, audience=url).verify(token).worker_id == "press-03"
        new = "moss lantern 41 gravel"
        operator.done("password", "--password-stdin", stdin=f"{password}\n{new}\n")
        # It stops using the old password before failed sign-ins lock the operator out.
        assert any("another password now" in line for line in process.stdout)
        operator.done("login", "admin", "--password-stdin", stdin=f"{new}\n")
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        assert process.wait(180) == 0
    assert not list(tmp_path.glob("lyftdata-quickstart-*"))


def test_two_servers_do_not_accept_each_others_tokens(tmp_path, open_site):
    """Separate Servers, each with its own keys."""
    one, other = open_site(), Site(tmp_path / "other")
    one.sign_in()
    key = one.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    host = one.worker_host("a", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key)
    headers = {"Authorization": f"Bearer {host.done('token').strip()}"}

    assert (
        httpx2.get(f"{one.url}/auth/verify", headers=headers, trust_env=False, timeout=180).status_code == 204
    )
    assert (
        httpx2.get(f"{other.url}/auth/verify", headers=headers, trust_env=False, timeout=180).status_code
        == 401
    )
    assert free_port()


def test_the_next_quickstart_removes_the_directory_of_a_killed_one(tmp_path):
    """The directory holds a password, an enrollment key and a Server's state, and SIGKILL leaves it behind."""
    place = tmp_path / "tmp"
    place.mkdir(mode=0o700)
    host = Host(tmp_path / "host", TMPDIR=str(place), PYTHONUNBUFFERED="1")

    def left():
        return list(place.glob("lyftdata-quickstart-*"))

    killed = host.start("quickstart")
    until(lambda: left() and (left()[0] / "admin-password").exists(), "the demonstration begins")
    (first,) = left()
    killed.kill()
    assert first.exists()

    second = host.start("quickstart")
    until(lambda: left() and left() != [first] and not first.exists(), "the next one has removed it")
    assert second.terminate() == 0
    assert left() == []


# A signal while a program is started, inside a function whose exceptions Python reports and drops; and a signal before the
# new directory is known to the code that removes it.
SIGNAL_AT_A_FORK = """
import os, signal
before = iter([signal.SIGTERM])
os.register_at_fork(after_in_parent=lambda: [signal.raise_signal(number) for number in before])
"""
SIGNAL_AT_ITS_DIRECTORY = """
import signal, tempfile
make = tempfile.mkdtemp
def make_and_signal(**given):
    made = make(**given)
    signal.raise_signal(signal.SIGTERM)
    return made
tempfile.mkdtemp = make_and_signal
"""


@pytest.mark.parametrize(
    "moment", [SIGNAL_AT_A_FORK, SIGNAL_AT_ITS_DIRECTORY], ids=["a fork", "its directory"]
)
def test_quickstart_ends_cleanly_whenever_the_signal_comes(tmp_path, moment):
    """Even while it creates its directory or starts a program; it leaves no files."""
    script = f"{moment}\nfrom lyftdata.cli.main import main\nmain()"
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", script, "quickstart"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("Stopping.\n")
    assert not list(tmp_path.glob("lyftdata-quickstart-*"))
