"""The discovery documents, for clients that insist on the standards even where these do not matter here."""

import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oidc.discovery import OpenIDProviderMetadata
from tests.builders import ISSUER

PATHS = ("oauth-authorization-server", "openid-configuration")


async def published(server, path):
    """Return a discovery document."""
    answer = await server.http.get(f"/.well-known/{path}")
    assert answer.status_code == 200
    return answer.json()


@pytest.mark.parametrize(
    ("path", "rules"),
    [(PATHS[0], AuthorizationServerMetadata), (PATHS[1], OpenIDProviderMetadata)],
)
async def test_the_documents_follow_their_standards(server, path, rules):
    """RFC 8414 and OpenID Connect Discovery, as Authlib checks them."""
    rules(await published(server, path)).validate()


@pytest.mark.parametrize("path", PATHS)
async def test_no_member_is_empty(server, path):
    """RFC 8414, section 3.2: an empty list would have to be left out, and a required one cannot be."""
    document = await published(server, path)
    assert [name for name, value in document.items() if value in ([], "", None)] == []
    assert document["response_types_supported"] == ["none"]


async def test_both_documents_agree(server):
    """A client finds the same endpoints and methods in either."""
    oauth, openid = [await published(server, path) for path in PATHS]
    assert {name: openid[name] for name in oauth} == oauth


@pytest.mark.parametrize("path", PATHS)
async def test_every_endpoint_exists(server, path):
    """No URL in a document leads to a 404."""
    document = await published(server, path)
    endpoints = {name: url for name, url in document.items() if name.endswith(("_endpoint", "_uri"))}
    assert {"authorization_endpoint", "token_endpoint", "jwks_uri"} <= endpoints.keys()
    for name, url in endpoints.items():
        assert url.startswith(ISSUER)
        statuses = {
            (await server.http.request(method, url.removeprefix(ISSUER))).status_code
            for method in ("GET", "POST")
        }
        assert statuses - {404, 405}, name


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
async def test_the_openid_document_names_the_signing_algorithms(opened, algorithm):
    """Those of the published keys, which verifiers accept, and RS256, which the standard requires."""
    async with opened(LYFTDATA_SIGNING_ALGORITHM=algorithm) as server:
        document = await published(server, "openid-configuration")
        keys = (await server.http.get("/.well-known/jwks.json")).json()["keys"]
        named = set(document["id_token_signing_alg_values_supported"])
        assert named == {key["alg"] for key in keys} | {"RS256"}
        assert document["request_uri_parameter_supported"] is False
