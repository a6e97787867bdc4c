"""The Server's edges: TLS, proxies, heads without end, ports, directories, and the command line against it."""

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
    """With a certificate the Server speaks TLS alone; a Worker that does not trust it does not connect, one that does is online."""
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
    """A Worker's key and an operator's password do not cross the network in the clear, unless somebody says so."""
    host = Host(
        tmp_path / "h", LYFTDATA_URL="http://192.0.2.1:3000", LYFTDATA_JOBS_DIR=str(tmp_path / "jobs")
    )
    worker = host.run("run", "worker", LYFTDATA_WORKER_ID="a", LYFTDATA_WORKER_API_KEY="b")
    operator = host.run("login", "admin", "--password-stdin", stdin="x\n")

    for result in (worker, operator):
        assert result.returncode == 2
        assert "LYFTDATA_ALLOW_HTTP" in result.stderr


def test_a_server_that_calls_itself_otherwise_is_not_enrolled_with(open_site):
    """The issuer must be the address that the Worker was given, or the one it was told."""
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
    """Fail once with these headers; return the address that the operator sees."""
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
def test_only_trusted_proxies_are_believed(open_site, trusted, seen):
    """`X-Forwarded-For` of an unknown caller changes nothing: nobody dodges the limit or blames another address by it."""
    site = open_site(**({"LYFTDATA_TRUSTED_PROXIES": trusted} if trusted else {}))
    site.sign_in()

    assert refused_from(site, {"X-Forwarded-For": "198.51.100.7"}) == seen


def talk(port, *pieces, pause_s=0.0):
    """Send raw bytes; return what comes back until the Server closes."""
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


def test_heads_are_bounded(shared_site):
    """A head without end, one huge header, a huge URL and nonsense are cut off; the Server goes on."""
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


def test_trailers_are_not_headers(shared_site):
    """What follows a chunked body neither authenticates a request nor fills the Server's memory."""
    site = shared_site
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    host = site.worker_host("a", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key)
    bearer = host.done("token").strip().encode()
    head = b"GET /auth/verify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert b" 204 " not in talk(site.port, head, b"0\r\nAuthorization: Bearer " + bearer + b"\r\n\r\n")
    flood = [b"X-Fill: " + b"a" * 1000 + b"\r\n"] * 100
    talk(site.port, head.replace(b"close", b"keep-alive"), b"0\r\n", *flood)
    assert site.server.alive()


def test_a_chunked_body_without_end_is_cut_off(shared_site):
    """A body's size is bounded although its length is not told."""
    site = shared_site
    head = (
        b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\n"
    )
    answer = talk(site.port, head, *[b"1000\r\n" + b"a" * 4096 + b"\r\n"] * 20)

    assert answer.startswith(b"HTTP/1.1 413")


def test_a_port_that_is_taken(tmp_path, site):
    """A second Server on the same port says so and exits 1, without a traceback."""
    host = Host(
        tmp_path / "second",
        LYFTDATA_BIND_ADDRESS=f"127.0.0.1:{site.port}",
        LYFTDATA_STAGING_DIR=str(tmp_path / "second-staging"),
    )
    result = host.run("run", "server")

    assert result.returncode == 1
    assert "address already in use" in result.stderr.lower()
    assert "Traceback" not in result.stderr


def test_a_directory_that_others_can_read(tmp_path):
    """The Server refuses to start and says how to remedy it."""
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open").chmod(0o755)
    given = {"LYFTDATA_STAGING_DIR": str(tmp_path / "open"), "LYFTDATA_BIND_ADDRESS": "127.0.0.1:0"}
    result = Host(tmp_path / "h", **given).run("run", "server")

    assert result.returncode == 2
    assert "chmod 700" in result.stderr


def test_everything_the_server_writes_is_its_own(site):
    """Database, WAL and key have mode 0600 in a directory of 0700."""
    staging = Path(site.server_host.environ["LYFTDATA_STAGING_DIR"])

    assert oct(staging.stat().st_mode & 0o777) == "0o700"
    assert {oct(file.stat().st_mode & 0o777) for file in staging.iterdir()} == {"0o600"}


def test_the_database_alone_lets_nobody_in(site):
    """Key, secret, password, session and private keys are in no file of the database."""
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


def test_watching_workers_come_and_go(shared_site):
    """`workers watch` prints a line whenever a Worker's state changes."""
    site = shared_site
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    watch = site.operator.start("workers", "watch", PYTHONUNBUFFERED="1")
    until(lambda: "Following" in watch.log, "the watcher's stream")
    host = site.worker_host("a", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key)
    agent = host.start("run", "worker")
    agent.wait_for("online")
    # A line tells how the Worker is when the line is written, so one change is waited for before the next.
    until(lambda: "press-01  press-01  online" in watch.log, "the Worker's start in the watcher")
    agent.terminate()
    until(lambda: "press-01  press-01  offline" in watch.log, "the Worker's end in the watcher")
    site.server.terminate()
    site.start_server()
    until(lambda: watch.log.count("Following Workers") == 2, "the watcher following the new Server")
    site.operator.done("workers", "delete", "press-01", "--yes")
    until(lambda: "deleted" in watch.log, "the deletion in the watcher")


def test_quickstart_shows_two_workers_and_ends_cleanly(tmp_path):
    """Workers come online; the printed password signs in, until it is changed; the printed address is the issuer; Ctrl-C leaves nothing."""
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
        # It does not go on with the old password until nobody can sign in.
        assert any("another password now" in line for line in process.stdout)
        operator.done("login", "admin", "--password-stdin", stdin=f"{new}\n")
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        assert process.wait(180) == 0
    assert not list(tmp_path.glob("lyftdata-quickstart-*"))


def test_two_servers_do_not_take_each_others_tokens(tmp_path, open_site):
    """A token of one Server is refused by another."""
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


def test_what_a_killed_quickstart_has_left_goes_with_the_next_one(tmp_path):
    """Its directory holds a password, an enrollment key and a Server's state: SIGKILL leaves it, and the next start removes it."""
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


# A signal that comes while a program is started, within a function whose exceptions Python reports and drops; and one that comes
# before the new directory is known to those that remove it.
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
    """A signal while quickstart makes its directory or starts a program ends it like any other, and leaves nothing."""
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
