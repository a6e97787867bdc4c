"""Third-party services check Workers with our library: the examples of docs/how-to/check-workers-in-a-service.md, run."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from tests.builders import ENROLLMENT_KEY
from tests.processes import free_port, until
from tests.unit.core.forge import b64

from lyftdata.verify.errors import VerificationError

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "check-workers-in-a-service.md"
TEXT = PAGE.read_text(encoding="utf-8")


def examples() -> dict[str, list[str]]:
    """Return the page's Python blocks by their heading."""
    found = {}
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        found[section.partition("\n")[0]] = re.findall(
            r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE
        )
    return found


EXAMPLES = examples()
SERVERS = {
    "FastAPI": ("uvicorn", "service:app", "--port"),
    "Starlette and every other ASGI application": ("uvicorn", "service:app", "--port"),
    "Flask and every other WSGI application": ("flask", "--app", "service", "run", "--port"),
}


def with_key(site, worker_id="press-01"):
    """Add a Worker with a key; return the environment of its host."""
    key = site.operator.done("workers", "add", worker_id, "--id", worker_id, "--issue-key").strip()
    return {"LYFTDATA_URL": site.url, "LYFTDATA_WORKER_ID": worker_id, "LYFTDATA_WORKER_API_KEY": key}


def run_example(example, directory, environ, *, site, service=""):
    """Run an example on a Worker's host; return its output."""
    directory.mkdir(exist_ok=True)
    (directory / "client.py").write_text(placed(example, site, service))
    done = subprocess.run(
        [sys.executable, "client.py"],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), **environ},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def placed(example, site, service=""):
    """Return an example with the page's addresses replaced by those of this Server and service."""
    return example.replace("https://lyftdata.example.com", site.url).replace(
        "https://files.example.com", service
    )


@pytest.fixture
def serve(tmp_path, site):
    """Return a function that serves an example with its framework and returns the URL."""
    running: list[subprocess.Popen[bytes]] = []

    def start(heading, *, options="", audience=site.url):
        port, directory = free_port(), tmp_path / f"service-{len(running)}"
        directory.mkdir()
        example = placed(EXAMPLES[heading][0], site)
        (directory / "service.py").write_text(
            example.replace(f'audience="{site.url}"', f'audience="{audience}"{options}')
        )
        program = SERVERS[heading]
        with (directory / "log").open("wb") as log:
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", *program, str(port)],
                    cwd=directory,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
        url = f"http://127.0.0.1:{port}"

        def answers():
            assert running[-1].poll() is None, (directory / "log").read_text()
            try:
                return httpx2.get(f"{url}/whoami", timeout=180).status_code == 401
            except httpx2.TransportError:
                return False

        until(answers, f"{heading} to serve")
        return url

    yield start
    for process in running:
        process.send_signal(signal.SIGKILL)
        process.wait()


def ask(url, token, path="/whoami", method="GET"):
    """Send a request with a token to a service; return the answer."""
    return httpx2.request(method, url + path, headers={"Authorization": f"Bearer {token}"}, timeout=180)


def token_of(site, environ, **wanted):
    """Return a token of a Worker with an API key."""
    form = {
        "grant_type": "client_credentials",
        "client_id": environ["LYFTDATA_WORKER_ID"],
        "client_secret": environ["LYFTDATA_WORKER_API_KEY"],
    }
    return httpx2.post(f"{site.url}/oauth2/token", data=form | wanted, timeout=180).json()["access_token"]


def test_every_example_of_the_page_works(tmp_path, site, serve):
    """Each framework's example accepts a Worker of each strategy with each client's example, and no caller with an invalid token."""
    key_environ = with_key(site)
    enrolled = site.worker_host(
        "b", LYFTDATA_WORKER_NAME="press-02", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
    )
    enrolled_id = enrolled.start("run", "worker").wait_for("online")["worker_id"]
    identity_environ = {"LYFTDATA_URL": site.url, "LYFTDATA_JOBS_DIR": enrolled.environ["LYFTDATA_JOBS_DIR"]}
    by_httpx2, _by_httpx, _by_aiohttp, by_requests, by_hand = EXAMPLES["Call a service as a Worker"]

    for heading in SERVERS:
        url = serve(heading)
        who = [
            run_example(client, tmp_path / "client", environ, site=site, service=url).strip('"')
            for client in (by_httpx2, by_requests)
            for environ in (key_environ, identity_environ)
        ]
        assert who == ["press-01", enrolled_id] * 2, heading
        refused = ask(url, "nonsense")
        assert refused.status_code == 401
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]
        if heading == "FastAPI":
            assert ask(url, token_of(site, key_environ), "/jobs", "POST").status_code == 403
        else:
            assert httpx2.get(f"{url}/healthz", timeout=180).text == "fine"

    token = run_example(by_hand, tmp_path / "client", key_environ, site=site)
    check_grpc_example(site, token)
    check_plain_example(site, token)


