"""`POST /api/worker/session`: what a poll must contain. How long it is held: `tests/unit/server/sessions`."""

import pytest

PATH = "/api/worker/session"
POLL = {"boot_id": "boot-0001"}


@pytest.fixture
async def bearer(server, press):
    """Return the headers of the Worker's requests."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


async def status_of(server, admin):
    """Return the status of the Worker."""
    return (await server.http.get("/api/workers/press-01", headers=admin)).json()["status"]


async def test_the_first_poll_connects_and_a_sign_off_disconnects(server, admin, bearer):
    """Both are answered at once."""
    connected = await server.http.post(PATH, json=POLL, headers=bearer)
    assert (connected.status_code, connected.json()["session"]) == (200, "established")
    assert await status_of(server, admin) == "online"

    ended = await server.http.post(PATH, json=POLL | {"sign_off": True}, headers=bearer)

    assert (ended.status_code, ended.json()["session"]) == (200, "ended")
    assert await status_of(server, admin) == "offline"


async def test_a_sign_off_with_another_boot_id_is_ignored(server, admin, bearer):
    """It is late, and belongs to a session that was replaced."""
    await server.http.post(PATH, json=POLL, headers=bearer)

    await server.http.post(PATH, json={"boot_id": "boot-0000", "sign_off": True}, headers=bearer)

    assert await status_of(server, admin) == "online"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"boot_id": "short"}',
        b'{"boot_id": "boot 0001"}',
        b'{"boot_id": "boot-0001", "max_hold_s": 0.5}',
        b'{"boot_id": "boot-0001", "labels": "=x"}',
        b'{"boot_id": "\xff\xff\xff\xff\xff\xff\xff\xff"}',
        b"[" * 10_000,
    ],
)
async def test_a_malformed_poll_is_rejected(server, admin, bearer, body):
    """With 400, and the Worker is not connected."""
    answer = await server.http.post(PATH, content=body, headers=bearer)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert await status_of(server, admin) == "never_connected"


async def test_a_caller_without_a_valid_token_learns_only_a_reference(server):
    """As at every endpoint."""
    answer = await server.http.post(PATH, json=POLL, headers={"Authorization": "Bearer nonsense"})

    assert (answer.status_code, answer.json().keys()) == (
        401,
        {"error", "error_description", "reference"},
    )
