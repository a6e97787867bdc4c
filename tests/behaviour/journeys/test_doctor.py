"""`lyftdata doctor worker` against a real Server: its findings on misconfigured hosts, and none on a correct one."""

import asyncio
import contextlib
import json
import re
import socket
import threading
from datetime import UTC, datetime, timedelta

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.peers.proxies import Peer, program
from tests.peers.proxy_kinds import ProxySetup, nginx
from tests.processes import free_port

from lyftdata.doctor.poll_path import check_held_requests
from lyftdata.doctor.worker import examine_worker
from lyftdata.worker.client import ServerClient
from lyftdata.worker.identity.credentials import choose_credential
from lyftdata.worker.identity.state import StateDirectory
from lyftdata.worker.settings import read_worker_settings


@pytest.fixture
def press(shared_site):
    """Return the host of a Worker with an API key in a private file."""
    host = shared_site.worker_host("press", LYFTDATA_WORKER_ID="press")
    issued = shared_site.operator.done("workers", "add", "press", "--id", "press", "--issue-key")
    key = host.home / "key"
    key.touch(0o600)
    key.write_text(issued)
    host.environ["LYFTDATA_WORKER_API_KEY_FILE"] = str(key)
    return host


def examined(host, **environ):
    """Return the exit code, and the findings by code."""
    result = host.run("doctor", "worker", "--quick", "--json", **environ)
    found = json.loads(result.stdout)
    assert found["ok"] == (result.returncode == 0), result.stderr
    return result.returncode, {finding["code"]: finding for finding in found["findings"]}


def test_nothing_is_found_on_a_correct_host(shared_site, press):
    """Neither before the start nor while the Worker runs, which stays connected."""
    assert press.run("doctor", "worker", "--quick").stderr == "Nothing is wrong.\n"
    agent = press.start("run", "worker")
    agent.wait_for("online")

    assert examined(press) == (0, {})
    assert shared_site.status("press") == "online"


def test_no_fault_is_found_before_and_after_a_worker_enrolls(shared_site):
    """The doctor itself never enrolls: it leaves no entry."""
    host = shared_site.worker_host(
        "fresh", LYFTDATA_WORKER_NAME="fresh", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
    )
    code, found = examined(host)
    assert (code, list(found)) == (0, ["not_enrolled"]), "a key for one use is not used up"
    assert "fresh" not in {worker["name"] for worker in shared_site.workers().values()}

    agent = host.start("run", "worker")
    agent.wait_for("online")

    assert examined(host) == (0, {})


def test_an_identity_with_another_name_is_found(shared_site):
    """The finding names the Worker whose identity it is."""
    host = shared_site.worker_host(
        "first", LYFTDATA_WORKER_NAME="first", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
    )
    host.start("run", "worker").wait_for("online")

    _, found = examined(host, LYFTDATA_WORKER_NAME="second")

    assert "first" in found["no_credential"]["what"]


def test_a_clock_that_is_off_is_found(press):
    """With the difference, and only as a warning, since the Worker itself copes with it."""
    found = asyncio.run(examine_worker(press.environ, now=lambda: datetime.now(UTC) + timedelta(hours=30)))

    assert [finding.check.code for finding in found] == ["clock_off"]
    assert re.search(r"clock is 1d\S* ahead of the Server's", found[0].what)


