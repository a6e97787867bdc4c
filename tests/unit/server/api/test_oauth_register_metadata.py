"""Client metadata in registrations: which members are accepted, rejected by name, honoured or ignored."""

import base64
from typing import Any

import pytest
from joserfc.jwk import OKPKey
from tests.builders import ENROLLMENT_KEY
from tests.deployment import ASSERTION_TYPE
from tests.oauth_requests import dpop
from tests.unit.server.api.test_oauth_register import entries

from lyftdata.core.identity_keys import generate_identity_key

SMALL_ORDER = base64.urlsafe_b64encode(bytes(32)).rstrip(b"=").decode()
NO_KEY = "JWK Set with exactly one public key"
NO_ENDPOINT = "there is no authorization endpoint"
WRONG_METADATA: list[tuple[dict[str, Any], str]] = [
    ({"client_name": ""}, "must be given"),
    ({"client_name": None}, "must be given"),
    ({"client_name": 5}, "as a string"),
    ({"client_name": "a\nb"}, "1 to 64 printable characters"),
    ({"client_name": "x" * 65}, "1 to 64 printable characters"),
    ({"jwks": None}, NO_KEY),
    ({"jwks": {"keys": []}}, NO_KEY),
    ({"jwks": {"keys": [{}, {}]}}, NO_KEY),
    ({"jwks": {"keys": [{"kty": "EC"}]}}, "P-256 or an Ed25519 key"),
    ({"jwks": {"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}}, "P-256 or an Ed25519 key"),
    ({"jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}}, "holds a private key"),
    ({"jwks": {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA"}]}}, "32 bytes in base64url"),
    ({"jwks": {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": SMALL_ORDER}]}}, "small order"),
    ({"labels": {"bad key": "x"}}, "keys must be"),
    ({"labels": {"a": "=,"}}, "values must be"),
    ({"labels": {"a": 5}}, "object of strings"),
    ({"labels": ["a"]}, "object of strings"),
    ({"labels": {f"k{n}": "" for n in range(33)}}, "at most 32"),
    ({"token_endpoint_auth_method": "client_secret_basic"}, "must be private_key_jwt"),
    ({"token_endpoint_auth_method": ["private_key_jwt"]}, "must be private_key_jwt"),
    ({"token_endpoint_auth_signing_alg": "RS256"}, "must be ES256"),
    ({"grant_types": ["authorization_code"]}, "must be client_credentials alone"),
    ({"grant_types": ["client_credentials", "refresh_token"]}, "must be client_credentials alone"),
    ({"dpop_bound_access_tokens": "true"}, "must be true or false"),
    ({"dpop_bound_access_tokens": 1}, "must be true or false"),
    # If these were ignored, the client would rely on something that it does not get.
    ({"response_types": ["code"]}, NO_ENDPOINT),
    ({"require_signed_request_object": True}, NO_ENDPOINT),
    ({"require_pushed_authorization_requests": True}, NO_ENDPOINT),
    ({"jwks_uri": "https://client.example/jwks.json"}, "send the public key itself in jwks"),
    ({"client_secret": "hunter2"}, "the key in jwks"),
    ({"scope": "read"}, "with each token request"),
    ({"authorization_details_types": ["payment"]}, "not supported"),
    ({"tls_client_certificate_bound_access_tokens": True}, "client certificates are not supported"),
    ({"tls_client_auth_subject_dn": "CN=press"}, "client certificates are not supported"),
    ({"tls_client_auth_san_dns": "press.example"}, "client certificates are not supported"),
    ({"tls_client_auth_san_uri": "spiffe://press"}, "client certificates are not supported"),
    ({"tls_client_auth_san_ip": "192.0.2.1"}, "client certificates are not supported"),
    ({"tls_client_auth_san_email": "a@example.org"}, "client certificates are not supported"),
    ({"introspection_signed_response_alg": "ES256"}, "not signed or encrypted"),
    ({"introspection_encrypted_response_alg": "ECDH-ES"}, "not signed or encrypted"),
    ({"introspection_encrypted_response_enc": "A128GCM"}, "not signed or encrypted"),
    ({"redirect_uris": ["https://client.example/back"]}, NO_ENDPOINT),
    ({"software_statement": "eyJ.e30."}, "software statements are not supported"),
]
CODES = {
    "redirect_uris": "invalid_redirect_uri",
    "software_statement": "unapproved_software_statement",
}


def named(metadata):
    """Name a case after its member; pytest numbers several cases of one member."""
    return next(iter(metadata)) if isinstance(metadata, dict) else ""


@pytest.mark.parametrize(("metadata", "rule"), WRONG_METADATA, ids=named)
async def test_wrong_metadata_is_rejected_with_the_broken_rule(server, admin, metadata, rule):
    """The caller has proved the enrollment key, so it learns which member breaks which rule. No entry is made."""
    (member,) = metadata
    answer = await server.register(generate_identity_key(), "press", credential=ENROLLMENT_KEY, **metadata)

    registered = answer.json()
    assert answer.status_code == 400
    assert (registered["error"], registered["code"]) == (
        CODES.get(member, "invalid_client_metadata"),
        "invalid_registration",
    )
    assert registered["error_description"].startswith(f"{member}: ")
    assert rule in registered["error_description"]
    assert await entries(server) == {}
    refusal = (await server.http.get(f"/api/refusals/{registered['reference']}", headers=admin)).json()
    assert refusal["detail"] == registered["error_description"]


@pytest.mark.parametrize(("metadata", "rule"), WRONG_METADATA, ids=named)
async def test_an_update_of_a_registration_follows_the_same_rules(server, metadata, rule):
    """RFC 7592, section 2.2: a PUT that breaks a rule is rejected with that rule, and the entry stays unchanged."""
    (member,) = metadata
    key, fresh = generate_identity_key(), generate_identity_key()
    registered = (await server.register(key, "press", credential=ENROLLMENT_KEY)).json()
    body = {
        "client_id": registered["client_id"],
        "client_name": "press",
        "jwks": {"keys": [fresh.public.as_dict()]},
    }
    headers = {"Authorization": f"Bearer {registered['registration_access_token']}"}

    answer = await server.http.put(
        registered["registration_client_uri"], json=body | metadata, headers=headers
    )

    assert answer.status_code == 400
    assert answer.json()["error"] == CODES.get(member, "invalid_client_metadata")
    assert answer.json()["error_description"].startswith(f"{member}: ")
    assert rule in answer.json()["error_description"]
    assert (await server.http.get(registered["registration_client_uri"], headers=headers)).json()[
        "jwks"
    ] == registered["jwks"]


@pytest.mark.parametrize("empty", [None, False, "", [], {}])
async def test_empty_metadata_count_as_omitted(server, empty):
    """A client may send every member that it knows, empty."""
    members = {member for metadata, _ in WRONG_METADATA for member in metadata} - {
        "client_name",
        "jwks",
        "labels",
        "dpop_bound_access_tokens",
    }
    answer = await server.register(
        generate_identity_key(), "press", credential=ENROLLMENT_KEY, **dict.fromkeys(members, empty)
    )

    assert answer.status_code == 201, answer.text
    assert answer.json()["token_endpoint_auth_method"] == "private_key_jwt"


async def test_descriptive_metadata_are_ignored(server):
    """RFC 7591, section 2: members without an effect here are accepted, and are not in the answer."""
    described = {
        "client_uri": "https://client.example",
        "logo_uri": "https://client.example/logo.png",
        "contacts": ["ops@client.example"],
        "software_id": "press",
        "software_version": "1.2",
        "application_type": "native",
        "unheard_of": {"a": 1},
    }
    answer = await server.register(generate_identity_key(), "press", credential=ENROLLMENT_KEY, **described)

    assert answer.status_code == 201
    assert not described.keys() & answer.json().keys()


@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519"])
async def test_an_algorithm_that_fits_the_key_is_accepted(server, algorithm):
    """`token_endpoint_auth_signing_alg` may have either name of the key's algorithm."""
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": OKPKey.generate_key("Ed25519").as_dict(private=False)["x"]}
    answer = await server.register(
        generate_identity_key(),
        "press",
        credential=ENROLLMENT_KEY,
        jwks={"keys": [jwk]},
        token_endpoint_auth_signing_alg=algorithm,
    )
    assert answer.status_code == 201, answer.text


# --- bound tokens only (RFC 9449, section 5.2) ------------------------------------------------------------


async def ask_for_token(server, key, worker_id, **headers):
    """Request a token with an assertion."""
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": server.assertion(key, worker_id),
    }
    return await server.http.post("/oauth2/token", data=form, headers=headers)


async def put(server, registered, key, **metadata):
    """Change a registration; return the answer."""
    body = {
        "client_id": registered["client_id"],
        "client_name": "press",
        "jwks": {"keys": [key.public.as_dict()]},
    }
    headers = {"Authorization": f"Bearer {registered['registration_access_token']}"}
    return await server.http.put(registered["registration_client_uri"], json=body | metadata, headers=headers)


async def test_a_client_that_registered_for_bound_tokens_gets_only_those(server, admin):
    """Without a proof it is refused with the cause, with one its token is bound. Operators see the setting."""
    key = generate_identity_key()
    registered = (
        await server.register(key, "press", credential=ENROLLMENT_KEY, dpop_bound_access_tokens=True)
    ).json()
    worker_id = registered["client_id"]
    assert registered["dpop_bound_access_tokens"] is True

    bare = await ask_for_token(server, key, worker_id)
    assert (bare.status_code, bare.json()["error"], bare.json()["code"]) == (
        400,
        "invalid_dpop_proof",
        "dpop_proof_missing",
    )
    nonce = (await ask_for_token(server, key, worker_id, DPoP=dpop(key, server))).headers["dpop-nonce"]
    bound = await ask_for_token(server, key, worker_id, DPoP=dpop(key, server, nonce=nonce))
    assert bound.json()["token_type"] == "DPoP"
    assert (await server.http.get(f"/api/workers/{worker_id}", headers=admin)).json()["dpop_bound"] is True


async def test_an_unproven_caller_does_not_learn_that_bound_tokens_are_required(server):
    """Without the key, the answer is the same as for any other Worker."""
    key = generate_identity_key()
    registered = (await server.register(key, "press", dpop_bound_access_tokens=True)).json()

    answer = await ask_for_token(server, generate_identity_key(), registered["client_id"])

    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_a_client_must_use_bound_tokens_after_a_restart_too(opened):
    """The setting is part of the entry."""
    key = generate_identity_key()
    async with opened() as server:
        registered = (await server.register(key, "press", dpop_bound_access_tokens=True)).json()
        clock = server.clock
    async with opened(clock) as server:
        server.jti_from(100)
        answer = await ask_for_token(server, key, registered["client_id"])
        assert answer.json()["code"] == "dpop_proof_missing"


async def test_a_second_registration_does_not_change_token_binding(server):
    """Anyone with the enrollment key can register a known public key again, so a change is rejected, not ignored."""
    plain, bound = generate_identity_key(), generate_identity_key()
    await server.register(plain, "plain")
    await server.register(bound, "bound", dpop_bound_access_tokens=True)

    asked = await server.register(plain, "plain", dpop_bound_access_tokens=True)
    silent = await server.register(bound, "bound")

    assert (asked.status_code, asked.json()["error"]) == (400, "invalid_client_metadata")
    assert asked.json()["error_description"].startswith("dpop_bound_access_tokens: ")
    assert (silent.status_code, silent.json()["dpop_bound_access_tokens"]) == (201, True)


async def test_a_client_changes_token_binding_by_put(server, admin):
    """A PUT sets and clears it, leaves it unchanged if it is omitted, and each change is in the audit log."""
    key = generate_identity_key()
    registered = (await server.register(key, "press", credential=ENROLLMENT_KEY)).json()
    seen = []
    for change in ({"dpop_bound_access_tokens": True}, {}, {"dpop_bound_access_tokens": False}):
        answer = await put(server, registered, key, **change)
        assert answer.status_code == 200, answer.text
        registered = answer.json()
        asked = await ask_for_token(server, key, registered["client_id"])
        seen.append((registered["dpop_bound_access_tokens"], asked.status_code))
    events = (
        await server.http.get("/api/audit", headers=admin, params={"action": "worker.binding_changed"})
    ).json()["items"]

    assert seen == [(True, 400), (True, 400), (False, 200)]
    assert [event["details"] for event in events] == [{"dpop_bound": "no"}, {"dpop_bound": "yes"}]
