"""`schemathesis` reads our OpenAPI document, asks for everything in it, and holds us to every answer."""

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
# Those that would end the session with which it asks, and the stream that never ends.
LEFT_OUT = (
    "/logout",
    "/logout-everywhere",
    "/me/password",
    "/admin-sessions/{session_id}",
    "/operators/{name}",
    "/operators/{name}/sessions",
    "/events",
)


# More in chains than alone: only where something random is accepted does a chain begin.
CONFIGURATION = """
[phases.fuzzing.generation]
max-examples = 8
[phases.stateful.generation]
max-examples = 40
"""


@pytest.fixture(scope="module")
def session(peers) -> str:
    """Return an operator's session, opened before the passwords are guessed at and the operator is locked out."""
    body = {"username": "admin", "password": PASSWORD}
    answer = httpx2.post(f"{peers.url}/api/login", json=body, timeout=180)
    return f"Bearer {answer.raise_for_status().json()['token']}"


def test_every_answer_is_as_the_openapi_document_says(peers, session, tmp_path: Path):
    """
    No answer of the 500s, none of a status, type or shape that is not documented, none without a session.

    Alone and in chains, where an answer names what the next request is about.
    """
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION, encoding="utf-8")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration)),
        *("run", f"{peers.url}/api/openapi.json"),
        *("--header", f"Authorization: {session}"),
        *("--checks", ",".join(CHECKS)),
        *(part for path in LEFT_OUT for part in ("--exclude-path", path)),
        # No time limit: it would be spent to its end, and on a busy machine before the chains begin.
        "--generation-deterministic",
        # Below what one operator may ask for: an answer that only says "too fast" checks nothing.
        *("--rate-limit", "60/s"),
        *("--no-color", "--warnings", "off"),
    ]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    # The chains were there, and the session lived to the end.
    assert "API Links:    0 covered" not in done.stdout
    whoami = httpx2.get(f"{peers.url}/api/whoami", headers={"Authorization": session}, timeout=180)
    assert whoami.status_code == 200


def test_a_path_that_reaches_no_application_is_answered_like_the_others(peers, session):
    """Found by the chains: an ID with a line break in it is not found, and says so as every other."""
    headers = {"Authorization": session}
    answer = httpx2.get(f"{peers.url}/api/workers/a%0Ab", headers=headers, timeout=180)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["code"] == "not_found"
