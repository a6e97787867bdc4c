"""`oauth4webapi` and `openid-client` on Node.js: every endpoint, by clients that check what they are answered."""

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
    """Return what `oauth4webapi` found on its walk."""
    return run_script("oauth4webapi.mjs", **peers.settings("by oauth4webapi"))


@pytest.fixture(scope="module")
def openid_client(run_script: RunScript, peers: Peers) -> dict[str, Any]:
    """Return what `openid-client` found on its walk."""
    return run_script("openid_client.mjs", **peers.settings("by openid-client"))


@pytest.fixture(params=["oauth4webapi", "openid_client"])
def walk(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the walk of each client in turn."""
    return request.getfixturevalue(request.param)


def ok(walk: dict[str, Any], step: str) -> Any:
    """Return what came of a step that must succeed."""
    assert "ok" in walk[step], f"{step}: {walk[step]}"
    return walk[step]["ok"]


def refused(walk: dict[str, Any], step: str) -> tuple[int | None, str | None]:
    """Return status and error of a step that must be refused."""
    assert "refused" in walk[step], f"{step}: {walk[step]}"
    return walk[step]["refused"].get("status"), walk[step]["refused"].get("error")


@pytest.mark.parametrize("step", ["basic", "post", "private_key_jwt"])
def test_a_token_by_each_way_to_authenticate(walk, step):
    """A secret in the header, in the form, and an assertion signed by the key that was registered."""
    answer = ok(walk, step)
    assert answer["token_type"] == "bearer"
    assert answer["expires_in"] == 900


def test_a_token_for_a_resource(walk):
    """RFC 8707 and RFC 9068: audience, scope, type; `oauth4webapi` checks signature and claims besides."""
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


def test_requests_that_break_a_rule(walk):
    """The errors of the RFCs, as clients tell them apart."""
    assert refused(walk, "wrong_secret")[0] == 401
    assert refused(walk, "other_grant") == (400, "unsupported_grant_type")
    assert refused(walk, "other_resource") == (400, "invalid_target")


def test_registration_with_the_enrollment_key(walk):
    """The raw enrollment key as initial access token (RFC 7591), and all that a client needs in the answer."""
    assert set(ok(walk, "register")) >= REGISTERED


def test_introspection_by_the_resource(walk):
    """A service asks about a token that is for it (RFC 7662)."""
    answer = ok(walk, "introspect_by_resource")
    assert (answer["active"], answer["aud"], answer["scope"]) == (True, AUDIENCE, "read")


def test_a_revoked_token_is_dead(walk):
    """Active before, not after (RFC 7009)."""
    assert ok(walk, "revoke") == [True, False]


def test_a_bound_token_is_accepted_with_a_proof_and_refused_without(walk):
    """DPoP with the Server's nonce (RFC 9449), then `/auth/verify`."""
    answer = ok(walk, "dpop")
    assert (answer["token_type"], answer["with"], answer["without"]) == ("dpop", 204, 401)


def test_a_client_manages_its_registration(walk):
    """Read, another key, removed (RFC 7592); afterwards it is nobody."""
    assert ok(walk, "read")["status"] == 200
    assert ok(walk, "update")["status"] == 200
    assert ok(walk, "delete")["status"] == 204
    assert refused(walk, "deleted")[0] == 401


def test_the_metadata_name_what_there_is(oauth4webapi, peers):
    """RFC 8414, as `oauth4webapi` has checked it; whatever the client then used was found there."""
    metadata = ok(oauth4webapi, "metadata")
    assert metadata["issuer"] == peers.url
    assert "ES256" in metadata["dpop_signing_alg_values_supported"]


def test_both_discoveries_lead_to_the_same_endpoint(openid_client):
    """RFC 8414 and OpenID Connect Discovery."""
    assert ok(openid_client, "discovery") is True


def test_nobody_learns_whether_a_client_exists(oauth4webapi):
    """An unknown client and a wrong secret are told in the same words."""
    assert oauth4webapi["unknown_client"] == oauth4webapi["wrong_secret"]


def test_a_proof_of_another_key_does_not_help_a_thief(oauth4webapi):
    """The token is bound to one key; the client's first proof was refused for want of a nonce."""
    answer = ok(oauth4webapi, "dpop")
    assert (answer["stolen"], answer["retried"]) == (401, True)
    assert ok(oauth4webapi, "dpop_at_resource") is True
    assert ok(oauth4webapi, "dpop_introspected") == {"active": True, "token_type": "DPoP", "bound": True}


def test_an_assertion_is_used_once(oauth4webapi):
    """The same `jti` again: refused."""
    assert refused(oauth4webapi, "private_key_jwt_twice")[0] == 401


def test_another_key_replaces_the_first(oauth4webapi):
    """After the update the old key proves nothing."""
    assert refused(oauth4webapi, "old_key")[0] == 401
    assert ok(oauth4webapi, "new_key")["token_type"] == "bearer"


def test_what_is_not_ones_own_is_left_alone(oauth4webapi):
    """Another's token reads as not active and stays alive; another's entry is not changed."""
    assert ok(oauth4webapi, "introspect_of_another") == {"active": False}
    assert ok(oauth4webapi, "revoke_of_another") is True
    assert ok(oauth4webapi, "update_of_another")["status"] == 400


def test_scopes_that_a_resource_does_not_have(oauth4webapi):
    """Refused; without any named, all are given, and a token for one resource is not valid for another."""
    assert refused(oauth4webapi, "other_scope") == (400, "invalid_scope")
    assert ok(oauth4webapi, "resource_without_scope")["scope"] == "read write"
    assert refused(oauth4webapi, "other_audience") == (None, None)
