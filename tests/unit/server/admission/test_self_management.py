"""A third-party client can read, change and delete its own entry (RFC 7592), and no other."""

import pytest
from tests.builders import ENROLLMENT_KEY, ISSUER
from tests.oauth_requests import bearer, enrolled_by_secret

from lyftdata.core.identity_keys import generate_identity_key


async def test_a_client_reads_its_own_entry(server):
    """With its registration access token, or with a worker token; lyftdata's agent gets no registration access token."""
    registered, key = await enrolled_by_secret(server)
    uri = registered["registration_client_uri"]
    token = (await server.token_by_assertion(server.assertion(key, registered["client_id"]))).json()[
        "access_token"
    ]

    for credential in (registered["registration_access_token"], token):
        read = await server.http.get(uri, headers=bearer(credential))
        assert read.status_code == 200
        assert (read.json()["client_id"], read.json()["jwks"]) == (
            registered["client_id"],
            registered["jwks"],
        )
    ours = await server.register(generate_identity_key(), "ours")
    assert "registration_access_token" not in ours.json()


async def test_a_client_replaces_the_key_of_its_entry(server, admin):
    """The old key and its tokens are refused, the ID stays, the registration token is a new one, and the change is audited."""
    registered, key = await enrolled_by_secret(server)
    worker_id, uri = registered["client_id"], registered["registration_client_uri"]
    old_token = (await server.token_by_assertion(server.assertion(key, worker_id))).json()["access_token"]
    fresh = generate_identity_key()
    body = {"client_id": worker_id, "client_name": "press", "jwks": {"keys": [fresh.public.as_dict()]}}

    changed = await server.http.put(uri, json=body, headers=bearer(registered["registration_access_token"]))

    assert changed.status_code == 200
    assert (await server.token_by_assertion(server.assertion(key, worker_id))).status_code == 401
    assert (await server.token_by_assertion(server.assertion(fresh, worker_id))).status_code == 200
    assert (await server.verify(old_token)).status_code == 401
    assert (
        await server.http.get(uri, headers=bearer(registered["registration_access_token"]))
    ).status_code == 401
    assert (
        await server.http.get(uri, headers=bearer(changed.json()["registration_access_token"]))
    ).status_code == 200
    actions = [e["action"] for e in (await server.http.get("/api/audit", headers=admin)).json()["items"]]
    assert "worker.key_rotated" in actions


async def test_a_client_deletes_its_entry(server, admin):
    """Its tokens are refused from then on."""
    registered, key = await enrolled_by_secret(server)
    token = (await server.token_by_assertion(server.assertion(key, registered["client_id"]))).json()[
        "access_token"
    ]
    gone = await server.http.delete(
        registered["registration_client_uri"], headers=bearer(registered["registration_access_token"])
    )
    assert gone.status_code == 204
    assert (await server.verify(token)).status_code == 401
    assert (
        await server.http.get(f"/api/workers/{registered['client_id']}", headers=admin)
    ).status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_client_cannot_manage_another_entry(server, press, method):
    """Another client's token, made-up ones, the enrollment key, an API-key Worker's token or none: all are refused alike."""
    registered, _ = await enrolled_by_secret(server)
    other, _ = await enrolled_by_secret(server, "other")
    by_key = (await server.token_by_key(*press)).json()["access_token"]
    for uri, credential in (
        (registered["registration_client_uri"], other["registration_access_token"]),
        (registered["registration_client_uri"], "lyftdata_registration_made_up"),
        (registered["registration_client_uri"], ENROLLMENT_KEY),
        (registered["registration_client_uri"], by_key),
        (f"{ISSUER}/oauth2/register/press-01", by_key),
        (f"{ISSUER}/oauth2/register/press-01", "lyftdata_registration_"),
        (f"{ISSUER}/oauth2/register/nobody", registered["registration_access_token"]),
    ):
        answer = await server.http.request(method, uri, json={}, headers=bearer(credential))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    assert (
        await server.http.request(method, registered["registration_client_uri"], json={})
    ).status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "other"},
        {"client_id": None},
        {"client_name": "other"},
        {"labels": {"quarantine": ""}},
        {"jwks": {"keys": []}},
        {"token_endpoint_auth_method": "none"},
        {"grant_types": ["authorization_code"]},
    ],
)
async def test_a_client_can_change_only_its_key(server, change):
    """An operator may have set name and labels."""
    registered, key = await enrolled_by_secret(server)
    fresh = generate_identity_key()
    body = {
        "client_id": registered["client_id"],
        "client_name": "press",
        "jwks": {"keys": [fresh.public.as_dict()]},
    } | change

    answer = await server.http.put(
        registered["registration_client_uri"],
        json=body,
        headers=bearer(registered["registration_access_token"]),
    )

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")
    assert (
        await server.token_by_assertion(server.assertion(key, registered["client_id"]))
    ).status_code == 200


async def test_a_key_belongs_to_one_worker(server):
    """A client cannot register the public key of another."""
    registered, _ = await enrolled_by_secret(server)
    _, taken = await enrolled_by_secret(server, "other")
    body = {
        "client_id": registered["client_id"],
        "client_name": "press",
        "jwks": {"keys": [taken.public.as_dict()]},
    }
    answer = await server.http.put(
        registered["registration_client_uri"],
        json=body,
        headers=bearer(registered["registration_access_token"]),
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")


async def test_a_disabled_worker_cannot_manage_its_entry(server, admin):
    """Otherwise it could register another key while it is disabled."""
    registered, _ = await enrolled_by_secret(server)
    await server.http.patch(f"/api/workers/{registered['client_id']}", json={"enabled": False}, headers=admin)
    for method in ("GET", "PUT", "DELETE"):
        answer = await server.http.request(
            method,
            registered["registration_client_uri"],
            json={},
            headers=bearer(registered["registration_access_token"]),
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "worker_disabled")


async def test_reading_an_entry_returns_how_to_manage_it(server):
    """RFC 7592, section 3: with the token that was sent, and no new one."""
    registered, _ = await enrolled_by_secret(server)
    read = await server.http.get(
        registered["registration_client_uri"], headers=bearer(registered["registration_access_token"])
    )
    for name in ("registration_access_token", "registration_client_uri"):
        assert read.json()[name] == registered[name]
