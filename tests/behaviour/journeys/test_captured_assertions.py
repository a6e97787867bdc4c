"""Captured assertions across real restarts: a used one stays refused, and Workers are not disturbed."""

import json
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from tests.builders import ENROLLMENT_KEY
from tests.deployment import ASSERTION_TYPE
from tests.processes import Host, Site, until

from lyftdata.client.counter_file import CounterFile
from lyftdata.core.assertions import make_assertion
from lyftdata.core.identity_keys import IdentityKey
from lyftdata.core.signature_counter import SignatureNumber


def next_number(host: Host) -> SignatureNumber | None:
    """Return the counter value for a Worker's next signature."""
    return CounterFile(Path(host.environ["LYFTDATA_JOBS_DIR"])).take_number()


def enrolled(site: Site) -> tuple[Host, str, IdentityKey]:
    """Return the host of a Worker that has enrolled and stopped, its ID and its identity key."""
    host = site.worker_host(
        "press", LYFTDATA_WORKER_NAME="press", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
    )
    worker = host.start("run", "worker")
    worker.wait_for("online")
    assert worker.terminate() == 0
    jobs = Path(host.environ["LYFTDATA_JOBS_DIR"])
    worker_id = json.loads((jobs / "identity.json").read_text())["worker_id"]
    return host, worker_id, IdentityKey.from_pem((jobs / "identity-key.pem").read_bytes())


def ask(site: Site, assertion: str) -> httpx2.Response:
    """Ask for a token as a client that knows only RFC 7523."""
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
    }
    return httpx2.post(f"{site.url}/oauth2/token", data=form, timeout=180)


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "killed"])
def test_a_used_assertion_is_refused_after_a_restart(open_site, crash):
    """After a stop as after a kill; the Worker itself is online at once, and the operator sees the refusal."""
    site = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    site.sign_in()
    host, worker_id, key = enrolled(site)

    def signed(jti: str) -> str:
        return make_assertion(
            key,
            worker_id=worker_id,
            audience=site.url,
            now=datetime.now(UTC),
            jti=jti,
            ttl_s=300,
            counter=next_number(host),
        )

    used = signed("used")
    assert ask(site, used).status_code == 200

    if crash:
        site.server.kill()
    else:
        site.server.terminate()
    site.start_server()

    replayed = ask(site, used)
    assert replayed.status_code == 401
    causes = {"stale_assertion"} if crash else {"assertion_replayed"}
    assert site.cause(replayed.json()["reference"]) in causes
    if not crash:
        assert ask(site, signed("fresh")).status_code == 200
    worker = host.start("run", "worker")
    worker.wait_for("online")
    assert worker.events("refused") == []
    assert worker.terminate() == 0


def test_a_used_assertion_is_refused_after_a_crash_and_a_clean_restart(open_site):
    """The records of used assertions are lost in the crash, and a clean stop afterwards must not make old assertions acceptable."""
    site = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    site.sign_in()
    host, worker_id, key = enrolled(site)
    used = make_assertion(
        key,
        worker_id=worker_id,
        audience=site.url,
        now=datetime.now(UTC),
        jti="used",
        ttl_s=300,
        counter=next_number(host),
    )
    assert ask(site, used).status_code == 200

    site.server.kill()
    site.start_server()
    site.server.terminate()
    site.start_server()

    replayed = ask(site, used)
    assert replayed.status_code == 401
    assert site.cause(replayed.json()["reference"]) == "stale_assertion"


def test_an_enabled_worker_is_online_at_once_and_captured_assertions_stay_refused(open_site):
    """The agent signs with a nonce from the Server; an assertion captured before the Worker was disabled is refused."""
    site = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    operator = site.sign_in()
    host, worker_id, key = enrolled(site)
    worker = host.start("run", "worker")
    worker.wait_for("online")
    captured = make_assertion(
        key,
        worker_id=worker_id,
        audience=site.url,
        now=datetime.now(UTC),
        jti="captured",
        ttl_s=300,
        counter=next_number(host),
    )

    operator.done("workers", "disable", worker_id, "--yes")
    refused = worker.wait_for("refused")
    assert refused["code"] == "worker_disabled"
    operator.done("workers", "enable", worker_id)
    worker.wait_for("online", count=2)

    until(lambda: site.status(worker_id) == "online", "the Server shows it online")
    replayed = ask(site, captured)
    assert replayed.status_code == 401
    assert site.cause(replayed.json()["reference"]) == "stale_assertion"
    assert all(event["code"] == "worker_disabled" for event in worker.events("refused"))
    assert worker.terminate() == 0
