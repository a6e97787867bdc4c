"""Each issued token is recorded wherever operators look for it, and a refused request nowhere."""

GRANT = {"grant_type": "client_credentials"}


async def recorded(server, admin, worker_id):
    """Return what is recorded of a Worker's tokens: the kinds of credentials, how many tokens, and when it was last accepted."""
    path = f"/api/workers/{worker_id}"
    origins = (await server.http.get(f"{path}/token-origins", headers=admin)).json()["items"]
    counts = (await server.http.get(f"{path}/token-counts", headers=admin)).json()
    accepted_at = server.services.traces.admitted_at(worker_id)
    return [each["credential_kind"] for each in origins], counts["total"], accepted_at


async def by_strategy(server, strategy):
    """Return how many tokens the metrics count for Workers of a strategy."""
    text = (await server.http.get("/metrics")).text
    (line,) = [
        line for line in text.splitlines() if line.startswith(f'lyftdata_tokens_total{{strategy="{strategy}"')
    ]
    return float(line.rpartition(" ")[2])


async def test_a_token_by_api_key_is_recorded(server, admin, press):
    """The last use of the key is recorded too."""
    before = await by_strategy(server, "api_key")

    answer = await server.http.post("/oauth2/token", data=GRANT, auth=press)

    assert answer.status_code == 200
    assert await recorded(server, admin, "press-01") == (["api_key"], 1, server.clock())
    assert await by_strategy(server, "api_key") == before + 1
    (key,) = (await server.http.get("/api/api-keys", headers=admin)).json()["items"]
    assert key["last_used_by"] == "press-01"


async def test_a_token_by_identity_key_is_recorded(server, admin):
    """The assertion is signed for this Server's issuer."""
    worker_id, key = await server.enrolled()

    answer = await server.token_by_assertion(server.assertion(key, worker_id))

    assert answer.status_code == 200
    assert await recorded(server, admin, worker_id) == (["identity_key"], 1, server.clock())


async def test_a_refused_request_is_recorded_nowhere(server, admin, press):
    """A token that was not issued has no origin and is not counted."""
    answer = await server.http.post("/oauth2/token", data=GRANT, auth=("press-01", "wrong"))

    assert answer.status_code == 401
    assert await recorded(server, admin, "press-01") == ([], 0, None)
