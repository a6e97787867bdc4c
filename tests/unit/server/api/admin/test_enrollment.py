"""The enrollment key from the settings, in the admin API."""

from tests.builders import FakeClock


async def test_the_last_use_of_an_enrollment_key_survives_a_restart(opened):
    """It is shown at once. A previous key also counts as used if the proof with it was refused."""
    previous = "Qm4zTn8wXe1sBv6kYr3jDh7gLc9pFa2U"
    both = {"LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS": previous}

    async def times(server):
        answer = await server.http.get("/api/enrollment", headers=await server.sign_in())
        return {key["role"]: key["last_used_at"] for key in answer.json()["keys"]}

    clock = FakeClock()
    async with opened(clock, **both) as server:
        assert await times(server) == {"current": None, "previous": None}
        worker_id, key = await server.enrolled("press-01")
        clock.forward(hours=1)
        proof = server.proof(key, "press-02", secret=previous)
        refused = await server.register(key, "press-03", credential=proof)
        assert refused.status_code == 401, worker_id
        expected = {"current": "2026-03-01T12:00:00Z", "previous": "2026-03-01T13:00:00Z"}
        assert await times(server) == expected
    async with opened(clock, **both) as server:
        assert await times(server) == expected


async def test_operators_are_warned_about_a_weak_enrollment_key(opened):
    """The Server starts with the example from the documentation, but warns, and never shows the key."""
    example = "c3s3R0s1T5QAQr7lz1KsT00pKh3adnma"
    async with opened(LYFTDATA_AUTO_ENROLLMENT_KEY=example) as server:
        admin = await server.sign_in()
        status = (await server.http.get("/api/enrollment", headers=admin)).text
        assert "the example in the documentation" in status
        assert (
            "the example in the documentation" in (await server.http.get("/api/server", headers=admin)).text
        )
        assert example not in status
