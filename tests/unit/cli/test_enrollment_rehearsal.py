"""`lyftdata enrollment rehearse`."""

import httpx2
from tests.builders import ENROLLMENT_KEY

from lyftdata.core.identity_keys import generate_identity_key

EXIT_CODES = {"nothing new is refused": 0, "a Worker that got in would be": 1, "wrong usage": 2}


def test_a_key_without_attempts_refuses_none(operator):
    """It exits with 0, and takes every option that `issue` has for a rule."""
    operator.done("enrollment", "issue", "rehearsed-hosts")

    ended = operator.run(
        "enrollment", "rehearse", "rehearsed-hosts", "--days", "7", "--from", "10.4.0.0/16", "--from", "10.5.0.0/16",
        "--worker-name", "etl-*", "--uses", "3", "--expires", "7d", "--mode", "approve", "--approve-name", "etl-1",
        "--approve-from", "10.4.1.0/24", "--json",
    )  # fmt: skip

    assert ended.exit_code == EXIT_CODES["nothing new is refused"]
    rules = operator.json("enrollment", "rehearse", "rehearsed-hosts", "--expires", "7d")["rules"]
    assert (rules["expires_in_s"], rules["mode"], rules["networks"]) == (604_800, "auto", [])
    shown = operator.done("enrollment", "rehearse", "rehearsed-hosts")
    assert "0 attempts since" in shown
    assert "0 would be refused." in shown


def test_a_worker_that_would_be_refused_is_listed_with_the_rule(listening, operator):
    """With exit code 1, as text and as JSON; a Worker that matches the rules is not listed."""
    body = {"client_name": "press-1", "jwks": {"keys": [generate_identity_key().public.as_dict()]}}
    bearer = {"Authorization": f"Bearer {ENROLLMENT_KEY}"}
    assert (
        httpx2.post(
            f"{listening.url}/oauth2/register", json=body, headers=bearer, trust_env=False
        ).status_code
        == 201
    )
    arguments = ("enrollment", "rehearse", "startup", "--worker-name", "etl-*")

    ended = operator.run(*arguments)
    as_json = operator.run(*arguments, "--json")

    assert (ended.exit_code, as_json.exit_code) == (1, 1)
    assert "press-1" in ended.output
    assert "enrollment_name_not_allowed" in ended.output
    assert '"newly_refused": 1' in as_json.output
    assert operator.run("enrollment", "rehearse", "startup", "--worker-name", "press-*").exit_code == 0


def test_a_mistyped_option_is_a_usage_error(operator):
    """It exits with 2 before any request."""
    for wrong in (("--days", "0"), ("--mode", "never"), ("--expires", "7")):
        assert (
            operator.run("enrollment", "rehearse", "startup", *wrong).exit_code == EXIT_CODES["wrong usage"]
        )
