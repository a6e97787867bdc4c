"""`lyftdata doctor worker` against a real Server: what it finds on hosts that are set up wrong, and nothing on one that is right."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.peers.proxy_kinds import Around, nginx

from lyftdata.doctor.worker import examine_worker


@pytest.fixture
def press(shared_site):
    """Return the host of an API-key Worker, its key in a private file."""
    host = shared_site.worker_host("press", LYFTDATA_WORKER_ID="press")
    issued = shared_site.operator.done("workers", "add", "press", "--id", "press", "--issue-key")
    key = host.home / "key"
    key.touch(0o600)
    key.write_text(issued)
    host.environ["LYFTDATA_WORKER_API_KEY_FILE"] = str(key)
    return host


def examined(host, **environ):
    """Return exit code and findings by code."""
    result = host.run("doctor", "worker", "--json", **environ)
    found = json.loads(result.stdout)
    assert found["ok"] == (result.returncode == 0), result.stderr
    return result.returncode, {finding["code"]: finding for finding in found["findings"]}


def test_nothing_is_wrong_on_a_host_that_is_right(shared_site, press):
    """Before the start, and beside the running Worker, which stays connected."""
    assert press.run("doctor", "worker").stderr == "Nothing is wrong.\n"
    agent = press.start("run", "worker")
    agent.wait_for("online")

    assert examined(press) == (0, {})
    assert shared_site.status("press") == "online"


def test_nothing_is_wrong_before_and_after_a_worker_enrolls(shared_site):
    """It never enrolls by itself: there is no entry afterwards."""
    host = shared_site.worker_host(
        "fresh", LYFTDATA_WORKER_NAME="fresh", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
    )
    code, found = examined(host)
    assert (code, list(found)) == (0, ["not_enrolled"]), "a key for one use is not used up"
    assert "fresh" not in {worker["name"] for worker in shared_site.workers().values()}

    agent = host.start("run", "worker")
    agent.wait_for("online")

    assert examined(host) == (0, {})


def test_an_identity_of_another_name_is_found(shared_site):
    """With the name that the Server has."""
    host = shared_site.worker_host(
        "first", LYFTDATA_WORKER_NAME="first", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
    )
    host.start("run", "worker").wait_for("online")

    _, found = examined(host, LYFTDATA_WORKER_NAME="second")

    assert "first" in found["no_credential"]["what"]


def test_a_clock_that_is_off_is_found(press):
    """By how much, and as a warning: the Worker itself copes with it."""
    found = asyncio.run(examine_worker(press.environ, now=lambda: datetime.now(UTC) + timedelta(hours=30)))

    assert [finding.check.code for finding in found] == ["clock_off"]
    assert re.search(r"clock is 1d\S* ahead of the Server's", found[0].what)


LOCATION = "location /api/worker/session { %s proxy_pass http://127.0.0.1:%d; }"


@pytest.mark.parametrize(
    ("directive", "code"),
    [
        ('proxy_set_header Authorization "";', "token_lost"),
        ("return 403;", "sessions_blocked"),
    ],
)
def test_a_proxy_that_lets_no_session_through_is_found(shared_site, press, tmp_path, directive, code):
    """A real nginx in front of the Server, which passes everything else on."""
    around = Around(tmp_path, server_port=shared_site.port, service_port=0)
    session = LOCATION % (directive, shared_site.port)
    text = (
        f"server {{ listen 127.0.0.1:{around.port}; {session} "
        f"location / {{ proxy_pass http://127.0.0.1:{shared_site.port}; }} }}"
    )
    peer = nginx(around, text)
    try:
        assert examined(press, LYFTDATA_URL=f"http://127.0.0.1:{around.port}")[1].keys() == {code}
    finally:
        peer.close()
