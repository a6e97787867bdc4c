"""Attacks on proofs of possession (RFC 9449, section 11): replay, floods, and URLs that two programs parse differently."""

import pytest
from tests.oauth_requests import VERIFY, ask_bound, bound, dpop, show_bound

from lyftdata.core.identity_keys import generate_identity_key


async def nonce_of(server, press):
    """Return the current nonce."""
    return (await ask_bound(server, press, dpop(generate_identity_key(), server))).headers["dpop-nonce"]


async def test_a_worker_that_generates_many_keys_does_not_fill_the_memory(server, press, monkeypatch):
    """Its proofs are counted by Worker, not by key, of which it can generate any number."""
    nonce = await nonce_of(server, press)
    monkeypatch.setattr(server.services.dpop.spent, "_max_per_worker", 10, raising=False)

    answers = [
        await ask_bound(server, press, dpop(generate_identity_key(), server, nonce=nonce)) for _ in range(15)
    ]

    assert [a.status_code for a in answers] == [200] * 10 + [400] * 5
    assert len(server.services.dpop.spent) == 10
    server.clock.forward(seconds=66)
    again = dpop(generate_identity_key(), server, nonce=await nonce_of(server, press))
    assert (await ask_bound(server, press, again)).status_code == 200
    assert len(server.services.dpop.spent) == 1


async def test_a_worker_cannot_use_up_the_proofs_of_another(server, admin, press, monkeypatch):
    """Each Worker has its own limit."""
    body = {"name": "press-02", "id": "press-02", "issue_key": True}
    second = (await server.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"]
    nonce = await nonce_of(server, press)
    monkeypatch.setattr(server.services.dpop.spent, "_max_per_worker", 1, raising=False)
    for worker, statuses in ((press, [200, 400]), (("press-02", second), [200, 400])):
        answers = [
            await ask_bound(server, worker, dpop(generate_identity_key(), server, nonce=nonce))
            for _ in range(2)
        ]
        assert [a.status_code for a in answers] == statuses


async def test_a_busy_worker_is_not_limited(server, press):
    """A proxy asks about every request: 1,500 a minute, each with its own proof, are accepted."""
    key = generate_identity_key()
    token = await bound(server, press, key)
    statuses = set()
    for _ in range(1_500):
        statuses.add((await show_bound(server, token, dpop(key, server, token=token, **VERIFY))).status_code)
    assert statuses == {204}


@pytest.mark.parametrize("seconds", [-60, 0, 5])
async def test_a_proof_is_never_accepted_twice(server, press, seconds):
    """Its use is remembered for as long as it would be accepted, whenever it was made, up to the last second."""
    key = generate_identity_key()
    token = await bound(server, press, key)
    iat = int(server.clock().timestamp()) + seconds
    proof = dpop(key, server, token=token, iat=iat, **VERIFY)
    assert (await show_bound(server, token, proof)).status_code == 204
    server.clock.forward(seconds=60 + seconds)
    # Other proofs in between, so that expired records are removed.
    for _ in range(40):
        await show_bound(server, token, dpop(key, server, token=token, **VERIFY))
    assert (await show_bound(server, token, proof)).status_code == 401


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example.com\\@service.example.com/orders",
        "https://other.example.com@service.example.com/orders",
        "https://other.example.com:443@service.example.com/orders",
        "https://service.exa\tmple.com/orders",
        "https://service.example.com/ord\ners",
        " https://service.example.com/orders",
        "https://service.example.com\\orders",
    ],
)
async def test_a_url_that_two_programs_parse_differently_is_rejected(server, admin, press, url):
    """A client that signs such a URL may have sent its request to another host, which could then use the proof here."""
    body = {"name": "service", "audience": "https://service.example.com"}
    assert (await server.http.post("/api/resources", json=body, headers=admin)).status_code == 201
    key = generate_identity_key()
    token = await bound(server, press, key)

    async def ask_for(htu):
        headers = {
            "Authorization": f"DPoP {token}",
            "DPoP": dpop(key, server, token=token, method="GET", url=htu),
            "X-Forwarded-Method": "GET",
            "X-Forwarded-Uri": "/orders",
        }
        return (await server.http.get("/auth/verify/service", headers=headers)).status_code

    assert await ask_for("https://service.example.com/orders") == 204
    assert await ask_for(url) == 401
