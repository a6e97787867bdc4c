"""No lyftdata credential is stored or shown where a caller has put it, or by the objects that carry it."""

import base64

import pytest

from lyftdata.bounded_http import Answer, ServerEndpoint
from lyftdata.client.token_endpoint import TokenReply
from lyftdata.core._jose import UnverifiedJws
from lyftdata.core.assertions import UnverifiedAssertion
from lyftdata.core.redaction import hide_credentials
from lyftdata.core.secret import Secret
from lyftdata.server.admission.client_authentication import Presented
from lyftdata.verify._online import AuthVerify, Introspect

# Two times sixteen bytes in base64url, as the Server makes them, with `-` and `_` at every position.
SECRETS = [
    base64.urlsafe_b64encode(bytes(range(n, n + 16))).rstrip(b"=").decode()
    + base64.urlsafe_b64encode(bytes([251, 255, 190, *range(n, n + 13)])).rstrip(b"=").decode()
    for n in (3, 57, 190)
] + ["AAAAAAAAAA-" * 4, "-_" * 22, "A" * 30 + "-" + "B" * 13]


@pytest.mark.parametrize("kind", ["registration", "session"])
@pytest.mark.parametrize("secret", SECRETS)
def test_bearer_tokens_are_hidden_completely(kind, secret):
    """A registration access token manages an entry for its whole lifetime, so that no part of it may be left."""
    shown = hide_credentials(f"client_name: lyftdata_{kind}_{secret} is not printable")

    assert shown == f"client_name: lyftdata_{kind}_*** is not printable"


ENDPOINT = ServerEndpoint(server_url="https://a.example", timeout_s=1)


@pytest.mark.parametrize(
    "carrier",
    [
        Presented("press-01", assertion=UnverifiedAssertion(UnverifiedJws("eyJhIjoiYiJ9.eyJhIjoiYiJ9.eyJh"))),
        UnverifiedAssertion(UnverifiedJws("eyJhIjoiYiJ9.eyJhIjoiYiJ9.eyJh")),
        Presented("press-01", secret=Secret("eyJsecret")),
        TokenReply("eyJsecret", 900),
        Answer(200, {}, b"eyJsecret"),
        AuthVerify(ENDPOINT).question("eyJsecret"),
        Introspect(ENDPOINT, name="service", key=Secret("eyJsecret")).question("token"),
        Introspect(ENDPOINT, name="service", key=Secret("key")).question("eyJsecret"),
    ],
    ids=lambda carrier: type(carrier).__name__,
)
def test_the_repr_of_an_object_does_not_contain_its_credential(carrier):
    """Neither do log lines or tracebacks with variables, which error trackers send to third parties."""
    assert "eyJ" not in f"{carrier!r} {carrier}"
