"""Attacks on proofs of possession (RFC 9449, section 11): replay, floods, and addresses that two programs read differently."""

import pytest
from tests.oauth_requests import VERIFY, ask_bound, bound, dpop, show_bound

from lyftdata.core.identity_keys import generate_identity_key


async def nonce_of(server, press):
    """Return the nonce of now."""
    return (await ask_bound(server, press, dpop(generate_identity_key(), server))).headers["dpop-nonce"]


async def test_a_worker_that_makes_up_keys_fills_no_memory(server, press, monkeypatch):
    """Its proofs count against the Worker, not against keys of which it has as many as it likes."""
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


async def test_one_worker_keeps_no_other_from_proving(server, admin, press, monkeypatch):
    """Each has a share of its own."""
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


async def test_a_busy_worker_is_let_through(server, press):
    """Some thousand requests in a minute, each with a proof of its own: a proxy asks about every one."""
    key = generate_identity_key()
    token = await bound(server, press, key)
    statuses = set()
    for _ in range(1_500):
        statuses.add((await show_bound(server, token, dpop(key, server, token=token, **VERIFY))).status_code)
    assert statuses == {204}


@pytest.mark.parametrize("seconds", [-60, 0, 5])
async def test_no_proof_is_good_twice_in_all_its_life(server, press, seconds):
    """Whenever it was made: as long as it would be taken, its use is remembered; the clock's last second included."""
    key = generate_identity_key()
    token = await bound(server, press, key)
    iat = int(server.clock().timestamp()) + seconds
    proof = dpop(key, server, token=token, iat=iat, **VERIFY)
    assert (await show_bound(server, token, proof)).status_code == 204
    server.clock.forward(seconds=60 + seconds)
    # Others in between, so that ended ones are looked for.
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
async def test_an_address_that_two_programs_read_differently_is_rejected(server, admin, press, url):
    """A client that signs such a text may have asked another host, which could use the proof here."""
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
