"""The Server moves to another public URL: Workers of both strategies go on, and each moves when its host is changed."""

import json
import urllib.error
import urllib.request

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.postgres import Cable
from tests.processes import until

MOVED = "LYFTDATA_PREVIOUS_PUBLIC_URLS"


class Address:
    """Another URL of a Server, through a relay."""

    def __init__(self, site):
        # A Cable is made for a database, but relays to any port.
        self._relay = Cable(site)
        self.url = self._relay.url(f"{site.url}/").rstrip("/")

    def close(self):
        """Stop the relay."""
        self._relay.close()


@pytest.fixture
def site(open_site):
    """Return a stopped Server with an enrollment key."""
    started = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    started.server.terminate()
    return started


@pytest.fixture
def old(site):
    """Return the Server's first URL, which continues to lead to it."""
    address = Address(site)
    yield address.url
    address.close()


def restart(site, **environ):
    """Start the Server with another environment; return the program."""
    if site.server.alive():
        site.server.terminate()
    return site.start_server(**environ)


def issuer_warnings(server):
    """Return the Server's startup warnings about its URL."""
    return [e["problem"] for e in server.events("configuration_warning") if MOVED in e["problem"]]


def verify_status(url, token):
    """Return the status of /auth/verify for a token."""
    request = urllib.request.Request(f"{url}/auth/verify", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def identity(host):
    """Return the identity in a host's directory."""
    return json.loads((host.home / "jobs" / "identity.json").read_text())


def signing_for_old(site):
    """Return how many Workers sign for the previous URL."""
    (previous,) = site.operator.json("enrollment", "status")["previous_issuers"]
    return previous["workers"]


def come_online(host):
    """Run the Worker until it is online, and stop it; return the program with its log."""
    agent = host.start("run", "worker")
    agent.wait_for("online")
    assert agent.terminate() == 0
    return agent


def test_workers_keep_working_when_the_server_gets_a_new_url(site, old):
    """While the old URL is listed as a previous one, all Workers, tokens and new hosts work; a Worker that has moved no longer needs it."""
    restart(site, LYFTDATA_PUBLIC_URL=old)
    site.sign_in()
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    by_key = site.worker_host("by-key", LYFTDATA_URL=old, LYFTDATA_WORKER_ID="press-01")
    by_key.environ["LYFTDATA_WORKER_API_KEY"] = key
    given = {"LYFTDATA_WORKER_NAME": "press-02", "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY}
    enrolled = site.worker_host("enrolled", LYFTDATA_URL=old, **given)
    come_online(enrolled)
    from_before = enrolled.done("token").strip()

    # Only the URL is changed.
    server = restart(site)
    (warning,) = issuer_warnings(server)
    assert (
        f"1 auto-enrolled Worker signs for {old} and will be refused. The issuer was {old} and is {site.url} now"
        in warning
    )
    assert enrolled.run("token").returncode == 3
    by_key.done("token")
    at_wrong_server = enrolled.run("run", "worker", LYFTDATA_URL=site.url)
    assert at_wrong_server.returncode == 2
    assert MOVED in at_wrong_server.stderr
    assert MOVED in enrolled.run("token", LYFTDATA_URL=site.url).stderr
    assert identity(enrolled)["issuer"] == old

    # The old URL is listed as a previous one.
    server = restart(site, **{MOVED: old})
    assert issuer_warnings(server) == []
    come_online(enrolled)
    by_key.done("token")
    assert verify_status(site.url, from_before) == 204
    late = site.worker_host("late", LYFTDATA_URL=old, **(given | {"LYFTDATA_WORKER_NAME": "press-03"}))
    come_online(late)
    site.sign_in()
    assert signing_for_old(site) == 2

    # The hosts get the new URL.
    for host in (enrolled, late):
        host.environ["LYFTDATA_URL"] = site.url
        moved = come_online(host)
        assert moved.events("moved")[0]["previous_issuer"] == old
        assert identity(host)["issuer"] == site.url
    assert until(lambda: signing_for_old(site) == 0, "that no Worker signs for the old address") is True
    server = restart(site)
    assert issuer_warnings(server) == []
    for host in (enrolled, late, by_key):
        host.done("token")
    # A token of a URL that is no longer listed is refused like another Server's.
    assert verify_status(site.url, from_before) == 401
