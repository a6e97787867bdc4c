"""The client address of a request at a Server that listens for IPv6 and IPv4."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.networks import Machine, need_namespaces
from tests.processes import PASSWORD, STARTED, Host

ASK = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]
ASK += ["--user", "nobody:wrong", "--data", "grant_type=client_credentials"]


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Return a machine that no other can reach, since the Server listens on all its addresses."""
    need_namespaces()
    made = Machine()
    yield made
    while STARTED:
        STARTED.pop().kill()
    made.remove()


@pytest.mark.parametrize("named", ["127.0.0.1", "127.0.0.0/8", "::ffff:127.0.0.1"])
def test_an_ipv4_proxy_is_trusted_on_a_dual_stack_socket(machine, tmp_path: Path, named):
    """On `[::]` a trusted proxy may be given by its IPv4 address, as on any other bind address."""
    host = Host(
        tmp_path,
        prefix=machine.prefix,
        LYFTDATA_STAGING_DIR=str(tmp_path / "staging"),
        LYFTDATA_ADMIN_INIT_PASSWORD=PASSWORD,
        LYFTDATA_BIND_ADDRESS="[::]:3000",
        LYFTDATA_DISABLE_TLS="yes",
        LYFTDATA_TRUSTED_PROXIES=named,
        LYFTDATA_PUBLIC_URL="http://localhost:3000",
    )
    server = host.start("run", "server")
    server.wait_for("ready")

    for address in ("203.0.113.7", "2001:db8::7", "::ffff:203.0.113.8"):
        forwarded = ["--header", f"X-Forwarded-For: {address}"]
        assert machine.run(*ASK, *forwarded, "http://127.0.0.1:3000/oauth2/token") == "401"

    server.wait_for("refused", count=3)
    refused = [event["address"] for event in server.events("refused")]
    assert refused == ["203.0.113.7", "2001:db8::7", "203.0.113.8"]
