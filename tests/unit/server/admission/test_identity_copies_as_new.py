"""A refused copy may enroll as a new Worker if an operator or the policy says so; the copied identity alone gets it nothing."""

import pytest
from tests.identity_directories import IdentityDirectory

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.records import CopyDecision
from lyftdata.core.refusals import HostPlace, IdentityClonedError
from lyftdata.core.signature_counter import SignatureNumber
from lyftdata.server.admission.identity_copies import IdentityCopies


async def copied(server, tmp_path):
    """Return the directory of a Worker, and a copy that is used after it."""
    host = await IdentityDirectory.enroll(server, tmp_path / "host")
    assert (await host.token(server)).status_code == 200
    copy = host.copy(tmp_path / "copy")
    assert (await host.token(server)).status_code == 200
    return host, copy


async def decide(server, host, reference, decision):
    """Decide about a copy; return the status of the answer."""
    answer = await server.http.post(
        f"/api/workers/{host.worker_id}/copies/{reference}",
        json={"decision": decision},
        headers=await server.sign_in(),
    )
    return answer.status_code


async def code_of(directory, server, **changes):
    """Request a token; return the code of the refusal, or ""."""
    answer = await directory.token(server, **changes)
    return answer.json().get("code", "")


async def test_an_operator_can_let_a_copy_enroll_as_new(server, tmp_path):
    """The copy learns it with its next request; it gets no token, the original does, and the decision is audited."""
    host, copy = await copied(server, tmp_path)
    reference = (await copy.token(server)).json()["reference"]

    assert await decide(server, host, reference, "as_new") == 200

    answer = await copy.token(server)
    assert (answer.status_code, answer.json()["code"], answer.json()["final"]) == (
        400,
        "enroll_as_new",
        False,
    )
    assert "LYFTDATA_AUTO_ENROLLMENT_KEY" in answer.json()["remedy"]
    assert await server.cause(answer) == "enroll_as_new"
    assert (await host.token(server)).status_code == 200
    [event] = (
        await server.services.audit_queries.list_page(limit=1, subject=f"worker:{host.worker_id}")
    ).items
    assert (event.action, event.details["decision"]) == ("worker.copy_decided", "as_new")


async def test_a_second_decision_replaces_the_first(server, tmp_path):
    """Until the copy asks again: a decision made by mistake can be corrected in both directions."""
    host, copy = await copied(server, tmp_path)
    reference = (await copy.token(server)).json()["reference"]
    await decide(server, host, reference, "continue")
    await decide(server, host, reference, "as_new")
    assert await code_of(copy, server) == "enroll_as_new"

    await decide(server, host, reference, "continue")
    assert await code_of(copy, server) == ""


@pytest.mark.parametrize("policy", ["supersede-offline", "reject", "allow"])
async def test_a_copy_that_enrolls_as_new_never_takes_the_name_of_the_original(opened, policy):
    """Whatever the name policy is, and even if the holder is offline."""
    async with opened(LYFTDATA_WORKER_NAME_POLICY=policy) as server:
        worker_id, _ = await server.enrolled()
        server.clock.forward(hours=1)
        answer = await server.register(generate_identity_key(), "press", copy_of=worker_id)

        assert (answer.status_code, answer.json()["code"]) == (409, "name_in_use")
        assert server.services.directory.find_worker(worker_id).superseded_by is None
        assert (
            await server.register(generate_identity_key(), "press-02", copy_of=worker_id)
        ).status_code == 201


@pytest.mark.parametrize("copy_of", ["", "..", 5, "w" * 65, ["w-1"]])
async def test_an_invalid_worker_id_of_the_original_is_rejected(server, copy_of):
    """It says of which Worker the new client is a copy; an empty one counts as omitted."""
    answer = await server.register(generate_identity_key(), "press", copy_of=copy_of)

    assert answer.status_code == (201 if copy_of == "" else 400)


