"""The client address of a request, and the warning about a proxy that is not configured."""

import pytest
from starlette.responses import PlainTextResponse
from structlog.testing import capture_logs

from lyftdata.server.http.forwarded import ForwardedAddresses


async def seen(app, peer, *headers):
    """Send a request; return the address that the application sees."""
    found = []
    scope = {"type": "http", "client": (peer, 5), "headers": list(headers), "scheme": "http"}

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        found.append(message)

    await app(scope, receive, send)
    return found[1]["body"].decode()


def make(*trusted):
    """Return an application that answers with the client's address."""

    async def echo(scope, receive, send):
        await PlainTextResponse(scope["client"][0])(scope, receive, send)

    return ForwardedAddresses(echo, trusted_proxies=trusted)


FOR = (b"x-forwarded-for", b"203.0.113.7")


@pytest.mark.parametrize(
    ("trusted", "peer", "address"),
    [
        ("127.0.0.1", "127.0.0.1", "203.0.113.7"),
        ("127.0.0.0/8", "::ffff:127.0.0.1", "203.0.113.7"),
        ("127.0.0.1", "::ffff:127.0.0.1", "203.0.113.7"),
        ("2001:db8::/64", "2001:db8::5", "203.0.113.7"),
        ("192.0.2.1", "127.0.0.1", "127.0.0.1"),
        ("192.0.2.1", "::ffff:127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1", "203.0.113.7"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", "203.0.113.7"),
        ("::ffff:127.0.0.0/104", "127.9.9.9", "203.0.113.7"),
        ("::ffff:127.0.0.0/104", "128.0.0.1", "128.0.0.1"),
        ("fe80::1", "fe80::1%2", "203.0.113.7"),
        ("fe80::2", "fe80::1%2", "fe80::1"),
        ("::1", "127.0.0.1", "127.0.0.1"),
    ],
)
async def test_only_a_configured_proxy_is_trusted(trusted, peer, address):
    """Also if an IPv4 proxy connects to a dual-stack socket; the header from anyone else is ignored."""
    assert await seen(make(trusted), peer, FOR) == address


@pytest.mark.parametrize("trusted", ["127.0.0.0/8", "::ffff:127.0.0.0/104"])
@pytest.mark.parametrize("inner", ["127.0.0.9", "::ffff:127.0.0.9", "::ffff:7f00:9"])
async def test_a_chain_of_proxies_is_followed_to_the_client(trusted, inner):
    """Up to the first address that is not a configured proxy, in whatever form a proxy writes it."""
    chain = (b"x-forwarded-for", f"198.51.100.1, 203.0.113.7, {inner}".encode())

    assert await seen(make(trusted), "::ffff:127.0.0.1", chain) == "203.0.113.7"


@pytest.mark.parametrize("header", [b"x-forwarded-for", b"forwarded", b"x-real-ip"])
@pytest.mark.parametrize("trusted", [(), ("192.0.2.1",)])
async def test_an_unconfigured_proxy_is_warned_about_once(header, trusted):
    """The warning names the peer, and is not repeated for further requests."""
    app = make(*trusted)
    with capture_logs() as logs:
        for _ in range(3):
            await seen(app, "10.0.0.5", (header, b"for=203.0.113.7"))

    (warning,) = logs
    assert (warning["event"], warning["peer"]) == ("unnamed_proxy", "10.0.0.5")
    assert "LYFTDATA_TRUSTED_PROXIES" in warning["message"]


async def test_callers_that_forge_the_header_cannot_flood_the_log():
    """There are five warnings at most, from however many addresses."""
    app = make()
    with capture_logs() as logs:
        for i in range(100):
            await seen(app, f"198.51.100.{i}", FOR)

    assert len(logs) == 5


@pytest.mark.parametrize("header", [b"forwarded", b"x-real-ip"])
async def test_a_configured_proxy_that_sends_another_header_is_warned_about(header):
    """Only X-Forwarded-For is read, so another header is as good as none."""
    app = make("10.0.0.5")
    with capture_logs() as logs:
        assert await seen(app, "10.0.0.5", (header, b"for=203.0.113.7")) == "10.0.0.5"

    assert [log["event"] for log in logs] == ["proxy_sends_no_x_forwarded_for"]


async def test_expected_requests_cause_no_warning():
    """Clients without the header, and a configured proxy with or without it."""
    app = make("10.0.0.5")
    with capture_logs() as logs:
        await seen(app, "203.0.113.9")
        await seen(app, "10.0.0.5", FOR)
        await seen(app, "10.0.0.5")

    assert logs == []
