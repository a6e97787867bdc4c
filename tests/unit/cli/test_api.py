"""Requests of commands to the Server, and the errors if there is no answer, or one from another program."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import uvicorn
from tests.unit.cli.conftest import CommandHost

from lyftdata.app import create_app
from lyftdata.cli.api import Api, ApiError
from lyftdata.core.secret import Secret


def test_a_server_that_cannot_be_reached_is_reported_with_a_remedy(tmp_path):
    """So is a missing session; both exit with 1."""
    host = CommandHost(tmp_path, LYFTDATA_URL="http://127.0.0.1:1")

    not_signed_in = host.run("workers", "list")
    assert (not_signed_in.exit_code, "lyftdata login" in not_signed_in.errors) == (1, True)
    unreachable = host.run("login", "admin", "--password-stdin", stdin="x\n")
    assert (unreachable.exit_code, "lyftdata run server" in unreachable.errors) == (1, True)
    assert "Traceback" not in not_signed_in.errors + unreachable.errors


# As HAProxy 2.6 and nginx 1.22 send them.
HAPROXY_503 = "<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>\n"


NGINX = "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"


ANSWERS = {
    "haproxy-503": (503, {}, HAPROXY_503),
    "nginx-502": (502, {}, NGINX.format("502 Bad Gateway")),
    "nginx-504": (504, {}, NGINX.format("504 Gateway Time-out")),
    "moved": (301, {"Location": "https://lyftdata.example/api/whoami"}, ""),
    "firewall": (403, {}, "<html>Request blocked.</html>"),
    "portal": (200, {}, "<html><form>Sign in</form></html>"),
    "server-503": (
        503,
        {"Content-Type": "application/json"},
        '{"error":"temporarily_unavailable","error_description":"The Server cannot read its state."}',
    ),
    "json-elsewhere": (404, {"Content-Type": "application/json"}, '["no"]'),
}


class Elsewhere(BaseHTTPRequestHandler):
    """Another program, whose answer depends on the last part of the path."""

    def do_GET(self) -> None:
        """Send the answer."""
        status, headers, body = ANSWERS[self.path.split("/")[2]]
        self.send_response(status)
        for name, value in {"Content-Type": "text/html", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Yield the URL of the other program."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as elsewhere:
        thread = threading.Thread(target=elsewhere.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{elsewhere.server_port}"
        elsewhere.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("haproxy-503", ["503", "no Server that is ready", "readyz"]),
        ("nginx-502", ["502", "no valid answer", "readyz"]),
        ("nginx-504", ["504", "in time", "readyz"]),
        ("moved", ["301", "https://lyftdata.example/api/whoami", "LYFTDATA_URL"]),
        ("firewall", ["403", "another program", "LYFTDATA_URL"]),
        ("portal", ["not as a lyftdata Server does", "LYFTDATA_URL"]),
        ("server-503", ["503", "The Server cannot read its state", "Try again"]),
        ("json-elsewhere", ["404", "LYFTDATA_URL"]),
    ],
)
def test_the_error_says_what_answered_and_what_to_do(kind, parts, address, tmp_path, monkeypatch):
    """It has the URL and the status; a firewall is not reported as a Server that is down."""
    monkeypatch.setenv("LYFTDATA_CONFIG_DIR", str(tmp_path / "config"))
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Api(address) as api:
        api.credentials.store(address, Secret("lyftdata_session"))
        with pytest.raises(ApiError) as raised:
            api.get(f"/{kind}")

    message = f"{raised.value.message} {raised.value.hint}"
    assert address in message
    assert all(part in message for part in parts), message


async def test_a_rate_limited_request_is_repeated(server, admin, tmp_path, monkeypatch):
    """An operator whose budget is used up for two seconds gets the answer, not an error."""
    monkeypatch.setenv("LYFTDATA_CONFIG_DIR", str(tmp_path / "config"))
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    budget = server.services.budget
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(server.services), lifespan="off", log_config=None, ws="none")
    running = uvicorn.Server(config)
    serving = asyncio.create_task(running.serve([listening]))

    def ask():
        with Api(f"http://127.0.0.1:{listening.getsockname()[1]}") as api:
            api.credentials.store(api.url, Secret(admin["Authorization"].split()[1]))
            budget.charge("admin", budget._left("admin") + 500)
            return api.get("/whoami")

    try:
        answer = await asyncio.to_thread(ask)
    finally:
        running.should_exit = True
        await serving
        listening.close()

    assert answer["name"] == "admin"
