"""Proxies and other programs that answer instead of the Server: messages say what answered, and what to do."""

import http.server
import json
import threading

import pytest
from tests.certificates import self_signed
from tests.processes import Host

from lyftdata.verify import KeysUnavailableError, UnknownKeyError, WorkerVerifier

# A token with an unknown key: to find that out, a verifier must fetch the keys.
UNKNOWN = "eyJhbGciOiJFUzI1NiIsImtpZCI6IngiLCJ0eXAiOiJhdCtqd3QifQ.e30.AAAA"
ELSEWHERE = "https://lyft.invalid"
CREDENTIALS = {"LYFTDATA_WORKER_ID": "press", "LYFTDATA_WORKER_API_KEY": "lyftdata_wrong"}


class CannedServer:
    """An HTTP server that gives every request the same answer."""

    def __init__(self, status, headers=(), body=b""):
        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_CONNECT = answer  # noqa: N815 - the library's names

            def log_message(self, *_arguments):
                """Log nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.address = self.url.removeprefix("http://")
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def between():
    """Return a function that starts such servers; they are stopped after the test."""
    made = []

    def make(*arguments):
        made.append(CannedServer(*arguments))
        return made[-1]

    yield make
    for program in made:
        program.close()


PAGE = b"<html>Sign in to the network</html>"
REDIRECT = [("Location", "https://lyft.example/login?next=secret")]


@pytest.mark.parametrize(
    ("answer", "message", "remedy"),
    [
        (
            (301, REDIRECT),
            "answered 301 (Location: https://lyft.example/login)",
            "set LYFTDATA_URL=https://lyft.example",
        ),
        ((200, [("Content-Type", "text/html")], PAGE), "answered 200", "A sign-in page or another service"),
        ((403, [], b"blocked by policy"), "answered 403", "A proxy, a firewall or another program"),
        (
            (401, [("WWW-Authenticate", "Basic")]),
            "answered 401",
            "A proxy, a firewall or another program",
        ),
        ((407, [("Proxy-Authenticate", "Basic")]), "answered 407", "A proxy wants to know who asks"),
        ((502, [], b"bad gateway"), "answered 502", "gets no answer from it"),
    ],
)
def test_an_answer_that_is_not_the_servers_is_reported_as_such(tmp_path, between, answer, message, remedy):
    """Agent and command line show the URL, the status, the target of a redirect, and the remedy."""
    program = between(*answer)
    host = Host(tmp_path, LYFTDATA_URL=program.url, LYFTDATA_JOBS_DIR=str(tmp_path / "jobs"))

    agent = host.start("run", "worker", **CREDENTIALS)
    line = agent.wait_for("retrying")
    agent.kill()
    operator = host.run("login", "admin", "--password-stdin", stdin="a password\n")

    assert f"{program.url} {message}" in line["reason"]
    assert remedy in line["remedy"]
    assert (operator.returncode, program.url in operator.stderr) == (1, True)
    assert message in operator.stderr
    # For a proxy's own 502 the command line has another remedy.
    assert remedy in operator.stderr or answer[0] == 502
    assert "secret" not in agent.log + operator.stderr


def test_tls_mistakes_are_reported_with_a_remedy(tmp_path, open_site, between):
    """Plain http to a Server with TLS, a missing CA, another host name, and https to a Server without TLS."""
    cert, key = self_signed(tmp_path)
    site = open_site(LYFTDATA_TLS_CERT=str(cert), LYFTDATA_TLS_KEY=str(key))
    cases = [
        (f"http://localhost:{site.port}", {}, "may speak https"),
        (f"https://localhost:{site.port}", {}, "set LYFTDATA_TLS_CA"),
        (f"https://127.0.0.1:{site.port}", {"LYFTDATA_TLS_CA": str(cert)}, "another name"),
        (between(200).url.replace("http:", "https:"), {}, "does not speak https"),
    ]
    for number, (url, more, remedy) in enumerate(cases):
        host = Host(tmp_path / str(number), LYFTDATA_URL=url, **more)

        agent = host.start("run", "worker", **CREDENTIALS)
        line = agent.wait_for("retrying")
        agent.kill()
        operator = host.run("login", "admin", "--password-stdin", stdin="a password\n")

        assert url in line["reason"]
        assert remedy in line.get("remedy", ""), line
        assert remedy in operator.stderr


def test_a_verifier_accepts_a_private_ca(tmp_path, open_site):
    """With `tls_ca=` it fetches the keys of a Server whose certificate the system does not trust; without it, the error names it."""
    cert, key = self_signed(tmp_path)
    site = open_site(LYFTDATA_TLS_CERT=str(cert), LYFTDATA_TLS_KEY=str(key))
    url = f"https://localhost:{site.port}"

    with pytest.raises(KeysUnavailableError, match="tls_ca="):
        WorkerVerifier(url, audience=url).verify(UNKNOWN)
    with pytest.raises(UnknownKeyError):
        WorkerVerifier(url, audience=url, tls_ca=cert).verify(UNKNOWN)


def test_a_lasting_failure_is_logged_at_level_warning(tmp_path, between):
    """After a few attempts, so that operators who only read warnings see it."""
    host = Host(tmp_path, LYFTDATA_URL=between(403).url, LYFTDATA_LOG_LEVEL="warning")
    agent = host.start("run", "worker", **CREDENTIALS)

    assert agent.wait_for("retrying")["level"] == "warning"
    agent.kill()


def test_a_proxy_that_demands_a_password_is_named(tmp_path, between):
    """With its address and the environment variable, but not the password in it."""
    proxy = between(407, [("Proxy-Authenticate", "Basic")])
    named = {"HTTPS_PROXY": f"http://me:hunter2@{proxy.address}", "LYFTDATA_URL": ELSEWHERE}
    host = Host(tmp_path, **named)

    agent = host.start("run", "worker", **CREDENTIALS)
    line = agent.wait_for("retrying")
    agent.kill()
    operator = host.run("login", "admin", "--password-stdin", stdin="a password\n")

    for text in (f"{line['reason']} {line['remedy']}", operator.stderr):
        assert f"{ELSEWHERE} cannot be reached through the proxy {proxy.address} (HTTPS_PROXY): 407" in text
        assert "NO_PROXY=lyft.invalid" in text
        assert "hunter2" not in text


COMMANDS = [
    ["run", "worker"],
    ["token"],
    ["login", "admin", "--password-stdin"],
    ["config", "check", "worker"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=["worker", "token", "cli", "check"])
def test_an_unusable_proxy_setting_is_a_one_line_error(tmp_path, command):
    """For a SOCKS proxy each command exits 2 and names the variable."""
    host = Host(tmp_path, LYFTDATA_URL=ELSEWHERE, ALL_PROXY="socks5://127.0.0.1:1", **CREDENTIALS)

    done = host.run(*command, stdin="a password\n")

    assert done.returncode == 2
    assert "ALL_PROXY: a proxy of the kind socks5:// cannot be used" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_an_unusable_proxy_is_ignored_for_a_server_in_no_proxy(tmp_path):
    """The Server is contacted directly, which here fails."""
    host = Host(
        tmp_path,
        LYFTDATA_URL=ELSEWHERE,
        ALL_PROXY="socks5://127.0.0.1:1",
        HTTPS_PROXY="ftp://p.example",
        NO_PROXY="lyft.invalid",
    )

    agent = host.start("run", "worker", **CREDENTIALS)
    line = agent.wait_for("retrying")
    agent.kill()
    operator = host.run("login", "admin", "--password-stdin", stdin="a password\n")

    assert line["reason"].startswith(f"{ELSEWHERE} cannot be reached: ")
    assert operator.returncode == 1
    assert f"{ELSEWHERE} cannot be reached: " in operator.stderr


@pytest.mark.parametrize(("no_proxy", "message"), [("", "ALL_PROXY: "), ("lyft.invalid", f"{ELSEWHERE}/")])
def test_the_verifier_reports_an_unusable_proxy(monkeypatch, no_proxy, message):
    """Its error names the variable; with the Server in NO_PROXY it contacts the Server directly."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    verifier = WorkerVerifier(ELSEWHERE, audience="https://service.example.com")

    with pytest.raises(KeysUnavailableError) as refused:
        verifier.verify(UNKNOWN)

    assert message in json.dumps(str(refused.value))
