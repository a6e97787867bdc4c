"""`lyftdata doctor worker` against a real Server: what it finds on hosts that are set up wrong, and nothing on one that is right."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.peers.proxies import Service
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


def test_a_wrong_key_is_found_with_the_reference_under_which_operators_see_why(shared_site, press):
    """The caller is not told more than any other."""
    wrong = press.home / "wrong"
    wrong.touch(0o600)
    # Well-formed, so that this host cannot tell: a key of another Worker.
    wrong.write_text(shared_site.operator.done("workers", "add", "other", "--issue-key"))

    code, found = examined(press, LYFTDATA_WORKER_API_KEY_FILE=str(wrong))

    assert code == 1
    reference = found["refused"]["fix"].rpartition(" ")[2]
    assert shared_site.cause(reference) == "api_key_not_for_worker"


def test_a_disabled_worker_is_found_by_its_cause(shared_site, press):
    """It has proved its key, so it learns why."""
    shared_site.operator.done("workers", "disable", "press", "--yes")

    _, found = examined(press)

    assert "(worker_disabled)" in found["refused"]["what"]


def test_an_identity_of_another_name_is_found(shared_site):
    """With the name that the Server has."""
    host = shared_site.worker_host(
        "first", LYFTDATA_WORKER_NAME="first", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
    )
    host.start("run", "worker").wait_for("online")

    _, found = examined(host, LYFTDATA_WORKER_NAME="second")

    assert "first" in found["no_credential"]["what"]


def test_a_server_that_calls_itself_otherwise_is_found_before_a_worker_enrolls(shared_site):
    """With both ways to set it right."""
    host = shared_site.worker_host(
        "elsewhere",
        LYFTDATA_WORKER_NAME="elsewhere",
        LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY,
        LYFTDATA_PUBLIC_URL="https://lyftdata.example.com",
    )

    _, found = examined(host)

    assert shared_site.url in found["issuer_differs"]["fix"]


def test_a_clock_that_is_off_is_found(press):
    """By how much, and as a warning: the Worker itself copes with it."""
    found = asyncio.run(examine_worker(press.environ, now=lambda: datetime.now(UTC) + timedelta(hours=30)))

    assert [finding.check.code for finding in found] == ["clock_off"]
    assert re.search(r"clock is 1d\S* ahead of the Server's", found[0].what)


def test_another_program_at_the_address_is_found(press):
    """It is not taken for the Server."""
    service = Service()
    try:
        code, found = examined(press, LYFTDATA_URL=f"http://127.0.0.1:{service.port}")
    finally:
        service.close()

    assert (code, list(found)) == (1, ["not_the_server"])


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


def test_a_proxy_variable_that_cannot_be_used_is_found(press):
    """It names the variable."""
    _, found = examined(
        press, LYFTDATA_URL="https://lyftdata.example.com", HTTPS_PROXY="socks5://127.0.0.1:1080"
    )

    assert "HTTPS_PROXY" in found["proxy_unusable"]["what"]
