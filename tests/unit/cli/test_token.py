"""`lyftdata token`."""

import json

import httpx2
import pytest


@pytest.fixture(scope="module")
def press(listening, operator):
    """Return the host of a Worker that has its own key."""
    key = operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    return listening.worker_host("press", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key)


def test_only_the_worker_token_is_on_standard_output(listening, press):
    """The Server accepts it."""
    printed = press.done("token")

    answer = httpx2.get(
        f"{listening.url}/auth/verify",
        headers={"Authorization": f"Bearer {printed.removesuffix(chr(10))}"},
        trust_env=False,
        timeout=180,
    )
    assert answer.status_code == 204


def test_json_has_the_members_of_a_token_answer(press):
    """With the names of RFC 6749."""
    answer = json.loads(press.done("token", "--json"))

    assert answer.keys() == {"access_token", "token_type", "expires_in"}
    assert answer["token_type"] == "Bearer"
    assert 0 < answer["expires_in"] <= 900


def test_a_refusal_exits_with_3_and_a_reference(press):
    """A host with a wrong key learns nothing else; standard output is empty."""
    key = press.environ["LYFTDATA_WORKER_API_KEY"]

    ended = press.run("token", LYFTDATA_WORKER_API_KEY=key[:-1])

    assert (ended.exit_code, ended.output) == (3, "")
    assert "refused, reference " in ended.errors
    assert key[:-1] not in ended.errors


def test_an_audience_that_the_worker_may_not_use_is_refused(press):
    """With exit code 1 and the Server's reason, since the credential is valid."""
    ended = press.run("token", "--audience", "https://billing.example.com")

    assert (ended.exit_code, ended.output) == (1, "")
    assert "may have none for" in ended.errors


def test_invalid_settings_are_a_usage_error(listening):
    """The command exits with 2, like `lyftdata run worker`."""
    ended = listening.worker_host("bare").run("token", LYFTDATA_WORKER_ID="press-01")

    assert ended.exit_code == 2
    assert "LYFTDATA_WORKER_API_KEY" in ended.errors
