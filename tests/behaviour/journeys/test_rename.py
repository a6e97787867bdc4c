"""A Worker that was renamed on the Server keeps working with its old and its new name on its host."""

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

# With this enrollment key a Worker can only connect with its stored identity.
WRONG_KEY = "w" * 40


@pytest.fixture
def site(shared_site):
    """Return the Server that the journeys of this file share."""
    return shared_site


@pytest.fixture
def renamed(site):
    """Return the host of a Worker that enrolled as host-old and was renamed to host-new on the Server."""
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
    """Return the names that the runs of COMMAND got."""
    file = host.home / "names"
    return file.read_text().split() if file.exists() else []


def library(host, name):
    """Run the client library with a name on the host; return the finished process."""
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
    """Run the Worker with COMMAND under a name until it is online; return the program with its log."""
    runs = len(names_given(host))
    agent = host.start("run", "worker", "--", *COMMAND, LYFTDATA_WORKER_NAME=name, **environ)
    agent.wait_for("online")
    until(lambda: len(names_given(host)) > runs, "a run of COMMAND")
    agent.terminate()
    return agent


def test_a_renamed_worker_starts_under_both_names(site, renamed):
    """It connects with its identity and no second Worker is enrolled; COMMAND and log have the Server's name."""
    secret = {"LYFTDATA_AUTO_ENROLLMENT_KEY": WRONG_KEY}
    agent = online_as(renamed, "host-old", **secret)
    assert agent.events("online")[0]["name"] == "host-new"
    assert names_given(renamed) == ["host-new"]
    assert stored_name(renamed) == "host-old"

    assert (
        "if the Server has renamed it to 'host-new'"
        in renamed.run("config", "check", "worker", LYFTDATA_WORKER_NAME="host-new").stderr
    )
    # The agent has not confirmed the new name yet, so other programs on the host ask the Server themselves.
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


def test_a_name_of_another_worker_is_refused(site, renamed):
    """Agent, `lyftdata token` and library reject a name that is not this Worker's, and show its name and a remedy."""
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
    """Only the Server can confirm the name, so the Worker retries, and connects when the Server is back."""
    site.server.terminate()
    agent = renamed.start("run", "worker", LYFTDATA_WORKER_NAME="host-new")
    agent.wait_for("retrying")

    site.start_server()

    agent.wait_for("online")
    assert agent.terminate() == 0
    assert stored_name(renamed) == "host-new"


def test_the_command_of_a_worker_with_an_api_key_gets_the_servers_name(site):
    """Whatever name its host sets, if any: COMMAND gets the name in the token."""
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    host = site.worker_host("by-key", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key)
    for name in ("anything", ""):
        assert online_as(host, name).events("online")[0]["name"] == "press-01"
    assert names_given(host) == ["press-01", "press-01"]
