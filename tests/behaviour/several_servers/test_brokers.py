"""A broker behind the load balancer: it asks one Server at the login, and another about the connection."""

from datetime import timedelta

import pytest
from tests.behaviour.several_servers.test_one_state import new_worker, revoke_key, until

_MAY_WRITE = {
    "username": "press-01",
    "vhost": "/",
    "resource": "queue",
    "name": "jobs",
    "permission": "write",
}


async def _add_broker(server):
    """Add a resource for a message broker; return its Basic credentials."""
    headers = await server.sign_in()
    body = {
        "name": "queue",
        "audience": "rabbitmq",
        "scopes": ["rabbitmq.write:%2F/jobs"],
        "for_all_workers": True,
    }
    assert (await server.http.post("/api/resources", json=body, headers=headers)).status_code == 201
    answer = await server.http.post("/api/resources/queue/key", headers=headers)
    return "queue", answer.json()["key"]


async def _log_in(server, broker, press):
    answer = await server.token_by_key(*press, resource="rabbitmq")
    login = {"username": press[0], "password": answer.json()["access_token"]}
    assert (await server.http.post("/auth/rabbitmq/user", data=login, auth=broker)).text == "allow"


async def _must_disconnect(server, broker, accepted_at):
    """Return whether a Server has a broker close a connection that was accepted at a time."""
    age_s = (server.clock() - accepted_at).total_seconds()
    reported = {"connections": [{"username": "press-01", "vhost": "/", "age_s": age_s}]}
    answer = await server.http.post("/auth/rabbitmq/connections", json=reported, auth=broker)
    return answer.json()["close"] == [0]


@pytest.mark.parametrize("is_notified", [True, False])
async def test_a_broker_connection_of_a_revoked_key_is_closed_at_any_server(two, monkeypatch, is_notified):
    """Even if the login was not published to the Server that is asked: then the Worker's revoked keys decide."""
    first, second = two
    press = await new_worker(first)
    broker = await _add_broker(first)
    await until(lambda: _knows(second, "rabbitmq"), "the second knows the broker")
    # As if they had run for long, so that the connection is younger than they are.
    for server in two:
        server.services.brokers._started_at -= timedelta(hours=1)
    if not is_notified:
        monkeypatch.setattr(first.services.brokers, "_publish", _nothing)
    await _log_in(first, broker, press)
    accepted_at = first.clock()
    if is_notified:
        await until(lambda: _remembers(second), "the second learns of the login")
    assert not await _must_disconnect(second, broker, accepted_at)

    await revoke_key(first)

    assert await until(lambda: _must_disconnect(second, broker, accepted_at), "the second says so")
    if is_notified:
        assert (
            await second.http.post("/auth/rabbitmq/resource", data=_MAY_WRITE, auth=broker)
        ).text == "deny"


def _nothing(_login):
    """Publish nothing."""


async def _knows(server, audience):
    resource = server.services.directory.find_resource(audience=audience)
    return resource is not None and resource.key_digest is not None


async def _remembers(server):
    return bool(server.services.brokers._logins)