async def connect(server, directory, token, hostname, *, http=None):
    """Connect a Worker from a host."""
    answer = await (http or server.http).post(
        "/api/worker/session",
        json={"boot_id": "boot-0001", "host": {"hostname": hostname}},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 200, answer.text


async def sign_off(server, token, *, http=None):
    """End the Worker's session."""
    answer = await (http or server.http).post(
        "/api/worker/session",
        json={"boot_id": "boot-0001", "sign_off": True},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("connected", "refused_host", "refused_address", "code"),
    [
        ("press-host", "clone-host", "127.0.0.1", "enroll_as_new"),
        ("press-host", "press-host", "192.0.2.9", "enroll_as_new"),
        ("press-host", "press-host", "127.0.0.1", "identity_cloned"),
        (None, "clone-host", "192.0.2.9", "identity_cloned"),
    ],
)
async def test_the_policy_applies_if_the_other_directory_is_connected_from_elsewhere(
    opened, tmp_path, connected, refused_host, refused_address, code
):
    """That is, from another host or network. Otherwise the refused one may be the original, and an operator decides."""
    async with opened(LYFTDATA_IDENTITY_COPY_POLICY="as-new") as server:
        host = await IdentityDirectory.enroll(server, tmp_path / "host")
        await host.token(server, counter=SignatureNumber(1, 1, host="press-host"))
        token = (await host.token(server, counter=SignatureNumber(2, 2, host="press-host"))).json()
        if connected is not None:
            await connect(server, host, token["access_token"], connected)

        async with server.from_address(refused_address) as http:
            answer = await host.token(server, http=http, counter=SignatureNumber(1, 3, host=refused_host))

        assert answer.json()["code"] == code
        headers = await server.sign_in()
        shown = await server.http.get(f"/api/workers/{host.worker_id}/copies", headers=headers)
        [copy] = shown.json()["items"]
        by_policy = ("as_new", "server:policy") if code == "enroll_as_new" else (None, None)
        assert (copy["decision"], copy["decided_by"]) == by_policy
        events = (await server.services.audit_queries.list_page(limit=1, action="worker.copy_decided")).items
        assert [event.details["by"] for event in events] == (["policy"] if code == "enroll_as_new" else [])


async def test_a_copy_without_a_reference_is_audited_once(opened, tmp_path):
    """A client that never sends the reference of its refusal is let enroll by the policy each time, without filling the audit log."""
    async with opened(LYFTDATA_IDENTITY_COPY_POLICY="as-new") as server:
        host = await IdentityDirectory.enroll(server, tmp_path / "host")
        await host.token(server, counter=SignatureNumber(1, 1, host="press-host"))
        token = (await host.token(server, counter=SignatureNumber(2, 2, host="press-host"))).json()
        await connect(server, host, token["access_token"], "press-host")

        for at_ms in (3, 4, 5):
            answer = await host.token(server, counter=SignatureNumber(1, at_ms, host="clone-host"))
            assert answer.json()["code"] == "enroll_as_new"

        page = await server.services.audit_queries.list_page(limit=5, action="worker.copy_decided")
        assert len(page.items) == 1


@pytest.mark.parametrize("first", [None, CopyDecision.CONTINUE])
async def test_the_policy_does_not_overwrite_an_operators_concurrent_decision(
    opened, tmp_path, monkeypatch, first
):
    """Neither the policy nor the expiry of an earlier decision changes what an operator has decided since the lookup."""
    async with opened(LYFTDATA_IDENTITY_COPY_POLICY="as-new") as server:
        host = await IdentityDirectory.enroll(server, tmp_path / "host")
        await host.token(server, counter=SignatureNumber(1, 1, host="press-host"))
        token = (await host.token(server, counter=SignatureNumber(2, 2, host="press-host"))).json()
        refused = await host.token(server, counter=SignatureNumber(1, 3, host="clone-host"))
        reference = refused.json()["reference"]
        await connect(server, host, token["access_token"], "press-host")
        if first is not None:
            await decide(server, host, reference, first.value)
            server.clock.forward(days=2)
        find = IdentityCopies._find

        async def find_before_an_operator_decides(copies, worker_id, wanted):
            found = await find(copies, worker_id, wanted)
            if not decided:
                decided.append(await decide(server, host, reference, "continue"))
            return found

        decided: list[int] = []
        monkeypatch.setattr(IdentityCopies, "_find", find_before_an_operator_decides)
        cloned = IdentityClonedError(
            "", claimed_worker=host.worker_id, refused_as=reference,
            accepted=HostPlace(host="press-host", address="127.0.0.1"), refused=HostPlace(host="clone-host", address="127.0.0.1"),
        )  # fmt: skip
        await server.services.identity_copies.record(cloned, reference="OTHER000")

        headers = await server.sign_in()
        shown = await server.http.get(f"/api/workers/{host.worker_id}/copies", headers=headers)
        assert decided == [200]
        assert [copy["decision"] for copy in shown.json()["items"]] == ["continue"]


@pytest.mark.parametrize("sessions", [1, 25])
@pytest.mark.parametrize("thief", ["thief", "press-host"])
async def test_the_policy_never_makes_the_original_enroll_as_new(opened, tmp_path, thief, sessions):
    """A thief that connected while the Worker was offline, even many times, looks like the Worker: an operator decides."""
    async with opened(LYFTDATA_IDENTITY_COPY_POLICY="as-new") as server:
        host = await IdentityDirectory.enroll(server, tmp_path / "host")
        token = (await host.token(server, counter=SignatureNumber(1, 1, host="press-host"))).json()
        await connect(server, host, token["access_token"], "press-host")
        await sign_off(server, token["access_token"])
        async with server.from_address("192.0.2.9") as http:
            stolen = (await host.token(server, http=http, counter=SignatureNumber(2, 2, host=thief))).json()
            for number in range(sessions):
                if number:
                    await sign_off(server, stolen["access_token"], http=http)
                server.clock.forward(seconds=1)
                await connect(server, host, stolen["access_token"], thief, http=http)
            await server.services.session_log.flush()

        answer = await host.token(server, counter=SignatureNumber(2, 3, host="press-host"))
        assert answer.json()["code"] == "identity_cloned"


@pytest.mark.parametrize("starts", [1, 25])
async def test_the_policy_applies_to_copies_of_a_worker_that_has_moved(opened, tmp_path, starts):
    """An image is enrolled where it is built, and copies of it start elsewhere: the first continues as the Worker, the others enroll as new ones."""
    async with opened(LYFTDATA_IDENTITY_COPY_POLICY="as-new") as server:
        host = await IdentityDirectory.enroll(server, tmp_path / "host")
        for number, name in enumerate(["builder"] * starts + ["copy-1"], start=1):
            signed = SignatureNumber(number, number, host=name)
            token = (await host.token(server, counter=signed)).json()["access_token"]
            await connect(server, host, token, name)
            if name == "builder":
                await sign_off(server, token)
                server.clock.forward(hours=12)
        await server.services.session_log.flush()

        answer = await host.token(server, counter=SignatureNumber(starts, 100, host="copy-2"))
        assert answer.json()["code"] == "enroll_as_new"
