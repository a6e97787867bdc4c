"""What the Server says of itself: read by clients that insist on the standards, also where they are of no use here."""

import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oidc.discovery import OpenIDProviderMetadata
from tests.builders import ISSUER

PATHS = ("oauth-authorization-server", "openid-configuration")


async def published(server, path):
    """Return a document."""
    answer = await server.http.get(f"/.well-known/{path}")
    assert answer.status_code == 200
    return answer.json()


@pytest.mark.parametrize(
    ("path", "rules"),
    [(PATHS[0], AuthorizationServerMetadata), (PATHS[1], OpenIDProviderMetadata)],
)
async def test_the_documents_keep_every_rule_of_their_standards(server, path, rules):
    """RFC 8414 and OpenID Connect Discovery, as Authlib checks them."""
    rules(await published(server, path)).validate()


@pytest.mark.parametrize("path", PATHS)
async def test_no_list_is_empty(server, path):
    """RFC 8414, section 3.2: a member without an element would have to be left out, and a required one cannot be."""
    document = await published(server, path)
    assert [name for name, value in document.items() if value in ([], "", None)] == []
    assert document["response_types_supported"] == ["none"]


async def test_both_documents_agree(server):
    """Whichever a client reads, it finds the same endpoints and methods."""
    oauth, openid = [await published(server, path) for path in PATHS]
    assert {name: openid[name] for name in oauth} == oauth


@pytest.mark.parametrize("path", PATHS)
async def test_every_endpoint_is_there(server, path):
    """No address in a document leads nowhere."""
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
async def test_the_openid_document_names_what_signs(opened, algorithm):
    """The algorithms of the published keys, by which checkers choose what to accept, and the one that must be named."""
    async with opened(LYFTDATA_SIGNING_ALGORITHM=algorithm) as server:
        document = await published(server, "openid-configuration")
        keys = (await server.http.get("/.well-known/jwks.json")).json()["keys"]
        named = set(document["id_token_signing_alg_values_supported"])
        assert named == {key["alg"] for key in keys} | {"RS256"}
        assert document["request_uri_parameter_supported"] is False
