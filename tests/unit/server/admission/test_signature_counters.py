"""A copied identity is detected when it signs, with or without a session; nothing else is taken for a copy."""

import shutil

import msgspec
import pytest
from tests.deployment import ASSERTION_TYPE
from tests.identity_directories import IdentityDirectory

from lyftdata.core.signature_counter import SignatureNumber
from lyftdata.server.admission.signature_counters import SignatureCounters
from lyftdata.server.runtime.background import flush
from lyftdata.store.tables import signature_counters


@pytest.fixture
async def host(server, tmp_path):
    """Return the directory of an enrolled Worker that has signed before."""
    directory = await IdentityDirectory.enroll(server, tmp_path / "host")
    await accepted(directory, server)
    return directory


@pytest.fixture
def thief(host, tmp_path):
    """Return a copy of that directory."""
    return host.copy(tmp_path / "thief")


async def accepted(directory, server, **changes):
    """Request a token, which must be issued."""
    answer = await directory.token(server, **changes)
    assert answer.status_code == 200, answer.text


async def code(directory, server, **changes):
    """Request a token; return the code of the refusal as operators see it, or ""."""
    answer = await directory.token(server, **changes)
    return "" if answer.status_code == 200 else await server.cause(answer)


async def copies(server, worker_id):
    """Return the copies that operators see."""
    answer = await server.http.get(f"/api/workers/{worker_id}/copies", headers=await server.sign_in())
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def let_continue(server, worker_id, reference):
    """Let a copy continue as the Worker."""
    return await server.http.post(
        f"/api/workers/{worker_id}/copies/{reference}",
        json={"decision": "continue"},
        headers=await server.sign_in(),
    )


async def test_the_directory_that_lags_behind_is_refused_for_good(server, host, thief):
    """However often it asks, it never overtakes the other."""
    await accepted(host, server)

    assert await code(thief, server) == "identity_cloned"
    for _ in range(5):
        assert await code(thief, server) == "identity_cloned"
    await accepted(host, server)


async def test_the_owner_is_refused_if_the_thief_signs_first(server, host, thief):
    """So the owner learns of the theft. The Server cannot know which of the two is the original: an operator decides."""
    await accepted(thief, server)

    answer = await host.token(server)

    assert answer.status_code == 400
    assert answer.json()["code"] == "identity_cloned"
    assert answer.json()["final"] is False
    assert "restored from a snapshot" in answer.json()["error_description"]


async def test_a_thief_that_omits_the_number_is_refused(server, host):
    """An identity that has sent numbers must keep sending them."""
    answer = await host.token(server, counter=None)

    assert answer.json()["code"] == "counter_missing"
    assert await server.cause(answer) == "counter_missing"
    await accepted(host, server)


async def test_a_copy_of_only_the_key_is_detected(server, host, tmp_path):
    """With the standard agent: its counter starts from one."""
    await accepted(host, server)
    stolen = IdentityDirectory(tmp_path / "stolen", host.worker_id, host.key)

    assert await code(stolen, server) == "identity_cloned"


async def test_a_third_party_client_needs_no_counter(server, host):
    """It never sends a number."""
    worker_id, key = await server.enrolled("third-party")
    for _ in range(3):
        answer = await server.token_by_assertion(server.assertion(key, worker_id))
        assert answer.status_code == 200


async def test_lost_repeated_and_late_requests_are_not_copies(server, host):
    """A crash after a number was taken, a lost answer, a proxy that sends twice, and two processes that overtake each other."""
    host.counter.take_number()
    twice = host.sign(server)
    first, second = host.sign(server), host.sign(server)
    answers = [await server.token_by_assertion(one) for one in (twice, twice, second, first)]

    assert [answer.status_code for answer in answers] == [200, 401, 200, 200]
    assert await server.cause(answers[1]) == "assertion_replayed"
    await accepted(host, server)


async def test_a_changed_address_is_not_a_copy(server, host):
    """Where a request comes from proves nothing."""
    for address in ("192.0.2.1", "2001:db8::1", "198.51.100.9"):
        async with server.from_address(address) as http:
            await accepted(host, server, http=http)


async def test_a_copy_cannot_use_the_numbers_of_an_outage(server, host, thief):
    """The host took numbers that never arrived; the copy sends the same ones, with a later time."""
    *_, last = [host.counter.take_number() for _ in range(20)]
    await accepted(host, server)
    # Times of numbers taken in quick succession are ahead of the clock, so this one is set explicitly.
    later = msgspec.structs.replace(thief.counter.take_number(), at_ms=last.at_ms + 60_000)

    assert await code(thief, server, counter=later) == "identity_cloned"


