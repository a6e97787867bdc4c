"""Rehearsals of enrollment keys: which recorded attempts are found, and what operators see of them."""

import threading
from datetime import timedelta

import pytest
from tests.builders import NOON, SECRET_KEY

from lyftdata.core import enrollment_rules
from lyftdata.core.enrollment_rules import broken_rules
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.records import EnrollmentKeyRecord
from lyftdata.server.admin import enrollment_rehearsals
from lyftdata.store.tables import refusals

KEYS = "/api/enrollment/keys"
NETWORK, NAME = "enrollment_network_not_allowed", "enrollment_name_not_allowed"


@pytest.fixture(params=["sqlite", "postgresql"])
async def either(opened, request):
    """Return a Server on each database."""
    environ = {}
    if request.param == "postgresql":
        url = request.getfixturevalue("cluster").new_database()
        environ = {"LYFTDATA_DATABASE_URL": url, "LYFTDATA_SECRET_KEY": SECRET_KEY}
    async with opened(**environ) as server:
        yield server


async def issue(server, name="etl-hosts", **rules):
    """Issue a key and return it."""
    answer = await server.http.post(KEYS, json={"name": name} | rules, headers=await server.sign_in())
    assert answer.status_code == 201, answer.text
    return answer.json()["key"]


async def enroll(server, secret, name="etl-1"):
    """Enroll with a proof of a secret, from 127.0.0.1."""
    identity = generate_identity_key()
    return await server.register(identity, name, credential=server.proof(identity, name, secret=secret))


async def rehearse(server, name="etl-hosts", *, status=200, **rules):
    """Rehearse a key and return the answer."""
    answer = await server.http.post(f"{KEYS}/{name}/rehearse", json=rules, headers=await server.sign_in())
    assert answer.status_code == status, answer.text
    return answer.json()


def listed(found):
    """Return the listed attempts in short form."""
    return [
        (item["worker_name"], item["attempts"], item["recorded"], item["outcome"], item["codes"])
        for item in found["items"]
    ]


async def test_admitted_and_refused_attempts_are_replayed(either):
    """A stricter rule refuses admitted attempts, a looser one admits refused ones; the key itself is not changed."""
    key = await issue(either, worker_name="etl-*")
    await enroll(either, key, "etl-1")
    for _ in range(2):
        await enroll(either, key, "press-1")

    strict = await rehearse(either, networks=["192.0.2.0/24"])
    loose = await rehearse(either, worker_name="*", mode="approve", approve_name="press-*")

    assert (strict["attempts"], strict["refused"], strict["newly_refused"]) == (3, 3, 1)
    assert listed(strict) == [
        ("etl-1", 1, "admitted", "refused", [NETWORK]),
        ("press-1", 2, "refused", "refused", [NETWORK, NAME]),
    ]
    assert (loose["admitted"], loose["pending"], loose["newly_let_in"], loose["newly_refused"]) == (
        2,
        1,
        2,
        0,
    )
    assert listed(loose) == [
        ("press-1", 2, "refused", "admitted", []),
        ("etl-1", 1, "admitted", "pending", []),
    ]
    shown = (await either.http.get(f"{KEYS}/etl-hosts", headers=await either.sign_in())).json()
    assert (shown["worker_name"], shown["networks"], shown["uses"]) == ("etl-*", [], 1)


async def test_an_attempt_is_counted_once_before_and_after_it_is_written(either):
    """A refusal is written a moment later; the answer does not depend on it."""
    key = await issue(either, worker_name="etl-*")
    await enroll(either, key, "press-1")

    before = await rehearse(either)
    await either.services.refusals.flush()
    after = await rehearse(either)

    assert before == after | {"since": before["since"], "complete_since": before["complete_since"]}
    assert listed(after) == [("press-1", 1, "refused", "refused", [NAME])]
    assert (
        await either.http.get(
            f"/api/refusals/{after['items'][0]['reference']}", headers=await either.sign_in()
        )
    ).status_code == 200


async def test_a_key_that_warns_is_rehearsed_as_one_that_refuses(server):
    """The question is which attempts would be refused; with mode `warn` in the request it only warns."""
    key = await issue(server, worker_name="etl-*", mode="warn")
    worker_id = (await enroll(server, key, "press-1")).json()["client_id"]

    found = await rehearse(server)

    assert found["rules"]["mode"] == "auto"
    assert listed(found) == [("press-1", 1, "warned", "refused", [NAME])]
    assert (found["items"][0]["worker_id"], found["items"][0]["recorded_codes"]) == (worker_id, [NAME])
    assert listed(await rehearse(server, mode="warn")) == []


async def test_the_key_of_the_settings_can_be_rehearsed(server):
    """It has no rules: so operators find out which rules a key could have."""
    await server.register(generate_identity_key(), "press-1")

    found = await rehearse(server, "startup", worker_name="etl-*")

    assert listed(found) == [("press-1", 1, "admitted", "refused", [NAME])]
    assert listed(await rehearse(server, "startup")) == []


