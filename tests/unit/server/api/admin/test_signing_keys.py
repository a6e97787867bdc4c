"""`/api/signing-keys`."""


async def test_signing_keys_are_listed_without_their_private_half(server, admin):
    """They are the same as in the JWKS."""
    items = (await server.http.get("/api/signing-keys", headers=admin)).json()["items"]

    published = (await server.http.get("/.well-known/jwks.json")).json()["keys"]
    assert {key["kid"] for key in items} == {key["kid"] for key in published}
    assert not {"d", "private_key", "key"} & {name for key in items for name in key}


async def test_a_key_is_withdrawn_only_if_another_one_signs_at_once(server, admin):
    """Otherwise 422; with `now`, its tokens are refused before the answer is sent."""
    (first, *_) = (await server.http.get("/api/signing-keys", headers=admin)).json()["items"]
    body = {"withdraw": [first["kid"]], "now": False}
    refused = await server.http.post("/api/signing-keys/rotate", json=body, headers=admin)
    assert (refused.status_code, refused.json()["field"]) == (422, "withdraw")

    rotated = await server.http.post("/api/signing-keys/rotate", json=body | {"now": True}, headers=admin)

    assert rotated.status_code == 200
    assert first["kid"] not in {key["kid"] for key in rotated.json()["items"]}
