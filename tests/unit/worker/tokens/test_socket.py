"""The token socket: minimal HTTP, for one user, with limits."""

import asyncio
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lyftdata.client import TokenRefusedError, TokenUnavailableError
from lyftdata.client.agent_source import AgentSocket
from lyftdata.client.token_endpoint import TokenReply
from lyftdata.worker.client import (
    AudienceRefusedError,
    RefusedByServerError,
    ServerUnreachableError,
)
from lyftdata.worker.tokens.provider import NoTokenError, TokenRequest
from lyftdata.worker.tokens.socket import (
    MAX_CONNECTIONS,
    MAX_HEAD_BYTES,
    TokenSocket,
)

GET = b"GET /token HTTP/1.1\r\nHost: localhost\r\n\r\n"


class TokenProvider:
    """Has tokens, or the outcome that a test sets."""

    def __init__(self):
        self.asked = []
        self.outcome = ("token-1", 871)

    async def token(self, wanted):
        """Return or raise the outcome."""
        self.asked.append(wanted)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def provider():
    """Return the fake token provider."""
    return TokenProvider()


@pytest.fixture
async def path(provider):
    """Serve at a short path, and yield it."""
    with tempfile.TemporaryDirectory(prefix="ld-", dir="/tmp") as directory:
        where = Path(directory) / "token.sock"
        async with TokenSocket(provider, head_within_s=3.0).serving(where):
            yield where


async def ask(path, raw):
    """Send bytes; return status, header fields and body of the answer."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(raw)
    async with asyncio.timeout(180):
        answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    return int(line.split()[1]), dict(field.split(": ", 1) for field in fields), body


async def test_a_request_gets_the_token(path):
    """With the OAuth member names, not cacheable, one request per connection."""
    status, headers, body = await ask(path, GET)

    assert status == 200
    assert json.loads(body) == {"access_token": "token-1", "token_type": "Bearer", "expires_in": 871}
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Length"] == str(len(body))
    assert headers["Connection"] == "close"
    assert headers["Date"].endswith("GMT")


async def test_audience_scope_and_a_rejected_token_are_passed_on(path, provider):
    """To the provider, unchanged."""
    digest = "0123456789abcdef" * 4
    query = f"audience=https%3A%2F%2Fa.example&scope=jobs:read+jobs:write&rejected={digest}"
    status, _, _ = await ask(path, f"GET /token?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    assert status == 200
    assert provider.asked == [TokenRequest("https://a.example", "jobs:read jobs:write", digest)]


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
async def test_curl_gets_a_token(path, provider):
    """The documented command works, with and without an audience."""
    for query, audience in (("", None), ("?audience=https%3A%2F%2Fa.example", "https://a.example")):
        curl = ["curl", "-sf", "--max-time", "180", "--unix-socket", path, f"http://localhost/token{query}"]
        reply = await asyncio.to_thread(subprocess.check_output, curl)
        assert json.loads(reply)["access_token"] == "token-1"
        assert provider.asked[-1] == TokenRequest(audience)


async def test_the_socket_is_private(path):
    """With mode 0600."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_ISSOCK(path.stat().st_mode)


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="needs root to be another user")
async def test_another_user_gets_no_token(path, provider):
    """Even if the file modes would allow it: the kernel tells the agent the peer's user, and the answer is 403."""
    path.parent.chmod(0o777)
    path.chmod(0o666)
    program = (
        "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        f"s.sendall({GET!r}); print(s.recv(4096).decode())"
    )
    reply = await asyncio.to_thread(
        subprocess.check_output, [sys.executable, "-c", program, str(path)], text=True
    )

    assert reply.startswith("HTTP/1.1 403 ")
    assert "token-1" not in reply
    assert provider.asked == []


