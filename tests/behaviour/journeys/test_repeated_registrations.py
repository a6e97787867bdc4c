"""A script that registers on every run instead of keeping its key is found, with the address of its host."""

import httpx2
import pytest
from tests.builders import ENROLLMENT_KEY
from tests.processes import Site, until

from lyftdata.core.identity_keys import generate_identity_key


@pytest.fixture
def site(shared_site):
    """Return the Server that the journeys of this file share."""
    return shared_site


def run_script(site: Site) -> str:
    """Register with a new key, as a client that keeps nothing; return the ID."""
    body = {
        "client_name": "nightly-report",
        "jwks": {"keys": [generate_identity_key().public.as_dict()]},
    }
    answer = httpx2.post(
        f"{site.url}/oauth2/register",
        json=body,
        headers={"Authorization": f"Bearer {ENROLLMENT_KEY}"},
        timeout=180,
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["client_id"])


def test_a_script_that_registers_on_every_run_is_reported(site):
    """After six runs the list of such clients, the log and the metrics show it; an ordinary Worker is not listed."""
    host = site.worker_host("a", LYFTDATA_WORKER_NAME="press", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    host.start("run", "worker").wait_for("online")
    made = [run_script(site) for _ in range(6)]

    (found,) = until(lambda: site.operator.json("workers", "repeated"), "it is found")

    assert (found["name"], found["address"], found["replaced"]) == ("nightly-report", "127.0.0.1", 5)
    assert "nightly-report" in site.operator.done("workers", "repeated")
    (event,) = site.server.events("repeated_registrations")
    assert (event["name"], event["address"], event["replaced"]) == ("nightly-report", "127.0.0.1", 5)
    assert "lyftdata_replaced_registrations 5.0" in httpx2.get(f"{site.url}/metrics", timeout=180).text
    workers = site.workers()
    assert {worker["name"] for worker in workers.values()} == {"press", "nightly-report"}
    assert [workers[one]["superseded_by"] for one in made] == [*made[1:], None]