async def test_counters_survive_a_restart(opened, tmp_path):
    """After a clean stop, however much time has passed."""
    async with opened() as server:
        host = await IdentityDirectory.enroll(server, tmp_path / "host")
        await accepted(host, server)
        thief = host.copy(tmp_path / "thief")
        await accepted(host, server)
        clock = server.clock
    clock.forward(days=3)
    async with opened(clock) as server:
        assert await code(thief, server) == "identity_cloned"
        await accepted(host, server)


async def test_an_older_database_refuses_no_worker_wrongly(opened, tmp_path):
    """As after a crash of the Server, which loses the last second, or after a backup was restored."""
    async with opened() as server:
        host = await IdentityDirectory.enroll(server, tmp_path / "host")
        await accepted(host, server)
    before = tmp_path / "before"
    shutil.copytree(tmp_path / "staging", before)
    async with opened(server.clock) as server:
        for _ in range(3):
            await accepted(host, server)
    shutil.rmtree(tmp_path / "staging")
    shutil.copytree(before, tmp_path / "staging")
    async with opened(server.clock) as server:
        await accepted(host, server)


async def test_a_token_request_does_not_write_its_counter(server, host, monkeypatch):
    """However many tokens a Worker gets, its counter is written once a second."""
    written = []
    await flush(server.services)
    write = server.services.store.write

    async def count(op):
        written.append(op)
        return await write(op)

    monkeypatch.setattr(server.services.store, "write", count)
    for _ in range(5):
        await accepted(host, server)
    assert written == []
    await server.services.admission.counters.flush()

    assert len(written) == 1


async def test_a_counter_that_could_not_be_written_is_retried(server, host, monkeypatch):
    """A full disk loses no counter."""
    counters = server.services.admission.counters
    with monkeypatch.context() as broken:

        async def fail(_op):
            raise OSError

        broken.setattr(server.services.store, "write", fail)
        with pytest.raises(OSError):
            await counters.flush()
    await counters.flush()

    stored = await server.services.store.read(lambda conn: list(signature_counters.all_counters(conn)))
    assert [record.number for record in stored] == [1]


async def test_operators_see_both_hosts(server, host, thief):
    """By name and address, in the list of copies and in the refusal of the copy."""
    async with server.from_address("192.0.2.1") as http:
        await accepted(host, server, http=http)
    counter = SignatureNumber(1, 1, host="thieves-laptop")
    async with server.from_address("203.0.113.9") as http:
        answer = await thief.token(server, http=http, counter=counter)
    [copy] = await copies(server, host.worker_id)

    assert (copy["host"], copy["address"]) == ("thieves-laptop", "203.0.113.9")
    assert copy["other_address"] == "192.0.2.1"
    assert copy["other_host"]
    assert copy["decision"] is None
    assert copy["reference"] == answer.json()["reference"]
    refusal = await server.http.get(f"/api/refusals/{copy['reference']}", headers=await server.sign_in())
    assert "thieves-laptop (203.0.113.9)" in refusal.json()["detail"]
    assert "(192.0.2.1)" in refusal.json()["detail"]


async def test_a_later_refusal_of_a_copy_names_its_first_reference(server, host, thief):
    """Each refusal has its own reference; decisions about the copy use that of the first."""
    await accepted(host, server)
    first = (await thief.token(server)).json()["reference"]

    later = (await thief.token(server)).json()["reference"]

    assert later != first
    await server.services.refusals.flush()
    refusal = await server.http.get(f"/api/refusals/{later}", headers=await server.sign_in())
    assert f"which is copy {first}." in refusal.json()["detail"]
    answer = await let_continue(server, host.worker_id, later)
    assert answer.status_code == 404
    assert "first refusal" in answer.json()["hint"]


async def test_a_restored_host_continues_if_an_operator_allows_it(server, host, thief):
    """It retries by itself, and continues counting after the numbers of the other state."""
    restored = thief
    await accepted(host, server)
    assert await code(restored, server) == "identity_cloned"
    [copy] = await copies(server, host.worker_id)

    answer = await let_continue(server, host.worker_id, copy["reference"])

    assert answer.status_code == 200
    assert answer.json()["decision"] == "continue"
    for _ in range(3):
        await accepted(restored, server)
    assert restored.counter.take_number().refused_as == ""
    [copy] = await copies(server, host.worker_id)
    assert copy["decided_by"] == "operator:admin"


async def test_a_decision_expires_after_a_day(opened, tmp_path):
    """Until then the copy may continue, also after a restart; later it is refused again, as undecided."""
    async with opened() as server:
        host = await IdentityDirectory.enroll(server, tmp_path / "host")
        late = host.copy(tmp_path / "late")
        await accepted(host, server)
        assert await code(late, server) == "identity_cloned"
        [copy] = await copies(server, host.worker_id)
        await let_continue(server, host.worker_id, copy["reference"])
    server.clock.forward(days=1)
    async with opened(server.clock) as server:
        assert await code(late, server) == "identity_cloned"
        [copy] = await copies(server, host.worker_id)
        assert (copy["decision"], copy["decided_by"]) == (None, None)

        await let_continue(server, host.worker_id, copy["reference"])
        server.clock.forward(hours=23, minutes=59)
        await accepted(late, server)