def check_grpc_example(site, token):
    """Check the gRPC example, with its method in a service."""
    namespace: dict[str, Any] = {}
    exec(placed(EXAMPLES["gRPC"][0], site), namespace)
    method: Any = grpc.unary_unary_rpc_method_handler(namespace["whoami"])
    server = namespace["server"]
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("jobs.Jobs", {"whoami": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as opened:
            channel: Any = opened
            call = channel.unary_unary("/jobs.Jobs/whoami")
            assert call(b"", metadata=[("authorization", f"Bearer {token}")], timeout=180) == b"press-01"
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", timeout=180)
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    finally:
        server.stop(None).wait(180)


def check_plain_example(site, token):
    """Check the example without a framework, with a Server and without one."""
    namespace: dict[str, Any] = {}
    exec(placed(EXAMPLES["Anything else"][0], site), namespace)
    assert namespace["who"](token) == "press-01"
    assert namespace["who"](token[:-4] + "AAAA") == "refused: token_signature"

    nowhere: dict[str, Any] = {}
    example = EXAMPLES["Anything else"][0]
    exec(example.replace("https://lyftdata.example.com", f"http://127.0.0.1:{free_port()}"), nowhere)
    assert nowhere["who"](token) == "ask again: keys_unavailable"


def test_only_online_checks_see_a_disabled_worker_and_need_the_server(site, serve):
    """A disabled Worker is refused at once by online checks; while the Server is down, offline and fail-open checks still accept."""
    environ = with_key(site)
    token = token_of(site, environ)
    offline = serve("FastAPI")
    online = serve("Flask and every other WSGI application", options=", online=True")
    fail_open = serve(
        "Starlette and every other ASGI application", options=", online=True, online_fail_open=True"
    )
    services = {"offline": offline, "online": online, "fail open": fail_open}

    def statuses():
        return {name: ask(url, token).status_code for name, url in services.items()}

    assert statuses() == {"offline": 200, "online": 200, "fail open": 200}
    site.operator.done("workers", "disable", "press-01", "--yes")
    assert statuses() == {"offline": 200, "online": 401, "fail open": 401}
    site.operator.done("workers", "enable", "press-01")
    token = token_of(site, environ)
    assert statuses() == {"offline": 200, "online": 200, "fail open": 200}
    site.server.kill()
    assert statuses() == {"offline": 200, "online": 503, "fail open": 200}
    site.start_server()
    token = token_of(site, environ)
    assert statuses()["online"] == 200


@contextlib.contextmanager
def counting_proxy(site):
    """Proxy a service's requests to the Server; yield the URL and the requested paths."""
    asked: list[str] = []

    class Forward(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            answer = httpx2.get(site.url + self.path, timeout=180)
            self.send_response(answer.status_code)
            for name in ("content-type", "cache-control"):
                self.send_header(name, answer.headers[name])
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Forward) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{proxy.server_port}", asked
        proxy.shutdown()
        thread.join()


def test_forged_tokens_at_a_service_cause_no_requests_to_the_server(site, serve):
    """Five hundred forged tokens cause no further fetch of the keys, and valid ones are still accepted."""
    token = token_of(site, with_key(site))
    with counting_proxy(site) as (address, asked):
        url = serve("FastAPI", options=f', server_url="{address}", kid_retry_s=600')
        assert ask(url, token).status_code == 200
        once = ["/.well-known/oauth-authorization-server", "/.well-known/jwks.json"]
        assert asked == once

        forged = b64(b'{"alg":"ES256","kid":"made-up","typ":"at+jwt"}') + "." + token.split(".", 1)[1]
        headers = {"Authorization": f"Bearer {forged}"}
        with ThreadPoolExecutor(8) as pool, httpx2.Client(timeout=180) as http:
            answers = [pool.submit(http.get, f"{url}/whoami", headers=headers) for _ in range(500)]
            assert {answer.result().status_code for answer in answers} == {401}

        assert ask(url, token).status_code == 200
        # Within kid_retry_s after the first fetch there is none.
        assert asked == once


def test_the_page_lists_every_code():
    """With its class and status, and no code that no longer exists."""

    def leaves(kind):
        return [leaf for child in kind.__subclasses__() for leaf in leaves(child)] or [kind]

    rows = set(re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\d+) \|", TEXT, re.MULTILINE))
    assert rows == {(kind.code, kind.__name__, str(kind.status)) for kind in leaves(VerificationError)}


def test_a_service_with_its_own_audience_accepts_only_its_tokens(tmp_path, site, serve):
    """With the scopes that were requested; with the online check the Server's current scopes and state of the Worker count."""
    environ = with_key(site)
    plain = token_of(site, environ)
    other_service = serve("FastAPI")
    example = EXAMPLES["One audience for each service"][0]
    name = f"http://127.0.0.1:{free_port()}"  # what the service is called; it need not be where it is
    audience = ', resource_name="files", resource_key="{key}", online=True'
    scopes = ("--scope", "jobs:read", "--scope", "jobs:write", "--worker", "press-01")
    site.operator.done("resources", "add", "files", "--audience", name, *scopes)
    key = site.operator.done("resources", "issue-key", "files").strip()

    url = serve("FastAPI", options=audience.format(key=key), audience=name)

    def called(scope="jobs:write"):
        asking = example.replace('resource="https://files.example.com"', f'resource="{name}"')
        asking = asking.replace('scope="jobs:write"', f'scope="{scope}"')
        asking = asking.replace(").text", ").status_code")
        return run_example(asking, tmp_path / "client", environ, site=site, service=url)

    assert called() == "200"
    assert called("jobs:read") == "403"
    assert ask(url, plain).status_code == 401
    for_files = token_of(site, environ, resource=name)
    assert ask(url, for_files, "/jobs", "POST").status_code == 200
    assert ask(other_service, for_files).status_code == 401
    site.operator.done("resources", "set", "files", "--scope", "jobs:read")
    assert ask(url, for_files).status_code == 200
    assert ask(url, for_files, "/jobs", "POST").status_code == 403
    site.operator.done("workers", "disable", "press-01", "--yes")
    assert ask(url, for_files).status_code == 401


def test_the_online_example_runs(monkeypatch):
    """It creates a verifier without an error."""
    monkeypatch.setenv("FILES_RESOURCE_KEY", "key")
    exec(EXAMPLES["Offline or online"][0], {})
