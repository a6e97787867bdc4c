"""What the overview shows as needing an operator."""


async def found_alerts(server, admin):
    """Return the kind and subject of each alert."""
    answer = await server.http.get("/api/attention", headers=admin)
    return {(c["kind"], c["subject"]) for c in answer.json()["items"]}


async def test_normal_operation_raises_no_alert(server, admin, press):
    """A Worker that gets its token, and a single wrong guess."""
    await server.token_by_key(*press)
    await server.token_by_key("press-01", "nonsense")
    assert await found_alerts(server, admin) == set()


async def test_a_published_secret_and_the_next_signing_key_raise_alerts(opened):
    """A warning logged at startup stays visible; a signing key published ahead is shown with the time from which it signs."""
    async with opened(LYFTDATA_AUTO_ENROLLMENT_KEY="c3s3R0s1T5QAQr7lz1KsT00pKh3adnma") as server:
        assert await found_alerts(server, await server.sign_in()) == {("setting", "")}
        server.clock.forward(days=40)
        await server.services.signing_keys.refresh()
        found = await found_alerts(server, await server.sign_in())
        assert ("signing_key", "") in found
