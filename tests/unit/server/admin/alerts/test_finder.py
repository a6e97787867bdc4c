"""What the overview shows as in need of an operator."""


async def concerns(server, admin):
    """Return what needs attention, as kind and subject."""
    answer = await server.http.get("/api/attention", headers=admin)
    return {(c["kind"], c["subject"]) for c in answer.json()["items"]}


async def test_a_quiet_server_needs_nothing(server, admin, press):
    """A Worker that connects as it should, and an unknown caller's single guess: nothing to do."""
    await server.token_by_key(*press)
    await server.token_by_key("press-01", "nonsense")
    assert await concerns(server, admin) == set()


async def test_a_published_secret_and_a_coming_signing_key_are_shown(opened):
    """What the log warned of at the start stays in sight; a key published ahead says when it will sign."""
    async with opened(LYFTDATA_AUTO_ENROLLMENT_KEY="c3s3R0s1T5QAQr7lz1KsT00pKh3adnma") as server:
        assert await concerns(server, await server.sign_in()) == {("setting", "")}
        server.clock.forward(days=40)
        await server.services.signing_keys.refresh()
        found = await concerns(server, await server.sign_in())
        assert ("signing_key", "") in found