@contextlib.contextmanager
def server_at(answer):
    """Yield the URL of a listener that gives each connection one answer, or no answer if it is None."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        held = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    held.append(connection)
                    if answer is not None:
                        connection.recv(65_536)
                        connection.sendall(answer)
                        connection.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in held:
            connection.close()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (None, "no_answer"),
        (b"", "no_answer"),
        (b"220 mail.example.com ESMTP\r\n", "no_answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n", "no_answer"),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n", "proxy_without_server"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "not_the_server"),
        (
            b"HTTP/1.1 302 Found\r\nlocation: https://login.example.com/\r\ncontent-length: 0\r\n\r\n",
            "not_the_server",
        ),
    ],
    ids=["mute", "closed", "no HTTP", "cut short", "no Server behind it", "empty page", "sign-in page"],
)
def test_whatever_answers_instead_of_the_server_is_named(press, monkeypatch, answer, code):
    """A proxy that hangs, a proxy without a Server behind it, and another program are different findings."""
    if answer is None:
        monkeypatch.setattr("lyftdata.worker.client._ANSWER_WITHIN_S", 0.5)
    with server_at(answer) as url:
        found = asyncio.run(examine_worker(press.environ | {"LYFTDATA_URL": url}))

    assert [finding.check.code for finding in found] == [code]


PROXY = "server { listen 127.0.0.1:%d; location / { proxy_pass http://127.0.0.1:%d; %s } %s }\n"
SESSION = "location /api/worker/session { proxy_pass http://127.0.0.1:%d; %s }"


@pytest.fixture
def proxied(shared_site, tmp_path):
    """Return a function that starts one nginx in front of the Server and returns a URL for each set of directives."""
    with contextlib.ExitStack() as stack:

        def start(*sessions):
            setup = ProxySetup(tmp_path, server_port=shared_site.port, service_port=0)
            ports = [setup.port, *(free_port() for _ in sessions[1:])]
            text = "".join(
                PROXY % (port, shared_site.port, "", SESSION % (shared_site.port, directives))
                for port, directives in zip(ports, sessions, strict=True)
            )
            stack.callback(nginx(setup, text).close)
            return [f"http://127.0.0.1:{port}" for port in ports]

        yield start


def test_a_proxy_that_blocks_sessions_is_found(press, proxied):
    """A real nginx that passes everything else on."""
    stripped, forbidden = proxied('proxy_set_header Authorization "";', "return 403;")

    assert examined(press, LYFTDATA_URL=stripped)[1].keys() == {"token_lost"}
    assert examined(press, LYFTDATA_URL=forbidden)[1].keys() == {"sessions_blocked"}


def test_a_proxy_that_cuts_held_requests_is_found(press, proxied):
    """With the time after which it cuts them and the timeout it needs; without --quick."""
    (url,) = proxied("proxy_read_timeout 1s;")

    result = press.run("doctor", "worker", "--json", LYFTDATA_URL=url)

    (found,) = json.loads(result.stdout)["findings"]
    assert (result.returncode, found["code"]) == (0, "polls_cut")
    cut = re.search(r"holds for 25 s was cut after ([\d.]+) s", found["what"])
    assert cut is not None, found["what"]
    assert 1 <= float(cut[1]) < 25
    assert "55 s or more (nginx: proxy_read_timeout" in found["fix"]
    assert "holds a request for 25 s" in result.stderr


HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen buffering
  bind 127.0.0.1:%d
  http-response wait-for-body time 20s
  server lyftdata 127.0.0.1:%d
listen healthy
  bind 127.0.0.1:%d
  server lyftdata 127.0.0.1:%d
"""


def test_a_proxy_that_buffers_answers_is_found(shared_site, press, tmp_path):
    """A real HAProxy that waits for the whole answer; there is no finding for one that does not."""
    buffering, healthy = free_port(), free_port()
    file = tmp_path / "haproxy.cfg"
    file.write_text(HAPROXY % (buffering, shared_site.port, healthy, shared_site.port))
    peer = Peer([program("haproxy", "haproxy"), "-db", "-f", str(file)], root=tmp_path, port=buffering)
    try:
        assert held_requests(press, f"http://127.0.0.1:{buffering}") == ["answers_buffered"]
        assert held_requests(press, f"http://127.0.0.1:{healthy}") == []
    finally:
        peer.close()


def held_requests(host, url):
    """Return the codes of the findings for requests that are held for a second."""

    async def find():
        settings = read_worker_settings(host.environ | {"LYFTDATA_URL": url})
        client = ServerClient(settings)
        credential = choose_credential(settings, StateDirectory(settings.jobs_dir))
        assert credential is not None
        token = (await client.token(credential)).access_token
        found = check_held_requests(client, token, hold_s=1.0, announce=lambda _: None)
        codes = [finding.check.code async for finding in found]
        await client.aclose()
        return codes

    return asyncio.run(find())
