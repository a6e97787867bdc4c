"""Where tokens are requested from: what is remembered of it, and when it raises an alert."""

import asyncio

import httpx2
import pytest
from tests.builders import ISSUER, FakeClock
from tests.deployment import Deployment

from lyftdata.app import create_app
from lyftdata.server.http.forwarded import ForwardedAddresses
from lyftdata.store.tables import token_origins

HOME, HOME_TOO, AWAY, THIRD = "198.51.100.7", "198.51.100.200", "203.0.113.9", "192.0.2.9"
GRANT = {"grant_type": "client_credentials"}


class Host:
    """A host that has a Worker's key."""

    def __init__(self, server: Deployment, press: tuple[str, str], address: str) -> None:
        self.server, self.press, self.address = server, press, address
        self.headers: dict[str, str] = {}

    async def token(self, **form: str) -> None:
        """Request a token."""
        async with self.server.from_address(self.address) as http:
            answer = await http.post("/oauth2/token", data=GRANT | form, auth=self.press)
        assert answer.status_code == 200, answer.text
        if not form:
            self.headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}

    async def poll(self, boot: str = "boot-0001", *, from_address: str | None = None) -> int:
        """Poll; return the status."""
        poll = {"boot_id": boot}
        async with self.server.from_address(from_address or self.address) as http:
            return (await http.post("/api/worker/session", json=poll, headers=self.headers)).status_code

    async def connect(self, boot: str = "boot-0001") -> None:
        """Get a token and a session."""
        await self.token()
        assert await self.poll(boot) == 200


@pytest.fixture
def owner(server, press):
    """Return the host of the Worker."""
    return Host(server, press, HOME)


@pytest.fixture
def thief(server, press):
    """Return a host to which the Worker's key was copied."""
    return Host(server, press, AWAY)


async def origins(server, admin, worker_id="press-01"):
    """Return the origins that operators see."""
    answer = await server.http.get(f"/api/workers/{worker_id}/token-origins", headers=admin)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def alerted_addresses(server, admin):
    """Return the addresses in alerts."""
    items = (await server.http.get("/api/attention", headers=admin)).json()["items"]
    return [item["title"].rpartition(" ")[2] for item in items if item["kind"] == "other_network"]


async def polled_again(host, poll=None):
    """Wait until the held poll of a Worker is answered, and poll once more."""
    if poll is not None:
        assert await asyncio.wait_for(poll, 180) == 200
    again = asyncio.ensure_future(host.poll())
    while host.server.services.sessions.find(host.press[0]).poll is None:
        await asyncio.sleep(0)
    host.server.services.sessions.ask_to_poll_again(host.press[0])
    assert await again == 200


async def test_a_copied_key_that_only_requests_tokens_leaves_a_trace(server, admin, thief):
    """Network, credential, audience and time are recorded even of a Worker that was never connected."""
    body = {"name": "orders", "audience": "https://orders.example", "for_all_workers": True}
    await server.http.post("/api/resources", json=body, headers=admin)
    await thief.token(resource="https://orders.example")
    server.clock.forward(minutes=5)
    thief.address = "203.0.113.77"
    await thief.token(resource="https://orders.example")
    server.clock.forward(seconds=-1)
    await thief.token()

    found = await origins(server, admin)

    assert [(o["network"], o["address"], o["audience"], o["resource"]) for o in found] == [
        ("203.0.113.0/24", "203.0.113.77", "https://orders.example", "orders"),
        ("203.0.113.0/24", "203.0.113.77", ISSUER, None),
    ]
    assert found[0]["first_at"] < found[1]["first_at"] == found[1]["last_at"] < found[0]["last_at"]
    assert {(o["credential_kind"], o["credential"]) for o in found} == {("api_key", found[0]["credential"])}
    assert await alerted_addresses(server, admin) == []


async def test_an_enrolled_worker_is_shown_with_its_identity_key(server, admin):
    """By its thumbprint, as in its entry."""
    worker_id, key = await server.enrolled()
    await server.token_by_assertion(server.assertion(key, worker_id))

    (found,) = await origins(server, admin, worker_id)

    assert (found["credential_kind"], found["credential"]) == ("identity_key", key.public.thumbprint)
    assert found["network"] == "loopback"