@pytest.mark.parametrize(
    ("raw", "status", "error"),
    [
        (b"\r\n\r\n", 400, "invalid_request"),
        (b"GET /token\r\n\r\n", 400, "invalid_request"),
        (b"GET /token HTTP/2.0\r\nHost: x\r\n\r\n", 400, "invalid_request"),
        (b"GET /token HTTP/1.1\r\n\r\n", 400, "invalid_request"),
        (b"GET /token HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, "invalid_request"),
        (b"GET /token HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400, "invalid_request"),
        (b"GET /token HTTP/1.1\r\nHost : x\r\n\r\n", 400, "invalid_request"),
        (b"GET /token HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", 400, "invalid_request"),
        (
            b"GET /token HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
            "invalid_request",
        ),
        (b"GET /t\xc3\xb6ken HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_request"),
        (b"GET /token HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 400, "invalid_request"),
        (b"GET /token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "invalid_request"),
        (b"POST /token HTTP/1.1\r\nHost: x\r\n\r\n", 405, "invalid_request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not_found"),
        (b"GET /token/ HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not_found"),
        (b"GET http://[/token HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_request"),
        (b"GET /token?aud=x HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_request"),
        (b"GET /token?audience=x&audience=y HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_request"),
        (b"GET /token?a&b&c&d&e&f HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_request"),
        (b"GET /token?audience= HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_target"),
        (b"GET /token?audience=%0d%0aX HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_target"),
        (b"GET /token?audience=" + b"x" * 513 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_target"),
        (b"GET /token?scope= HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_scope"),
        (b"GET /token?scope=a++b HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_scope"),
        (b"GET /token?scope=a%22 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_scope"),
        (b"GET /token?rejected=eyJ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_request"),
        (b"GET /token?scope=a&scope=b HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid_request"),
        (b"GET /token HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n", 431, "invalid_request"),
        (b"GET /token HTTP/1.1\r\nHost: x\r\n", 408, "invalid_request"),
    ],
)
async def test_an_invalid_request_gets_a_json_error(path, provider, raw, status, error):
    """With its status, and the provider is not called."""
    answered, headers, body = await ask(path, raw)

    assert (answered, json.loads(body)["error"]) == (status, error)
    assert (headers.get("Allow") == "GET, HEAD") == (status == 405)
    assert provider.asked == []


async def test_other_valid_forms_of_the_request_are_accepted(path):
    """HTTP/1.0 without Host, the absolute form (RFC 9112, section 3.2.2), and HEAD without a body."""
    assert (await ask(path, b"GET /token HTTP/1.0\r\n\r\n"))[0] == 200
    assert (await ask(path, b"GET http://localhost/token HTTP/1.1\r\nHost: localhost\r\n\r\n"))[0] == 200
    status, headers, body = await ask(path, b"HEAD /token HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


@pytest.mark.parametrize(
    ("outcome", "status", "expected"),
    [
        (
            AudienceRefusedError("For itself only.", reference="7K2M9QXD", cause_code="c", remedy="m"),
            400,
            {
                "error": "invalid_target",
                "error_description": "For itself only.",
                "reference": "7K2M9QXD",
                "code": "c",
                "remedy": "m",
            },
        ),
        (
            AudienceRefusedError("It has no such scope.", error="invalid_scope"),
            400,
            {"error": "invalid_scope", "error_description": "It has no such scope."},
        ),
        (
            RefusedByServerError("Disabled.\x1b[2J", reference="7K2M9QXD", cause_code="worker_disabled"),
            403,
            {
                "error": "access_denied",
                "error_description": "Disabled.\ufffd[2J",
                "reference": "7K2M9QXD",
                "code": "worker_disabled",
            },
        ),
        (
            ServerUnreachableError("Down."),
            503,
            {"error": "temporarily_unavailable", "error_description": "Down."},
        ),
        (
            NoTokenError("None."),
            503,
            {"error": "temporarily_unavailable", "error_description": "None."},
        ),
    ],
)
async def test_a_refusal_is_passed_on(path, provider, outcome, status, expected):
    """The COMMAND gets the Server's refusal as JSON, cleaned, and can distinguish it from an outage."""
    provider.outcome = outcome

    answered, headers, body = await ask(path, GET)

    assert (answered, json.loads(body)) == (status, expected)
    assert ("Retry-After" in headers) == (status == 503)


async def test_connections_are_limited_and_silent_ones_time_out(path):
    """Beyond the limit the answer is 503 at once; after silent connections are closed, the next one is served."""
    silent = [await asyncio.open_unix_connection(path) for _ in range(MAX_CONNECTIONS)]
    assert (await ask(path, GET))[0] == 503
    for reader, writer in silent:
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()

    assert (await ask(path, GET))[0] == 200


async def test_open_connections_are_closed_at_the_end(provider):
    """No client is left waiting."""
    with tempfile.TemporaryDirectory(prefix="ld-", dir="/tmp") as directory:
        where = Path(directory) / "token.sock"
        serving = TokenSocket(provider)
        async with serving.serving(where):
            reader, writer = await asyncio.open_unix_connection(where)
            writer.write(b"GET")
            async with asyncio.timeout(180):
                while not serving._open:
                    await asyncio.sleep(0)
        async with asyncio.timeout(180):
            assert await reader.read() == b""
        writer.close()


async def test_the_agent_socket_client_gets_tokens_and_refusals(path, provider):
    """As used by `lyftdata token`: a token, a refusal in the Server's words, or an error if no agent listens."""
    agent = AgentSocket(str(path), wanted={"resource": "https://a.example"}, timeout_s=180.0)
    reply = await asyncio.to_thread(agent.fetch)
    assert reply == TokenReply("token-1", 871)
    assert provider.asked == [TokenRequest("https://a.example")]

    provider.outcome = AudienceRefusedError("For itself only.", remedy="Do this.")
    with pytest.raises(TokenRefusedError, match=r"For itself only\.") as caught:
        await asyncio.to_thread(agent.fetch)
    assert caught.value.hint == "Do this."
    with pytest.raises(TokenUnavailableError, match="cannot be asked"):
        await AgentSocket(f"{path}.none", wanted={}, timeout_s=180.0).afetch()


def test_another_program_at_the_path_is_not_taken_for_an_agent():
    """Its answer is not reported as a refusal."""
    with (
        tempfile.TemporaryDirectory(prefix="ld-", dir="/tmp") as directory,
        socket.socket(socket.AF_UNIX) as listening,
    ):
        listening.bind(f"{directory}/s")
        listening.listen()

        def answer():
            connection, _ = listening.accept()
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            connection.close()

        import threading

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(TokenUnavailableError, match="not a Worker's agent"):
            AgentSocket(f"{directory}/s", wanted={}, timeout_s=180.0).fetch()
        thread.join()
