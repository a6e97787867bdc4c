"""The relying party that the Server gives browsers for passkeys."""

import pytest

from lyftdata.core.relying_party import RelyingParty, relying_party_of


@pytest.mark.parametrize(
    ("url", "host", "origin"),
    [
        ("https://lyft.example", "lyft.example", "https://lyft.example"),
        ("https://lyft.example:443", "lyft.example", "https://lyft.example"),
        ("https://lyft.example:8443/base", "lyft.example", "https://lyft.example:8443"),
        ("https://LYFT.example", "lyft.example", "https://lyft.example"),
        ("http://localhost:8080", "localhost", "http://localhost:8080"),
        ("http://one.localhost", "one.localhost", "http://one.localhost"),
    ],
)
def test_the_relying_party_is_the_host_and_origin_of_the_public_url(url, host, origin):
    """As browsers write them: in lower case, without a default port."""
    found = relying_party_of(url)

    assert isinstance(found, RelyingParty)
    assert (found.id, found.origin) == (host, origin)


@pytest.mark.parametrize(
    "url", ["http://lyft.example", "https://192.0.2.7", "https://[2001:db8::7]", "http://127.0.0.1:8080", "x"]
)
def test_there_is_no_relying_party_where_browsers_do_not_support_passkeys(url):
    """Without TLS, except for localhost, and for an IP address."""
    assert relying_party_of(url) is None