async def test_origins_survive_a_restart(opened):
    """Also those of the last minute."""
    async with opened() as server:
        admin = await server.sign_in()
        body = {"name": "press-01", "id": "press-01", "issue_key": True}
        key = (await server.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"]
        host = Host(server, ("press-01", key), HOME)
        await host.token()
        await server.services.token_origins.flush()
        server.clock.forward(seconds=30)
        await host.token()
        before = await origins(server, admin)
    async with opened(server.clock) as server:
        assert await origins(server, await server.sign_in()) == before


async def test_an_old_suspicion_does_not_keep_out_a_new_one(server, admin, owner, thief):
    """With several Servers the Worker may poll at a peer for hours, while this one holds what it suspected before."""
    await owner.connect()
    await thief.token()
    session = server.services.sessions.find("press-01")
    server.clock.forward(minutes=11)

    await thief.token()
    server.services.origin_watch.worker_polled(session)

    assert await alerted_addresses(server, admin) == [AWAY]


async def test_a_token_request_from_elsewhere_during_a_session_raises_an_alert(
    server, admin, owner, thief, capsys
):
    """As soon as the Worker has polled once more from its own network; its held poll is answered early for that."""
    await owner.connect()
    held = asyncio.ensure_future(owner.poll())
    while server.services.sessions.find("press-01").poll is None:
        await asyncio.sleep(0)

    await thief.token()
    assert await alerted_addresses(server, admin) == []
    await polled_again(owner, held)

    assert await alerted_addresses(server, admin) == [AWAY]
    alert = next(o for o in await origins(server, admin) if o["elsewhere_at"])
    assert (alert["address"], alert["session_address"]) == (AWAY, HOME)
    assert "token_from_another_network" in "".join(capsys.readouterr())


async def test_a_worker_that_has_moved_raises_no_alert(server, admin, owner):
    """The same boot polls from the new address next; its old connection still looked alive when it requested the token."""
    await owner.connect()
    owner.address = AWAY
    await owner.token()
    await polled_again(owner)
    # Back in the first network, in the same boot.
    owner.address = HOME_TOO
    await owner.token()
    await polled_again(owner)

    assert await alerted_addresses(server, admin) == []


async def test_a_worker_that_restarts_elsewhere_raises_no_alert(server, admin, owner):
    """Whether its last session has ended or not."""
    await owner.connect()
    owner.address = AWAY
    await owner.token()
    server.services.sessions.sign_off("press-01", "boot-0001")
    assert await owner.poll("boot-0002") == 200
    owner.address = THIRD
    server.services.sessions.sign_off("press-01", "boot-0002")
    await owner.connect("boot-0003")
    await polled_again_as(owner, "boot-0003")

    assert await alerted_addresses(server, admin) == []


async def polled_again_as(host, boot):
    """Poll once more as a given boot of the Worker."""
    again = asyncio.ensure_future(host.poll(boot))
    while host.server.services.sessions.find(host.press[0]).poll is None:
        await asyncio.sleep(0)
    host.server.services.sessions.ask_to_poll_again(host.press[0])
    assert await again == 200


@pytest.mark.parametrize(
    ("session", "token"),
    [
        (HOME, HOME_TOO),
        ("2001:db8:1:2:1:1:1:1", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
        ("127.0.0.1", "::1"),
        ("10.1.0.7", "10.2.0.7"),
        ("10.1.0.7", "2001:db8:7::1"),
    ],
)
async def test_addresses_that_one_host_may_have_raise_no_alert(opened, session, token):
    """A NAT with several addresses, privacy addresses, localhost, and networks in `LYFTDATA_OWN_NETWORKS`."""
    async with opened(LYFTDATA_OWN_NETWORKS="10.0.0.0/8, 2001:db8:7::/48") as server:
        admin = await server.sign_in()
        body = {"name": "press-01", "id": "press-01", "issue_key": True}
        key = (await server.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"]
        owner = Host(server, ("press-01", key), session)
        await owner.connect()
        await Host(server, owner.press, token).token()
        await polled_again(owner)

        assert await alerted_addresses(server, admin) == []
        assert len(await origins(server, admin)) in {1, 2}


async def test_behind_a_trusted_proxy_the_address_of_the_caller_counts(server, admin, owner):
    """Two hosts behind the same proxy are distinguished."""
    app = ForwardedAddresses(create_app(server.services), trusted_proxies=["192.0.2.250"])
    transport = httpx2.ASGITransport(app, client=("192.0.2.250", 1))
    async with httpx2.AsyncClient(transport=transport, base_url=ISSUER) as http:
        for address in (HOME, AWAY):
            headers = {"X-Forwarded-For": address}
            answer = await http.post("/oauth2/token", data=GRANT, auth=owner.press, headers=headers)
            assert answer.status_code == 200

    assert {o["address"] for o in await origins(server, admin)} == {HOME, AWAY}


async def test_the_alert_ends_when_an_operator_disables_the_worker(server, admin, owner, thief):
    """It does not return when the Worker is enabled again."""
    await owner.connect()
    await thief.token()
    await polled_again(owner)
    assert await alerted_addresses(server, admin) == [AWAY]

    server.clock.forward(minutes=1)
    for enabled in (False, True):
        body = {"enabled": enabled}
        await server.http.patch("/api/workers/press-01", json=body, headers=admin)
        assert await alerted_addresses(server, admin) == []


async def test_the_alert_ends_when_the_copied_key_is_revoked(server, admin, owner, thief):
    """A revoked key is of no use to anyone."""
    await owner.connect()
    await thief.token()
    await polled_again(owner)
    (name,) = {o["credential"] for o in await origins(server, admin)}

    await server.http.post(f"/api/api-keys/{name}/revoke", headers=admin)

    assert await alerted_addresses(server, admin) == []
    assert {o["credential"] for o in await origins(server, admin)} == {name}


async def test_repeated_requests_are_written_once_a_minute(server, press, monkeypatch):
    """Of many requests from one network, the first is written; the next one a minute later."""
    written = []
    monkeypatch.setattr(token_origins, "merge_origins", lambda _tx, origins: written.append(list(origins)))
    host = Host(server, press, HOME)
    for _ in range(3):
        for _ in range(20):
            await host.token()
        await server.services.token_origins.flush()
    assert [len(part) for part in written] == [1]

    server.clock.forward(minutes=1)
    await host.token()
    await server.services.token_origins.flush()
    assert [len(part) for part in written] == [1, 1]


async def test_the_origins_in_memory_and_in_one_write_are_limited(server, monkeypatch):
    """However many Workers and networks there are; an evicted Worker's origins are written all the same."""
    written = []
    monkeypatch.setattr(token_origins, "merge_origins", lambda _tx, origins: written.append(list(origins)))
    log = type(server.services.token_origins)(store=server.services.store, max_workers=10)
    for n in range(3_000):
        address = f"10.{n % 256}.{n // 256}.1"
        log.token_given(f"w-{n // 40}", address=address, credential="key.x", audience="a", at=FakeClock()())

    await log.flush()
    first = sum(map(len, written))
    await log.flush()

    assert (first, sum(map(len, written))) == (2_000, 3_000)
