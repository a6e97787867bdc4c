"""Slow request bodies: once a body has arrived, the decision is made on the state at that time."""

import asyncio
from urllib.parse import urlencode

import pytest
from tests.behaviour.several_servers.test_one_state import disable, new_worker, token_of, until

from lyftdata.store import StoreError

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def _add_broker(server):
    """Add a resource for a message broker; return its Basic credentials."""
    headers = await server.sign_in()
    body = {
        "name": "queue",
        "audience": "rabbitmq",
        "scopes": ["rabbitmq.write:%2F/jobs"],
        "for_all_workers": True,
    }
    answer = await server.http.post("/api/resources", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    answer = await server.http.post("/api/resources/queue/key", headers=headers)
    assert answer.status_code in {200, 201}, answer.text
    return "queue", answer.json()["key"]


def _requests(press, token, broker):
    """Return the requests of a Worker and a broker by name: path, headers, body and Basic credentials."""
    worker_id, key = press
    form = {"grant_type": "client_credentials", "client_id": worker_id, "client_secret": key}
    bearer = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    may_write = {
        "username": worker_id,
        "vhost": "/",
        "resource": "queue",
        "name": "jobs",
        "permission": "write",
    }
    return {
        "token": ("/oauth2/token", _FORM, urlencode(form), None),
        "introspect": ("/oauth2/introspect", _FORM, urlencode(form | {"token": token}), None),
        "session": ("/api/worker/session", bearer, '{"boot_id": "boot-0001"}', None),
        "broker": ("/auth/rabbitmq/resource", _FORM, urlencode(may_write), broker),
    }


@pytest.mark.parametrize("asked", ["token", "introspect", "session", "broker"])
async def test_a_worker_disabled_while_its_body_arrives_is_not_let_in(two, asked, monkeypatch):
    """The Server was current when the request began, and is cut off from its peers when it must decide."""
    first, second = two
    press = await new_worker(first)
    broker = await _add_broker(first)
    token = await token_of(first, *press)
    await until(lambda: _knows(second, "rabbitmq"), "the second knows the broker")
    path, headers, body, auth = _requests(press, token, broker)[asked]
    has_begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly():
        yield body[:4].encode()
        has_begun.set()
        await go_on.wait()
        yield body[4:].encode()

    answer = asyncio.ensure_future(second.http.post(path, content=slowly(), headers=headers, auth=auth))
    await asyncio.wait_for(has_begun.wait(), 180)
    feed = second.services.store._change_feed
    feed._ended.set()
    await asyncio.to_thread(feed._thread.join)
    monkeypatch.setattr(second.services.store, "refresh", _cut_off)
    await disable(first)
    await until(lambda: _is_stale(second), "its copy is stale")
    go_on.set()

    # 503, unless one of its own writes has brought the change in meanwhile.
    assert (await asyncio.wait_for(answer, 180)).status_code in {400, 401, 503}


async def _cut_off(*, full=False):
    raise StoreError("The database does not answer.")


async def _knows(server, audience):
    resource = server.services.directory.find_resource(audience=audience)
    return resource is not None and resource.key_digest is not None


async def _is_stale(server):
    return not server.services.store.is_current()
