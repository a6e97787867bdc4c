"""The Server moves to another public address: Workers of both strategies go on, and each moves when its host says so."""

import json
import urllib.error
import urllib.request

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.postgres import Cable
from tests.processes import until

MOVED = "LYFTDATA_PREVIOUS_PUBLIC_URLS"


class Address:
    """Another address of a Server, by a relay that ends with the test."""

    def __init__(self, site):
        # It relays to any port; a database's is one.
        self._relay = Cable(site)
        self.url = self._relay.url(f"{site.url}/").rstrip("/")

    def close(self):
        """End the relay."""
        self._relay.close()


@pytest.fixture
def site(open_site):
    """Return a Server that is stopped, with an enrollment key."""
    started = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    started.server.terminate()
    return started


@pytest.fixture
def old(site):
    """Return the address that the Server has at first; it goes on leading to the Server."""
    address = Address(site)
    yield address.url
    address.close()


def restart(site, **environ):
    """Start the Server with another environment; return its log."""
    if site.server.alive():
        site.server.terminate()
    return site.start_server(**environ)


def issuer_warnings(server):
    """Return what the Server warns of at its start that concerns its address."""
    return [e["problem"] for e in server.events("configuration_warning") if MOVED in e["problem"]]


def verify_status(url, token):
    """Return how the Server answers to a token at /auth/verify."""
    request = urllib.request.Request(f"{url}/auth/verify", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def identity(host):
    """Return who a host's Worker is, as its directory has it."""
    return json.loads((host.home / "jobs" / "identity.json").read_text())


def signing_for_old(site):
    """Return how many Workers sign for the one previous address."""
    (previous,) = site.operator.json("enrollment", "status")["previous_issuers"]
    return previous["workers"]


def come_online(host):
    """Run the Worker until it is online, and end it; return what it logged."""
    agent = host.start("run", "worker")
    agent.wait_for("online")
    assert agent.terminate() == 0
    return agent


def test_workers_go_on_at_a_new_address(site, old):
    """Named, the old address keeps every Worker, token and new host working; moved, a Worker does without it for good."""
    restart(site, LYFTDATA_PUBLIC_URL=old)
    site.sign_in()
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    by_key = site.worker_host("by-key", LYFTDATA_URL=old, LYFTDATA_WORKER_ID="press-01")
    by_key.environ["LYFTDATA_WORKER_API_KEY"] = key
    given = {"LYFTDATA_WORKER_NAME": "press-02", "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY}
    enrolled = site.worker_host("enrolled", LYFTDATA_URL=old, **given)
    come_online(enrolled)
    from_before = enrolled.done("token").strip()

    # The address is changed, and nothing else.
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

    # The old one is named.
    server = restart(site, **{MOVED: old})
    assert issuer_warnings(server) == []
    come_online(enrolled)
    by_key.done("token")
    assert verify_status(site.url, from_before) == 204
    late = site.worker_host("late", LYFTDATA_URL=old, **(given | {"LYFTDATA_WORKER_NAME": "press-03"}))
    come_online(late)
    site.sign_in()
    assert signing_for_old(site) == 2

    # The hosts are given the new one.
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
    # A token of an address that is not named any more is another Server's.
    assert verify_status(site.url, from_before) == 401
