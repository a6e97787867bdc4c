"""The Worker's HTTP client: the result of each answer, however odd."""

import asyncio
import socket

import httpx2
import pytest

from lyftdata.bounded_http import goes_through_proxies
from lyftdata.client.credentials import ApiKeyCredential
from lyftdata.core.secret import Secret
from lyftdata.current_secrets import CurrentApiKey
from lyftdata.worker.client import (
    RefusedByServerError,
    ServerClient,
    ServerUnreachableError,
    TokenRejectedError,
)
from lyftdata.worker.settings import read_worker_settings

CREDENTIAL = ApiKeyCredential("w-1", CurrentApiKey(Secret("very-secret")))
SETTINGS = read_worker_settings({"LYFTDATA_WORKER_ID": "w-1", "LYFTDATA_WORKER_API_KEY": "k"})
REFUSED = {"error": "invalid_client", "error_description": "Authentication failed.", "reference": "7K2M9QXD"}


def answering(status=200, json=None, **options):
    """Return a client whose Server always answers like this, and the list of requests that it got."""
    asked = []

    def handler(request):
        asked.append(request)
        if isinstance(json, Exception):
            raise json
        return (
            httpx2.Response(status, json=json, **options)
            if json is not None
            else httpx2.Response(status, **options)
        )

    return ServerClient(SETTINGS, transport=httpx2.MockTransport(handler)), asked


async def test_token_and_lifetime_are_read_from_the_answer():
    """The request has the agent's own User-Agent."""
    client, asked = answering(json={"access_token": "t", "token_type": "Bearer", "expires_in": 900})

    reply = await client.token(CREDENTIAL)

    assert (reply.access_token, reply.expires_in) == ("t", 900)
    assert asked[0].headers["user-agent"].startswith("lyftdata-worker/")


@pytest.mark.parametrize(
    ("status", "json", "options"),
    [
        (200, {}, {}),
        (200, {"access_token": 5, "expires_in": 9}, {}),
        (200, {"access_token": "t", "expires_in": "soon"}, {}),
        (200, None, {"content": b"<html>"}),
        (200, None, {"content": b"{" * 100_000}),
        (200, None, {"content": b'{"access_token": "t", "expires_in": 9, "x": "' + b"a" * 70_000 + b'"}'}),
        (302, None, {"headers": {"Location": "https://evil.example/oauth2/token"}}),
        (401, None, {"content": b"proxy says no"}),
        (401, {"error": "invalid_client"}, {}),
        (404, {"detail": "x"}, {}),
        (429, {"error": "slow_down"}, {}),
        (429, None, {"content": b"a proxy says: too many"}),
        (500, REFUSED, {}),
        (503, None, {}),
        (0, httpx2.ConnectError("refused"), {}),
        (0, httpx2.ReadTimeout("slow"), {}),
        (0, httpx2.RemoteProtocolError("half an answer"), {}),
        (0, OSError("DNS"), {}),
    ],
)
async def test_an_unexpected_answer_counts_as_an_outage(status, json, options):
    """Other programs' pages, redirects, oversized answers and nonsense are retried later; no redirect is followed."""
    client, asked = answering(status, json, **options)

    with pytest.raises(ServerUnreachableError):
        await client.token(CREDENTIAL)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("url", "obeyed"),
    [
        ("http://localhost:3000", False),
        ("https://127.0.0.1", False),
        ("http://lyft.example", False),
        ("https://lyft.example", True),
    ],
)
def test_proxies_of_the_environment_carry_tls_only(url, obeyed):
    """An `http_proxy` set for other programs never sees a key sent to this machine or over plain http."""
    assert goes_through_proxies(url) is obeyed


async def test_a_key_for_this_machine_is_not_sent_through_a_proxy(monkeypatch):
    """With `http_proxy` in the environment, a request to loopback is still direct."""
    seen = []

    async def proxy(reader, writer):
        seen.append(await reader.read(100))
        writer.close()

    listening = await asyncio.start_server(proxy, "127.0.0.1", 0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    client = ServerClient(read_worker_settings({"LYFTDATA_URL": url}))
    with pytest.raises(ServerUnreachableError):
        await client.token(CREDENTIAL)
    await client.aclose()
    closed.close()
    listening.close()

    assert seen == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("-5", None),
        ("1e9", None),
        ("9999999", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("٣", None),
    ],
)
async def test_retry_after_is_honoured_in_seconds(value, seconds):
    """Dates and nonsense count as absent."""
    client, _ = answering(503, headers={"Retry-After": value.encode()})

    with pytest.raises(ServerUnreachableError) as waited:
        await client.token(CREDENTIAL)
    assert waited.value.retry_after_s == seconds


async def test_an_unproven_refusal_is_final():
    """After a 401 with a reference, asking again with the same credential is pointless."""
    client, _ = answering(401, REFUSED)

    with pytest.raises(RefusedByServerError) as refused:
        await client.token(CREDENTIAL)
    assert (refused.value.reference, refused.value.final, refused.value.cause_code) == ("7K2M9QXD", True, "")


@pytest.mark.parametrize("final", [True, False])
async def test_a_proved_refusal_says_whether_it_is_final(final):
    """Code, remedy and finality come from the Server."""
    body = REFUSED | {"code": "worker_disabled", "final": final, "remedy": "Enable it."}
    client, _ = answering(400, body)

    with pytest.raises(RefusedByServerError) as refused:
        await client.token(CREDENTIAL)
    assert (refused.value.cause_code, refused.value.final, refused.value.hint) == (
        "worker_disabled",
        final,
        "Enable it.",
    )


async def test_a_refusal_of_a_limited_address_is_not_final():
    """After a 429 with a reference the credential was not checked, so the Worker retries after the wait."""
    client, _ = answering(429, REFUSED, headers={"Retry-After": "7"})

    with pytest.raises(RefusedByServerError) as caught:
        await client.token(CREDENTIAL)
    assert not caught.value.final
    assert caught.value.retry_after_s == 7


async def test_a_401_at_the_session_rejects_the_token_only():
    """The Worker gets another token; if that is refused, the token endpoint says why."""
    client, _ = answering(401, REFUSED)

    with pytest.raises(TokenRejectedError):
        await client.poll("t", {}, hold_s=1)


async def test_no_credential_is_in_an_error_message():
    """Nor in the cause of the error."""
    client, _ = answering(0, httpx2.ConnectError("no route"))

    with pytest.raises(ServerUnreachableError) as failed:
        await client.token(CREDENTIAL)
    assert "very-secret" not in str(failed.value) + repr(failed.value.__cause__)


@pytest.mark.parametrize("odd", ["tok\r\nEvil: 1", "tok en", "", "\x9b31m", "é", "x" * 20_000])
async def test_a_token_that_is_not_a_valid_header_value_is_rejected(odd):
    """We, or a script around `lyftdata token`, would put it into a header."""
    client, _ = answering(json={"access_token": odd, "token_type": "Bearer", "expires_in": 900})

    with pytest.raises(ServerUnreachableError):
        await client.token(CREDENTIAL)
