"""A Worker that was renamed on the Server goes on, whichever of its two names its host was given."""

import json
import subprocess

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.processes import until

COMMAND = ("sh", "-c", 'echo "$LYFTDATA_WORKER_NAME" >> names; exec sleep 600')

LIBRARY = """
import asyncio
from lyftdata.client import TokenKeeper
first = TokenKeeper.from_environment().get()
second = asyncio.run(TokenKeeper.from_environment().aget())
assert first and second
"""

# Only the identity key can get this Worker in.
WRONG_KEY = "w" * 40


@pytest.fixture
def site(shared_site):
    """Return the Server that the journeys of this file share."""
    return shared_site


@pytest.fixture
def renamed(site):
    """Return the host of a Worker that enrolled as host-old and is host-new on the Server."""
    host = site.worker_host("host", LYFTDATA_WORKER_NAME="host-old")
    agent = host.start("run", "worker", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    worker_id = agent.wait_for("online")["worker_id"]
    assert agent.terminate() == 0
    site.operator.done("workers", "rename", worker_id, "host-new")
    return host


def stored_name(host):
    """Return the name in the Worker's directory."""
    return json.loads((host.home / "jobs" / "identity.json").read_text())["worker_name"]


def names_given(host):
    """Return the names that the runs of COMMAND were given."""
    file = host.home / "names"
    return file.read_text().split() if file.exists() else []


def library(host, name):
    """Run the client library with a name; return exit code and error output."""
    environ = {**host.environ, "LYFTDATA_WORKER_NAME": name}
    return subprocess.run(
        [host.python[0], "-c", LIBRARY],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def online_as(host, name, **environ):
    """Run the Worker with COMMAND under a name until it is online; return what it logged."""
    runs = len(names_given(host))
    agent = host.start("run", "worker", "--", *COMMAND, LYFTDATA_WORKER_NAME=name, **environ)
    agent.wait_for("online")
    until(lambda: len(names_given(host)) > runs, "a run of COMMAND")
    agent.terminate()
    return agent


def test_a_renamed_worker_starts_under_both_names(site, renamed):
    """Old or new, the host's name lets the Worker in by its identity; COMMAND and log have the Server's name; no other is enrolled."""
    secret = {"LYFTDATA_AUTO_ENROLLMENT_KEY": WRONG_KEY}
    agent = online_as(renamed, "host-old", **secret)
    assert agent.events("online")[0]["name"] == "host-new"
    assert names_given(renamed) == ["host-new"]
    assert stored_name(renamed) == "host-old"

    assert (
        "if the Server has renamed it to 'host-new'"
        in renamed.run("config", "check", "worker", LYFTDATA_WORKER_NAME="host-new").stderr
    )
    # Not yet confirmed by the agent: the other programs of the host ask by themselves.
    assert renamed.run("token", LYFTDATA_WORKER_NAME="host-new").returncode == 0
    assert library(renamed, "host-new").returncode == 0
    assert stored_name(renamed) == "host-old"

    agent = online_as(renamed, "host-new", **secret)
    assert agent.events("renamed")[0]["previous_name"] == "host-old"
    assert names_given(renamed) == ["host-new", "host-new"]
    assert stored_name(renamed) == "host-new"

    agent = online_as(renamed, "host-new")
    assert agent.events("renamed") == []
    assert len(site.workers()) == 1
    assert site.operator.json("refusals", "list") == []


def test_another_name_is_another_worker(site, renamed):
    """Agent, `token` and library refuse a name that the Server does not give this Worker, and say which it has and what to do."""
    agent = renamed.run("run", "worker", LYFTDATA_WORKER_NAME="other", LYFTDATA_AUTO_ENROLLMENT_KEY=WRONG_KEY)
    token = renamed.run("token", LYFTDATA_WORKER_NAME="other")
    assert (agent.returncode, token.returncode) == (2, 2)
    for message in (agent.stderr, token.stderr, library(renamed, "other").stderr):
        assert "LYFTDATA_WORKER_NAME is 'other'" in message
        assert "'host-new'" in message
        assert "lyftdata workers rename" in message
    assert stored_name(renamed) == "host-old"
    assert len(site.workers()) == 1
    assert site.operator.json("refusals", "list") == []


def test_a_new_name_waits_for_a_server_that_is_down(site, renamed):
    """While the Server is away nobody can tell: the Worker asks again, and is in when the Server is back."""
    site.server.terminate()
    agent = renamed.start("run", "worker", LYFTDATA_WORKER_NAME="host-new")
    agent.wait_for("retrying")

    site.start_server()

    agent.wait_for("online")
    assert agent.terminate() == 0
    assert stored_name(renamed) == "host-new"


def test_the_command_of_a_worker_with_an_api_key_has_the_servers_name(site):
    """A name on the host changes nothing: COMMAND reads the name that its token carries, also where the host has none."""
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    host = site.worker_host("by-key", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key)
    for name in ("anything", ""):
        assert online_as(host, name).events("online")[0]["name"] == "press-01"
    assert names_given(host) == ["press-01", "press-01"]
