"""`oauth4webapi` and `openid-client` on Node.js: every endpoint, with clients that check the answers."""

from typing import Any

import pytest
from tests.peers.conftest import AUDIENCE, Peers, RunScript

REGISTERED = {
    "client_id",
    "client_id_issued_at",
    "client_name",
    "dpop_bound_access_tokens",
    "grant_types",
    "jwks",
    "registration_access_token",
    "registration_client_uri",
    "response_types",
    "token_endpoint_auth_method",
}


@pytest.fixture(scope="module")
def oauth4webapi(run_script: RunScript, peers: Peers) -> dict[str, Any]:
    """Return the results of `oauth4webapi`, by step."""
    return run_script("oauth4webapi.mjs", **peers.settings("by oauth4webapi"))


@pytest.fixture(scope="module")
def openid_client(run_script: RunScript, peers: Peers) -> dict[str, Any]:
    """Return the results of `openid-client`, by step."""
    return run_script("openid_client.mjs", **peers.settings("by openid-client"))


@pytest.fixture(params=["oauth4webapi", "openid_client"])
def walk(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the results of each client in turn."""
    return request.getfixturevalue(request.param)


def ok(walk: dict[str, Any], step: str) -> Any:
    """Return the result of a step that must succeed."""
    assert "ok" in walk[step], f"{step}: {walk[step]}"
    return walk[step]["ok"]


def refused(walk: dict[str, Any], step: str) -> tuple[int | None, str | None]:
    """Return status and error of a step that must be refused."""
    assert "refused" in walk[step], f"{step}: {walk[step]}"
    return walk[step]["refused"].get("status"), walk[step]["refused"].get("error")


@pytest.mark.parametrize("step", ["basic", "post", "private_key_jwt"])
def test_each_authentication_method_gets_a_token(walk, step):
    """A secret in the header, a secret in the form, and an assertion signed by the registered key."""
    answer = ok(walk, step)
    assert answer["token_type"] == "bearer"
    assert answer["expires_in"] == 900


def test_a_token_for_a_resource_has_its_audience_and_scope(walk):
    """As in RFC 8707 and RFC 9068; `oauth4webapi` also checks signature and claims."""
    answer = ok(walk, "resource")
    assert answer["scope"] == "read"
    assert (answer["header"]["alg"], answer["header"]["typ"]) == ("ES256", "at+jwt")
    claims = answer["claims"]
    assert (claims["aud"], claims["scope"], claims["sub"], claims["client_id"]) == (
        AUDIENCE,
        "read",
        "press-01",
        "press-01",
    )


def test_wrong_requests_get_the_errors_of_the_rfcs(walk):
    """Clients can distinguish a wrong secret, an unsupported grant and an unknown resource."""
    assert refused(walk, "wrong_secret")[0] == 401
    assert refused(walk, "other_grant") == (400, "unsupported_grant_type")
    assert refused(walk, "other_resource") == (400, "invalid_target")


def test_a_client_registers_with_the_enrollment_key(walk):
    """The raw enrollment key is the initial access token (RFC 7591), and the answer has everything that a client needs."""
    assert set(ok(walk, "register")) >= REGISTERED


def test_a_resource_can_introspect_its_tokens(walk):
    """A service asks about a token that was issued for it (RFC 7662)."""
    answer = ok(walk, "introspect_by_resource")
    assert (answer["active"], answer["aud"], answer["scope"]) == (True, AUDIENCE, "read")


def test_a_revoked_token_is_not_active(walk):
    """It is active before the revocation (RFC 7009) and not after it."""
    assert ok(walk, "revoke") == [True, False]


def test_a_bound_token_is_accepted_with_a_proof_and_refused_without(walk):
    """The client uses DPoP with the Server's nonce (RFC 9449), and then `/auth/verify`."""
    answer = ok(walk, "dpop")
    assert (answer["token_type"], answer["with"], answer["without"]) == ("dpop", 204, 401)


def test_a_client_manages_its_registration(walk):
    """It reads it, replaces its key and deletes itself (RFC 7592); after that it is refused."""
    assert ok(walk, "read")["status"] == 200
    assert ok(walk, "update")["status"] == 200
    assert ok(walk, "delete")["status"] == 204
    assert refused(walk, "deleted")[0] == 401


def test_the_metadata_are_valid(oauth4webapi, peers):
    """`oauth4webapi` checks them by RFC 8414, and finds everything that it uses in them."""
    metadata = ok(oauth4webapi, "metadata")
    assert metadata["issuer"] == peers.url
    assert "ES256" in metadata["dpop_signing_alg_values_supported"]


def test_both_discoveries_lead_to_the_same_endpoint(openid_client):
    """Discovery by RFC 8414 and OpenID Connect Discovery name the same token endpoint."""
    assert ok(openid_client, "discovery") is True


def test_an_unproven_caller_does_not_learn_whether_a_client_exists(oauth4webapi):
    """An unknown client and a wrong secret get the same answer."""
    assert oauth4webapi["unknown_client"] == oauth4webapi["wrong_secret"]


def test_a_stolen_bound_token_is_refused_with_a_proof_of_another_key(oauth4webapi):
    """The client's own first proof is refused because it has no nonce, and the second one is accepted."""
    answer = ok(oauth4webapi, "dpop")
    assert (answer["stolen"], answer["retried"]) == (401, True)
    assert ok(oauth4webapi, "dpop_at_resource") is True
    assert ok(oauth4webapi, "dpop_introspected") == {"active": True, "token_type": "DPoP", "bound": True}


def test_an_assertion_is_used_once(oauth4webapi):
    """The same `jti` is refused the second time."""
    assert refused(oauth4webapi, "private_key_jwt_twice")[0] == 401


def test_a_new_key_replaces_the_old_one(oauth4webapi):
    """After the update, assertions signed by the old key are refused."""
    assert refused(oauth4webapi, "old_key")[0] == 401
    assert ok(oauth4webapi, "new_key")["token_type"] == "bearer"


def test_a_client_cannot_affect_another_client(oauth4webapi):
    """Another client's token is shown as not active and cannot be revoked; another client's entry cannot be changed."""
    assert ok(oauth4webapi, "introspect_of_another") == {"active": False}
    assert ok(oauth4webapi, "revoke_of_another") is True
    assert ok(oauth4webapi, "update_of_another")["status"] == 400


def test_a_token_has_only_scopes_of_its_resource(oauth4webapi):
    """Other scopes are refused; a request without scopes gets all of them; a token is not valid for another resource."""
    assert refused(oauth4webapi, "other_scope") == (400, "invalid_scope")
    assert ok(oauth4webapi, "resource_without_scope")["scope"] == "read write"
    assert refused(oauth4webapi, "other_audience") == (None, None)
