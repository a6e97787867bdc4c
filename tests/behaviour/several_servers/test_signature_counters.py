"""Several Servers share the signature counter of an identity."""

import asyncio
import secrets

import pytest
from tests.identity_directories import IdentityDirectory


@pytest.fixture
async def host(two, tmp_path):
    """Return the directory of an enrolled Worker that has signed at the first Server and is known to both."""
    first, second = two
    directory = await IdentityDirectory.enroll(first, tmp_path / "host")
    await accepted(directory, first)
    async with asyncio.timeout(180):
        while second.services.directory.find_worker(directory.worker_id) is None:
            await asyncio.sleep(0.01)
    return directory


async def accepted(directory, server):
    """Ask for a token, which must be issued."""
    answer = await directory.token(server)
    assert answer.status_code == 200, answer.text


async def test_a_copy_is_detected_at_whichever_server_it_signs(two, host, tmp_path):
    """At once: no Server depends on a notification of the other."""
    first, second = two
    thief = host.copy(tmp_path / "thief")
    await accepted(host, first)

    answer = await thief.token(second)

    assert answer.json()["code"] == "identity_cloned"
    assert await second.cause(answer) == "identity_cloned"


async def test_a_host_behind_a_load_balancer_is_not_taken_for_a_copy(two, host):
    """Its requests go to both Servers in turn, and several at once."""
    for _ in range(3):
        for server in two:
            await accepted(host, server)
    requests = [(server, host.sign(server)) for _ in range(10) for server in two]

    answers = await asyncio.gather(
        *(server.token_by_assertion(assertion) for server, assertion in reversed(requests))
    )

    assert [answer.status_code for answer in answers] == [200] * 20


async def test_an_assertion_sent_to_both_servers_at_once_is_accepted_once(two, host):
    """The other Server refuses a replay, which does not make the host a copy."""
    assertion = host.sign(two[0])

    answers = await asyncio.gather(*(server.token_by_assertion(assertion) for server in two))

    assert sorted(answer.status_code for answer in answers) == [200, 401]
    await accepted(host, two[1])


async def test_a_decision_on_a_copy_at_one_server_counts_at_the_other(two, host, tmp_path):
    """The copy that may continue is accepted at both Servers, and the other directory at neither."""
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
    """The decision is made at one Server; both tell the copy to enroll as new."""
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


async def test_an_assertion_without_its_number_is_refused_at_both_servers(two, host):
    """A thief cannot leave the number out, even at a Server that has never counted a signature of the identity."""
    for server in two:
        answer = await server.token_by_assertion(
            server.assertion(host.key, host.worker_id, jti=secrets.token_hex(8))
        )

        assert answer.json()["code"] == "counter_missing"
