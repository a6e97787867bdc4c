"""`schemathesis` reads our OpenAPI document, requests everything in it, and checks every answer against it."""

import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from tests.processes import PASSWORD

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "ignored_auth",
    "use_after_free",
    "ensure_resource_availability",
)
# Paths that would end the session that it uses, and the stream that never ends.
LEFT_OUT = (
    "/logout",
    "/logout-everywhere",
    "/me/password",
    "/admin-sessions/{session_id}",
    "/operators/{name}",
    "/operators/{name}/sessions",
    "/events",
)


# More examples in chains, since a chain begins only if a random value is accepted.
CONFIGURATION = """
[phases.fuzzing.generation]
max-examples = 8
[phases.stateful.generation]
max-examples = 40
"""


@pytest.fixture(scope="module")
def session(peers) -> str:
    """Return an operator's session, opened before schemathesis guesses passwords and the operator is locked out."""
    body = {"username": "admin", "password": PASSWORD}
    answer = httpx2.post(f"{peers.url}/api/login", json=body, timeout=180)
    return f"Bearer {answer.raise_for_status().json()['token']}"


def test_every_answer_conforms_to_the_openapi_document(peers, session, tmp_path: Path):
    """
    No answer is a 5xx, has an undocumented status, type or schema, or is given without a session.

    Requests are sent alone and in chains, where an answer names the object of the next request.
    """
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION, encoding="utf-8")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration)),
        *("run", f"{peers.url}/api/openapi.json"),
        *("--header", f"Authorization: {session}"),
        *("--checks", ",".join(CHECKS)),
        *(part for path in LEFT_OUT for part in ("--exclude-path", path)),
        # No time limit: it would always be used up, on a busy machine before the chains begin.
        "--generation-deterministic",
        # Below an operator's rate limit, since an answer that only says "too fast" checks nothing.
        *("--rate-limit", "60/s"),
        *("--no-color", "--warnings", "off"),
    ]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    # The chains ran, and the session was valid to the end.
    assert "API Links:    0 covered" not in done.stdout
    whoami = httpx2.get(f"{peers.url}/api/whoami", headers={"Authorization": session}, timeout=180)
    assert whoami.status_code == 200


def test_an_id_with_a_line_break_is_answered_like_any_unknown_id(peers, session):
    """The answer is a problem document with `not_found`, although no route matches; found by the chains."""
    headers = {"Authorization": session}
    answer = httpx2.get(f"{peers.url}/api/workers/a%0Ab", headers=headers, timeout=180)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["code"] == "not_found"
