"""A kill of the Server that delivers events: another one continues, nothing is lost, and the order is kept."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from tests.postgres import Cluster
from tests.processes import PASSWORD, Site, until
from tests.webhook_receiver import receiver

HOLDER = "SELECT servers.address FROM event_deliveries JOIN servers ON servers.id = event_deliveries.holder"
_EVENTS = 60


@contextlib.contextmanager
def signed_in(site: Site) -> Iterator[httpx2.Client]:
    """Yield a client with an admin's session."""
    with httpx2.Client(base_url=f"{site.url}/api", timeout=180) as client:
        token = client.post("/login", json={"username": "admin", "password": PASSWORD}).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def post(client: httpx2.Client, path: str, body: dict[str, Any]) -> Any:
    """Send a POST request that must succeed; repeat it while the Server is busy."""
    answer = until(lambda: _accepted(client.post(path, json=body)), path)
    return answer.json()


def _accepted(answer: httpx2.Response) -> httpx2.Response | None:
    if answer.status_code in {429, 503}:
        return None
    assert answer.status_code == 201, answer.text
    return answer


@pytest.mark.slow
def test_another_server_takes_over_the_delivery_of_events(tmp_path: Path, cluster: Cluster):
    """The delivering Server is killed in the middle of a batch; still each event arrives, and first arrivals are in order."""
    url = cluster.new_database()
    environ = {
        "LYFTDATA_DATABASE_URL": url,
        "LYFTDATA_ALLOW_UNVERIFIED_DATABASE": "yes",
        "LYFTDATA_EVENTS_ALLOWED_NETWORKS": "127.0.0.0/8",
    }
    one = Site(tmp_path / "one", **environ)
    two = Site(tmp_path / "two", **environ)
    with receiver() as hook, signed_in(one) as first, signed_in(two) as second:
        body = {"name": "hook", "transport": "webhook", "url": f"http://127.0.0.1:{hook.port}/"}
        hook.secret = post(first, "/event-destinations", body)["secret"]
        until(lambda: hook.numbers, "the first event is delivered")
        with psycopg.connect(url) as conn:
            row = conn.execute(HOLDER).fetchone()
        assert row is not None
        holder, other = (one, second) if row[0].endswith(f":{one.port}") else (two, first)
        # Killed during a request: the receiver has the message, but the Server can neither learn nor record that.
        hook.after = (20, holder.server.kill)
        for number in range(_EVENTS):
            post(other, "/workers", {"name": f"w-{number}", "id": f"w-{number}"})
        until(lambda: not holder.server.alive(), "the Server that delivers is killed")
        until(lambda: "worker:w-59" in hook.subjects, "the last event is delivered")

        arrivals = list(dict.fromkeys(hook.numbers))
        assert arrivals == list(range(arrivals[0], arrivals[-1] + 1))
        assert len(hook.numbers) > len(arrivals), "a batch was cut, and sent again"
        identifiers = {identifier for identifier, _ in hook.accepted}
        assert len(identifiers) == len(arrivals), "what comes twice has one ID"
        with psycopg.connect(url) as conn:
            assert conn.execute(HOLDER).fetchone() != row
