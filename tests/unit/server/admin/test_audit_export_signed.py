"""The documented script verifies a signed export with the published key, and detects every change."""

import json

import pytest
from tests.builders import event

from lyftdata.server.admin.audit_checkpoints import Occasion


@pytest.fixture
async def exported(server, admin, unhurried):
    """Return a signed export of a log with several events, and the published key."""
    for n in range(4):
        details = {"n": str(n), "text": "line\nbreak\u2028 — ☃"}
        await server.services.store.write(lambda tx, d=details: tx.audit(event(details=d)))
    export = await server.http.get("/api/audit/export?format=signed", headers=admin)
    key = (await server.http.get("/.well-known/lyftdata-audit-key")).text
    return export.content, key


async def test_a_third_party_can_verify_an_export(exported, third_party):
    """With `cryptography` and the key alone: lyftdata cannot be imported."""
    export, key = exported
    done = third_party(export, key)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Verified: 7 events of lyft.example/audit, 0 of them removed before.\n"
    assert [json.loads(line)["number"] for line in export.splitlines()[1:]] == [1, 2, 3, 4, 5, 6, 7]
    assert export.endswith(b"\n")


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines[:1], *lines[2:]],
        lambda lines: [*lines[:3], *lines[4:]],
        lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*lines[:-1], lines[-1].replace(b"operator:admin", b"operator:eve")],
        lambda lines: [lines[0].replace(b"\\n7\\n", b"\\n6\\n"), *lines[1:-1]],
        lambda lines: [lines[0].replace(b"lyft.example", b"evil.example"), *lines[1:]],
        lambda lines: lines[:1],
    ],
    ids=[
        "the end cut off",
        "the first removed",
        "one removed",
        "two exchanged",
        "one repeated",
        "one edited",
        "another size",
        "another log",
        "no events",
    ],
)
async def test_a_changed_export_is_not_verified(exported, third_party, change):
    """Whatever was removed, moved, added or edited, in the events or in the checkpoint."""
    export, key = exported
    done = third_party(b"\n".join(change(export.splitlines())) + b"\n", key)

    assert done.returncode == 1
    assert "Verified" not in done.stdout


async def test_two_exports_cannot_be_spliced(server, admin, exported, third_party, unhurried):
    """The checkpoint of one with the events of another does not verify."""
    export, key = exported
    await server.services.store.write(lambda tx: tx.audit(event()))
    later = (await server.http.get("/api/audit/export?format=signed", headers=admin)).content
    heads, bodies = zip(*(one.split(b"\n", 1) for one in (export, later)), strict=True)

    assert third_party(later, key).returncode == 0
    for spliced in (heads[0] + b"\n" + bodies[1], heads[1] + b"\n" + bodies[0]):
        assert third_party(spliced, key).returncode == 1


async def test_another_key_does_not_verify_an_export(exported, third_party):
    """The key of another Server has not signed it."""
    from lyftdata.core.audit_checkpoints import CheckpointKey

    export, _ = exported
    done = third_party(export, CheckpointKey(b"o" * 32, issuer="https://lyft.example").published)

    assert done.returncode == 1
    assert "InvalidSignature" in done.stderr


@pytest.mark.parametrize("number", range(1, 8))
async def test_a_third_party_can_verify_the_proof_of_each_event(
    server, admin, exported, third_party, number, unhurried
):
    """First, last or in between; the proof contains this event, and nothing of the others."""
    _, key = exported
    proof = await server.http.get(f"/api/audit/{number}/proof", headers=admin)
    done = third_party(proof.content, key, "verify_proof.py")

    assert (done.returncode, done.stderr) == (0, "")
    head, _, shown = done.stdout.partition(": ")
    assert head == "Verified, in the log lyft.example/audit"
    assert json.loads(shown)["number"] == number


async def test_the_proof_of_an_event_uses_the_first_checkpoint_after_it(server, admin, unhurried):
    """So it stays the same when the log grows."""
    store, checkpoints = server.services.store, server.services.checkpoints
    first = await checkpoints.sign(Occasion.HOUR)
    before = (await server.http.get(f"/api/audit/{first.size}/proof", headers=admin)).text
    await store.write(lambda tx: tx.audit(event()))
    await checkpoints.sign(Occasion.HOUR)

    assert (await server.http.get(f"/api/audit/{first.size}/proof", headers=admin)).text == before
    assert before.endswith(first.note)


async def test_there_is_no_proof_of_an_event_that_is_not_in_the_log(
    server, admin, third_party, exported, unhurried
):
    """An unknown number is answered 404, an invalid one 422; a proof with another event in it does not verify."""
    import base64

    _, key = exported
    missing = await server.http.get("/api/audit/99/proof", headers=admin)
    assert (missing.status_code, missing.json()["code"]) == (404, "audit_event_not_found")
    assert (await server.http.get("/api/audit/0/proof", headers=admin)).status_code == 422
    proof = (await server.http.get("/api/audit/4/proof", headers=admin)).text
    extra = proof.split("\n")[1].split()[1]
    forged = base64.b64encode(base64.b64decode(extra).replace(b"admin", b"eve!!")).decode()
    for changed in (proof.replace(extra, forged), proof.replace("index 3", "index 2")):
        done = third_party(changed.encode(), key, "verify_proof.py")
        assert done.returncode == 1
        assert "NOT VERIFIED" in done.stderr


async def test_export_proof_and_checkpoint_need_a_sign_in(server, exported):
    """An unknown caller gets none of them."""
    for path in ("/api/audit/export?format=signed", "/api/audit/1/proof", "/api/audit/checkpoint"):
        assert (await server.http.get(path)).status_code == 401


async def test_there_is_no_proof_of_an_event_that_was_changed(server, admin, exported, unhurried):
    """The database contains another event than the one that was signed."""
    from tests.store.conftest import run_directly

    await server.services.checkpoints.sign(Occasion.HOUR)
    staging = server.services.settings.staging_dir
    run_directly(
        f"sqlite:///{staging / 'lyftdata.db'}",
        "UPDATE audit_events SET actor = 'operator:eve' WHERE number = 4",
    )
    answer = await server.http.get("/api/audit/4/proof", headers=admin)

    assert (answer.status_code, answer.json()["code"]) == (409, "audit_log_changed")
