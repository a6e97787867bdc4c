"""Authlib and requests-oauthlib, the clients that most Python programs use."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import AssertionSession, OAuth2Session
from authlib.oauth2.base import OAuth2Error
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey
from oauthlib.oauth2 import BackendApplicationClient, InvalidClientError
from requests_oauthlib import OAuth2Session as RequestsSession
from tests.builders import ENROLLMENT_KEY
from tests.peers.conftest import AUDIENCE, Peers


# --- configuration: the pages show this part --- [configuration]
def authlib_by_api_key(worker_id: str, api_key: str, method: str = "client_secret_basic") -> OAuth2Session:
    """`method` may be client_secret_post as well."""
    return OAuth2Session(worker_id, api_key, token_endpoint_auth_method=method)


def authlib_enrolled(url: str, worker_id: str, key: ECKey) -> OAuth2Session:
    """`worker_id` is the client_id that registering the key has given."""
    session = OAuth2Session(worker_id, key, token_endpoint_auth_method="private_key_jwt")
    session.register_client_auth_method(PrivateKeyJWT(f"{url}/oauth2/token", alg="ES256"))
    return session


def requests_oauthlib_by_api_key(url: str, worker_id: str, api_key: str) -> RequestsSession:
    """Gets its token at once; OAUTHLIB_INSECURE_TRANSPORT=1 allows plain http on this machine."""
    session = RequestsSession(client=BackendApplicationClient(worker_id))
    session.fetch_token(f"{url}/oauth2/token", client_id=worker_id, client_secret=api_key)
    return session


# --- [/configuration]


@pytest.fixture(autouse=True)
def plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow requests-oauthlib plain HTTP to this machine."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


@pytest.fixture
def sessions(peers: Peers) -> Iterator[list[requests.Session]]:
    """Return a list of sessions that are closed at the end."""
    opened: list[requests.Session] = []
    yield opened
    for session in opened:
        session.close()


def register(peers: Peers, name: str, key: ECKey) -> str:
    """Register a key with the raw enrollment key, with plain requests, since neither library has a client for it."""
    body: dict[str, Any] = {"client_name": name, "jwks": {"keys": [key.as_dict(private=False)]}}
    headers = {"Authorization": f"Bearer {ENROLLMENT_KEY}"}
    answer = requests.post(f"{peers.url}/oauth2/register", json=body, headers=headers, timeout=180)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["client_id"])


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authlib_works_with_an_api_key(peers, sessions, method):
    """It gets a token, uses it, introspects it and revokes it."""
    session = authlib_by_api_key("press-01", peers.key, method)
    sessions.append(session)
    token = session.fetch_token(f"{peers.url}/oauth2/token", grant_type="client_credentials")
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 900)
    assert session.get(f"{peers.url}/auth/verify").status_code == 204

    def active() -> bool:
        introspected = session.introspect_token(f"{peers.url}/oauth2/introspect", token=token["access_token"])
        return bool(introspected.json()["active"])

    assert active()
    session.revoke_token(f"{peers.url}/oauth2/revoke", token=token["access_token"])
    assert not active()
    assert session.get(f"{peers.url}/auth/verify").status_code == 401


def test_authlib_works_with_a_resource(peers, sessions):
    """A token has the requested audience and scope; the service introspects it with Authlib too."""
    session = authlib_by_api_key("press-01", peers.key)
    service = authlib_by_api_key("broker", peers.resource_key)
    sessions += [session, service]
    wanted = {"grant_type": "client_credentials", "resource": AUDIENCE, "scope": "read"}
    token = session.fetch_token(f"{peers.url}/oauth2/token", **wanted)
    introspected = service.introspect_token(
        f"{peers.url}/oauth2/introspect", token=token["access_token"]
    ).json()
    assert (introspected["active"], introspected["aud"], introspected["scope"]) == (True, AUDIENCE, "read")


def test_authlib_works_with_a_registered_key(peers, sessions):
    """It uses `private_key_jwt` to get a token."""
    key = ECKey.generate_key("P-256")
    session = authlib_enrolled(peers.url, register(peers, "by authlib", key), key)
    sessions.append(session)
    session.fetch_token(f"{peers.url}/oauth2/token", grant_type="client_credentials")
    assert session.get(f"{peers.url}/auth/verify").status_code == 204


def test_authlib_raises_the_errors_of_the_rfcs(peers, sessions):
    """Its errors have the RFCs' codes; assertions as grants (RFC 7523, section 2.1) are an unsupported grant."""
    with_wrong_key = authlib_by_api_key("press-01", "wrong")
    grant = AssertionSession(
        f"{peers.url}/oauth2/token",
        "press-01",
        "press-01",
        audience=peers.url,
        key=ECKey.generate_key("P-256"),
        header={"alg": "ES256"},
    )
    sessions += [with_wrong_key, grant]
    with pytest.raises(OAuthError) as refused:
        with_wrong_key.fetch_token(f"{peers.url}/oauth2/token", grant_type="client_credentials")
    assert refused.value.error == "invalid_client"
    with pytest.raises(OAuth2Error) as other:
        grant.refresh_token()
    assert other.value.error == "unsupported_grant_type"


def test_requests_oauthlib_works_with_an_api_key(peers, sessions):
    """It uses `client_secret_basic` by default, `client_secret_post` if configured, and a resource as an extra parameter."""
    session = requests_oauthlib_by_api_key(peers.url, "press-01", peers.key)
    posting = RequestsSession(client=BackendApplicationClient("press-01", scope=["read"]))
    sessions += [session, posting]
    assert session.get(f"{peers.url}/auth/verify").status_code == 204

    form = {"client_secret": peers.key, "include_client_id": True, "resource": AUDIENCE}
    token = posting.fetch_token(f"{peers.url}/oauth2/token", **form)
    assert token["scope"] == ["read"]


def test_requests_oauthlib_raises_invalid_client(peers):
    """A wrong key raises its own exception for `invalid_client`."""
    with pytest.raises(InvalidClientError):
        requests_oauthlib_by_api_key(peers.url, "press-01", "wrong")
