"""Several Servers count the signatures of one identity together."""

import asyncio
import secrets

import pytest
from tests.identity_directories import IdentityDirectory


@pytest.fixture
async def host(two, tmp_path):
    """Return the directory of an enrolled Worker that has signed at the first Server, and is known to both."""
    first, second = two
    directory = await IdentityDirectory.enroll(first, tmp_path / "host")
    await accepted(directory, first)
    async with asyncio.timeout(180):
        while second.services.directory.find_worker(directory.worker_id) is None:
            await asyncio.sleep(0.01)
    return directory


async def accepted(directory, server):
    """Ask for a token, which must be given."""
    answer = await directory.token(server)
    assert answer.status_code == 200, answer.text


async def test_a_copy_is_found_at_whichever_server_it_signs(two, host, tmp_path):
    """At once: no Server waits to be told by the other."""
    first, second = two
    thief = host.copy(tmp_path / "thief")
    await accepted(host, first)

    answer = await thief.token(second)

    assert answer.json()["code"] == "identity_cloned"
    assert await second.cause(answer) == "identity_cloned"


async def test_a_load_balancer_makes_no_copy_of_a_host(two, host):
    """Its requests go to one Server and the other in turn, and several at once."""
    for _ in range(3):
        for server in two:
            await accepted(host, server)
    requests = [(server, host.sign(server)) for _ in range(10) for server in two]

    answers = await asyncio.gather(
        *(server.token_by_assertion(assertion) for server, assertion in reversed(requests))
    )

    assert [answer.status_code for answer in answers] == [200] * 20


async def test_of_an_assertion_that_is_sent_to_both_at_once_one_is_spent(two, host):
    """It is replayed at the other, which is not a copy."""
    assertion = host.sign(two[0])

    answers = await asyncio.gather(*(server.token_by_assertion(assertion) for server in two))

    assert sorted(answer.status_code for answer in answers) == [200, 401]
    await accepted(host, two[1])


async def test_a_decision_at_one_server_counts_at_the_other(two, host, tmp_path):
    """The copy that was let on is accepted wherever it asks, and the other directory nowhere."""
    first, second = two
    restored = host.copy(tmp_path / "restored")
    await accepted(host, first)
    reference = (await restored.token(second)).json()["reference"]

    decided = await first.http.post(
        f"/api/workers/{host.worker_id}/copies/{reference}",
        json={"decision": "continue"},
        headers=await first.sign_in(),
    )

    assert decided.status_code == 200, decided.text
    await accepted(restored, second)
    await accepted(restored, first)
    assert (await host.token(first)).json()["code"] == "identity_cloned"


async def test_a_copy_enrolls_as_new_wherever_it_asks(two, host, tmp_path):
    """Decided at one Server, read at the other."""
    first, second = two
    clone = host.copy(tmp_path / "clone")
    await accepted(host, first)
    reference = (await clone.token(second)).json()["reference"]

    decided = await first.http.post(
        f"/api/workers/{host.worker_id}/copies/{reference}",
        json={"decision": "as_new"},
        headers=await first.sign_in(),
    )

    assert decided.status_code == 200, decided.text
    assert [(await clone.token(server)).json()["code"] for server in (second, first)] == ["enroll_as_new"] * 2
    await accepted(host, second)


async def test_a_thief_that_leaves_its_number_out_is_refused_at_both(two, host):
    """The second Server has never seen the identity count."""
    for server in two:
        answer = await server.token_by_assertion(
            server.assertion(host.key, host.worker_id, jti=secrets.token_hex(8))
        )

        assert answer.json()["code"] == "counter_missing"