async def test_attempts_with_other_keys_and_from_earlier_days_are_left_out(server):
    """`days` limits the replay; earlier uses still count towards `max_uses`."""
    key, other = await issue(server), await issue(server, "other-hosts")
    await enroll(server, key, "etl-1")
    server.clock.forward(days=10)
    await enroll(server, key, "etl-2")
    await enroll(server, other, "etl-3")

    found = await rehearse(server, days=5, max_uses=1)

    assert found["attempts"] == 1
    assert listed(found) == [("etl-2", 1, "admitted", "refused", ["enrollment_key_used_up"])]
    assert (await rehearse(server, days=11, max_uses=2))["refused"] == 0


async def test_every_generation_of_a_rotated_key_is_replayed(server):
    """Each generation has its own creation time and its own uses."""
    old = await issue(server, expires_in_s=int(timedelta(days=30).total_seconds()))
    await enroll(server, old, "etl-1")
    server.clock.forward(days=3)
    rotated = await server.http.post(f"{KEYS}/etl-hosts/rotate", json={}, headers=await server.sign_in())
    await enroll(server, old, "etl-2")
    await enroll(server, rotated.json()["key"], "etl-3")

    found = await rehearse(server, expires_in_s=86_400, max_uses=1)

    assert listed(found) == [("etl-2", 1, "refused", "refused", ["enrollment_key_expired"])]
    assert (found["attempts"], found["admitted"]) == (3, 2)


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ({"days": 0}, "days"),
        ({"worker_name": ""}, "worker_name"),
        ({"networks": ["10.4.7.9/16"]}, "networks"),
        ({"max_uses": 0}, "max_uses"),
        ({"approve_name": "etl-*"}, "approve_name"),
        ({"mode": "never"}, "mode"),
        ({"ephemeral": True}, "ephemeral"),
    ],
)
async def test_an_invalid_rule_is_rejected(server, rules, field):
    """A mistyped rule would otherwise rehearse another one."""
    await issue(server)

    assert field in str(await rehearse(server, status=422, **rules))


async def test_a_key_that_does_not_exist_cannot_be_rehearsed(opened):
    """Nor can `startup` if the settings have no enrollment key."""
    async with opened(LYFTDATA_AUTO_ENROLLMENT_KEY="") as server:
        for name in ("startup", "no-such-key"):
            await rehearse(server, name, status=404)


async def test_the_answer_says_since_when_attempts_are_complete(server, monkeypatch):
    """Refusals may have been evicted by a flood, and attempts beyond a limit are not read: there is no silent gap."""
    key = await issue(server, worker_name="etl-*")
    assert (found := await rehearse(server))["complete_since"] == found["since"]
    monkeypatch.setattr(refusals, "MAX_ATTEMPTS", 1)
    for number in range(2):
        server.clock.forward(minutes=1)
        await enroll(server, key, f"press-{number}")
        await server.services.refusals.flush()
    found = await rehearse(server)
    assert found["attempts"] == 1
    assert found["complete_since"] == found["items"][0]["last_at"]

    monkeypatch.setattr(enrollment_rehearsals, "_MAX_READ", 2)
    for number in range(3):
        server.clock.forward(minutes=1)
        await enroll(server, key, f"etl-{number}")
    found = await rehearse(server, worker_name="etl-2")
    assert found["complete_since"] == found["items"][0]["last_at"]
    assert (found["admitted"], found["newly_refused"]) == (1, 1)


async def test_a_rehearsal_blocks_nothing_and_is_charged(server, monkeypatch):
    """Replaying tens of thousands of attempts takes seconds: it runs outside the event loop, and is charged to the operator."""
    threads, charged = [], []
    replay, charge = enrollment_rehearsals._replay, server.services.budget.charge_check

    def noted(*arguments):
        threads.append(threading.current_thread())
        return replay(*arguments)

    def note_charge(operator, events):
        charged.append((operator, events))
        charge(operator, events)

    monkeypatch.setattr(enrollment_rehearsals, "_replay", noted)
    monkeypatch.setattr(server.services.budget, "charge_check", note_charge)
    key = await issue(server)
    for name in ("etl-1", "etl-2"):
        await enroll(server, key, name)

    await rehearse(server)

    assert threads
    assert threading.current_thread() not in threads
    assert charged == [("admin", 2)]


def test_the_networks_of_a_key_are_parsed_once():
    """Parsing one takes many times as long as comparing it, and a rehearsal compares each attempt with each network."""
    record = EnrollmentKeyRecord(
        public_id="a",
        name="etl-hosts",
        public_key="",
        digest=b"",
        created_at=NOON,
        created_by="",
        networks=["10.4.0.0/16", "2001:db8:7::/48"],
    )
    before = enrollment_rules._network.cache_info().misses
    for host in range(100):
        assert broken_rules(record, address=f"192.0.2.{host}", worker_name="etl-1")
    assert enrollment_rules._network.cache_info().misses - before <= 2
