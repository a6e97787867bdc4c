"""Which Workers could connect at an earlier time, and with what, even if everything has changed since."""

import pytest
from tests.builders import NOON, FakeClock
from tests.store.conftest import run_directly

from lyftdata.core.identity_keys import generate_identity_key


@pytest.fixture
async def history(opened, unhurried):
    """Run a Server through a day with one change each hour; return it, the operator's headers, and the ID of the enrolled Worker."""
    async with opened(FakeClock(NOON)) as server:
        admin = await server.sign_in()

        async def post(path, body=None):
            # Irreversible actions need a recent sign-in.
            admin.update(await server.sign_in())
            answer = await server.http.post(f"/api{path}", json=body or {}, headers=admin)
            assert answer.status_code < 300, answer.text
            server.clock.forward(hours=1)

        async def patch(worker_id, **body):
            answer = await server.http.patch(f"/api/workers/{worker_id}", json=body, headers=admin)
            assert answer.status_code < 300, answer.text
            server.clock.forward(hours=1)

        await post("/workers", {"name": "press", "id": "w-1"})  # 12
        await post("/api-keys", {"name": "first-key", "worker_ids": ["w-1"]})  # 13
        await post("/workers", {"name": "saw", "id": "w-2"})  # 14
        await post("/api-keys/first-key/allow", {"worker_ids": ["w-2"]})  # 15
        await patch("w-1", enabled=False)  # 16
        await patch("w-1", enabled=True, name="new press")  # 17
        await post("/api-keys/first-key/revoke")  # 18
        await post("/api-keys", {"name": "for-all"})  # 19
        enrolled, _ = await server.enrolled("scaler")
        server.clock.forward(hours=1)  # 20
        assert (
            await server.http.delete("/api/workers/w-2", headers=await server.sign_in())
        ).status_code == 204
        server.clock.forward(hours=1)  # 21
        await patch(enrolled, enabled=False)  # 22
        yield server, admin, enrolled


async def access_at(history, hour, **query):
    """Return the access of each Worker at half past an hour of that day."""
    server, admin, _ = history
    asked = {"at": f"2026-03-01T{hour}:30:00Z"} | query
    answer = await server.http.get("/api/audit/access", params=asked, headers=admin)
    assert answer.status_code == 200, answer.text
    return {
        worker["worker_id"]: (worker["name"], worker["access"], [way.split(" ")[0] for way in worker["by"]])
        for worker in answer.json()["workers"]
    }


async def test_access_is_reconstructed_for_each_hour(history):
    """Entries, names, disabled Workers, keys and their Workers, also of a Worker that was deleted since."""
    _, _, enrolled = history

    assert await access_at(history, 11) == {}
    assert await access_at(history, 12) == {"w-1": ("press", "no_api_key", [])}
    assert await access_at(history, 13) == {"w-1": ("press", "yes", ["first-key"])}
    assert (await access_at(history, 14))["w-2"] == ("saw", "no_api_key", [])
    assert (await access_at(history, 15))["w-2"] == ("saw", "yes", ["first-key"])
    assert (await access_at(history, 16))["w-1"] == ("press", "disabled", [])
    assert (await access_at(history, 17))["w-1"] == ("new press", "yes", ["first-key"])
    assert (await access_at(history, 18))["w-1"] == ("new press", "no_api_key", [])
    assert (await access_at(history, 19))["w-2"] == ("saw", "yes", ["for-all"])
    at_20 = await access_at(history, 20)
    assert at_20[enrolled][:2] == ("scaler", "yes")
    assert len(at_20[enrolled][2]) == 1
    assert "w-2" in at_20
    assert "w-2" not in await access_at(history, 21)
    assert (await access_at(history, 22))[enrolled][:2] == ("scaler", "disabled")


@pytest.mark.parametrize("action", ["disable", "delete"])
async def test_workers_cut_off_in_an_incident_had_access_before(history, action):
    """One event cuts off all of them, including those deleted; one that was disabled before had no access before."""
    server, _, enrolled = history
    body = {
        "subject": "worker:w-1",
        "workers": ["w-1", enrolled],
        "action": action,
        "revoke_key": False,
    }
    at_19, at_22 = await access_at(history, 19), await access_at(history, 22)
    answer = await server.http.post("/api/incident/cut-offs", json=body, headers=await server.sign_in())
    assert answer.status_code == 201, answer.text

    assert (await access_at(history, 19))["w-1"][1:] == at_19["w-1"][1:] == ("yes", ["for-all"])
    now = await access_at(history, 22)
    assert {worker_id: now[worker_id][1] for worker_id in now} == {"w-1": "yes", enrolled: "disabled"}
    assert now[enrolled][0] == at_22[enrolled][0] == "scaler"
    assert now["w-1"][0]


async def test_access_can_be_queried_for_one_worker(history):
    """Others are left out; a Worker that never existed is not in the answer."""
    assert set(await access_at(history, 20, worker_id="w-1")) == {"w-1"}
    assert await access_at(history, 20, worker_id="w-9") == {}


async def test_a_time_without_an_answer_is_rejected(history):
    """A time in the future or without a zone, and one before the first event that was kept."""
    server, admin, _ = history

    async def refused(at):
        answer = await server.http.get("/api/audit/access", params={"at": at}, headers=admin)
        return answer.status_code, answer.json()["code"]

    assert await refused("2026-03-03T12:00:00Z") == (422, "invalid_input")
    assert (await refused("2026-03-01T12:00:00"))[0] == 422
    tampered = server.services.settings.staging_dir / "lyftdata.db"
    run_directly(
        f"sqlite:///{tampered}",
        "DELETE FROM audit_events WHERE number < 6",
        "UPDATE audit_events SET action = 'audit_log.pruned', details = '{\"through\": \"5\"}' WHERE number = 8",
    )
    assert await refused("2026-03-01T12:30:00Z") == (409, "audit_log_begins_later")


async def test_an_enrollment_key_counts_as_valid_until_it_is_used_up(opened, unhurried):
    """After its last use it could add no Worker, although it had neither expired nor been revoked."""
    async with opened(FakeClock(NOON)) as server:
        admin = await server.sign_in()
        rules = {"name": "one-host", "max_uses": 1}
        issued = await server.http.post("/api/enrollment/keys", json=rules, headers=admin)
        assert issued.status_code == 201, issued.text
        server.clock.forward(hours=1)
        key = generate_identity_key()
        proof = server.proof(key, "scaler", secret=issued.json()["key"])
        enrolled = await server.register(key, "scaler", credential=proof)
        assert enrolled.status_code == 201, enrolled.text
        server.clock.forward(hours=1)

        async def in_force(hour):
            asked = {"at": f"2026-03-01T{hour}:30:00Z"}
            answer = await server.http.get("/api/audit/access", params=asked, headers=admin)
            return answer.json()["enrollment_keys"]

        assert await in_force(12) == ["one-host"]
        assert await in_force(13) == []
