"""Rotation of the keys that sign worker tokens."""


async def test_signing_keys_rotate_with_overlap(opened):
    """A month on the next key is published before it signs; tokens of the last one are good until they end."""
    async with opened() as server:
        worker_id, key = await server.enrolled()
        services = server.services

        async def token():
            return (await server.token_by_assertion(server.assertion(key, worker_id))).json()["access_token"]

        async def kids():
            await services.signing_keys.refresh()
            return [jwk["kid"] for jwk in (await server.http.get("/.well-known/jwks.json")).json()["keys"]]

        (first,) = await kids()
        server.clock.forward(days=29)
        assert len(await kids()) == 2
        assert services.signing_keys.signer.kid == first
        server.clock.forward(hours=24)
        last = await token()
        await kids()
        assert services.signing_keys.signer.kid != first
        assert (await server.verify(last)).status_code == 204
        server.clock.forward(days=2)
        assert first not in await kids()