async def test_if_one_of_two_active_copies_may_continue_the_other_is_refused(server, host, thief):
    """Whatever the operator decides, at most one of them is the Worker."""
    await accepted(thief, server)
    assert await code(host, server) == "identity_cloned"
    [copy] = await copies(server, host.worker_id)
    # The thief continues while the operator decides.
    await accepted(thief, server)
    await let_continue(server, host.worker_id, copy["reference"])
    await accepted(thief, server)

    await accepted(host, server)
    assert await code(thief, server) == "identity_cloned"
    await accepted(host, server)


async def test_a_decision_survives_a_restart(opened, tmp_path):
    """It is in the database before the operator is answered."""
    async with opened() as server:
        host = await IdentityDirectory.enroll(server, tmp_path / "host")
        restored = host.copy(tmp_path / "restored")
        await accepted(host, server)
        assert await code(restored, server) == "identity_cloned"
        [copy] = await copies(server, host.worker_id)
        await let_continue(server, host.worker_id, copy["reference"])
    async with opened(server.clock) as server:
        await accepted(restored, server)


@pytest.mark.parametrize("kept", ["nothing", "a replaced key"])
async def test_a_decision_takes_effect_even_if_the_server_has_no_counter_of_the_key(server, host, kept):
    """As after a backup was restored, or the key was replaced; without a restart of the Server."""
    counters = server.services.admission.counters
    await flush(server.services)
    host.counter.note_refused("7K2M9QXR")
    if kept == "nothing":
        counters.forget(host.worker_id)
    else:
        record = counters._records[host.worker_id]
        counters._records[host.worker_id] = msgspec.structs.replace(record, thumbprint="of-the-key-before")
    assert await code(host, server) == "identity_cloned"
    [copy] = await copies(server, host.worker_id)

    await let_continue(server, host.worker_id, copy["reference"])

    for _ in range(2):
        await accepted(host, server)


async def test_a_made_up_reference_is_refused(server, host, thief):
    """Only one that an operator has decided about is accepted, and only for that Worker."""
    await accepted(host, server)
    forged = SignatureNumber(10**9, 10**15, refused_as="ABCDEFGH")

    assert await code(thief, server, counter=forged) == "identity_cloned"
    assert (await let_continue(server, host.worker_id, "NOTTHERE")).status_code == 404
    assert (await let_continue(server, "w-none", "ABCDEFGH")).status_code == 404
    assert await code(thief, server, counter=forged) == "identity_cloned"


async def test_copies_that_lose_their_reference_are_listed_once_per_host(server, host, thief):
    """Also if it crashed before saving the reference; with many hosts, only the last few are kept."""
    await accepted(host, server)
    for number in range(12):
        async with server.from_address(f"203.0.113.{number // 2}") as http:
            forged = SignatureNumber(1, 1, host=f"host-{number // 2}")
            await server.token_by_assertion(thief.sign(server, counter=forged), http=http)
        server.clock.forward(minutes=1)

    found = await copies(server, host.worker_id)

    assert [copy["host"] for copy in found] == [f"host-{number}" for number in (5, 4, 3, 2, 1, 0)]


async def test_a_worker_whose_key_was_replaced_counts_from_one(server, host):
    """The counter belongs to the key, not to the Worker."""
    counters: SignatureCounters = server.services.admission.counters
    await accepted(host, server)
    record = counters._records[host.worker_id]
    counters._records[host.worker_id] = type(record)(
        worker_id=host.worker_id, thumbprint="of-the-key-before", number=10**6, at_ms=10**15
    )

    await accepted(host, server)
    assert counters._records[host.worker_id].thumbprint == host.key.public.thumbprint


async def test_a_deleted_worker_leaves_no_counter(server, host):
    """Neither in memory nor in the database."""
    await flush(server.services)
    headers = await server.sign_in()
    assert (await server.http.delete(f"/api/workers/{host.worker_id}", headers=headers)).status_code == 204
    await flush(server.services)

    assert server.services.admission.counters._records == {}


@pytest.mark.parametrize("path", ["/oauth2/introspect", "/oauth2/revoke"])
async def test_introspection_and_revocation_count_signatures_too(server, host, thief, path):
    """They accept the same assertions, and refuse the same copies."""
    await accepted(host, server)
    form = {
        "token": "x",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": thief.sign(server),
    }
    answer = await server.http.post(path, data=form)

    assert answer.json()["code"] == "identity_cloned"
    [copy] = await copies(server, host.worker_id)
    assert copy["reference"] == answer.json()["reference"]
