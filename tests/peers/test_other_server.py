"""
The same client steps against two servers: ours and the third-party `oidc-provider`.

The page lists and explains the differences; a difference that appears or disappears fails here.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.peers.conftest import AUDIENCE, NODE, SCOPES, Peers, RunScript
from tests.processes import free_port

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-any-oauth-client.md"


@pytest.fixture(scope="module")
def other_server(run_script: RunScript, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Run `oidc-provider`, and return the settings for a client of it."""
    url = f"http://127.0.0.1:{free_port()}"
    settings = {
        "issuer": url,
        "basic": {"id": "press-01", "secret": "s" * 43},
        "post": {"id": "press-02", "secret": "t" * 43},
        "asker": {"id": "broker", "secret": "u" * 43},
        "resource": {"audience": AUDIENCE, "scope": "read", "scopes": SCOPES},
        "initial_access_token": ENROLLMENT_KEY,
        "name": "press",
        # Its registrations are OpenID Connect's, and must say that no browser is involved.
        "metadata": {
            "redirect_uris": [],
            "response_types": [],
            "grant_types": ["client_credentials"],
            "token_endpoint_auth_method": "private_key_jwt",
        },
        "once": "once",
        "verify": None,
    }
    log = tmp_path_factory.mktemp("other") / "log"
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            [shutil.which("node") or "node", NODE / "oidc_provider.mjs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(settings).encode())
        process.stdin.close()
        assert process.stdout.readline() == b"ready\n", log.read_text(encoding="utf-8")
        yield settings
        process.terminate()


def summary(outcome: dict[str, Any]) -> str:
    """Describe the result of a step in a word or two."""
    if "ok" in outcome:
        return _answer(outcome["ok"])
    refusal = outcome["refused"]
    if refusal.get("status") is None:
        return "the client refuses it"
    return f"{refusal['status']} {refusal.get('error') or ''}".strip()


def _answer(ok: Any) -> str:
    match ok:
        case bool():
            summary = "yes" if ok else "no"
        case [bool(before), bool(after)]:
            summary = f"{before}, then {after}".lower()
        case {"status": status, "fields": fields, **documented}:
            kept = ", registration_access_token" if "registration_access_token" in fields else ""
            summary = f"{status} {documented.get('error') or ''}".strip() + kept
        case {"active": active, **documented}:
            summary = f"active: {active}".lower() + (", bound" if documented.get("bound") else "")
        case {"cnf": cnf}:
            summary = "bound token" if cnf else "token"
        case {"token_type": _, **documented}:
            summary = (
                "JWT" if str(documented.get("access_token", "eyJ")).startswith("eyJ") else "opaque token"
            )
            summary += f", scope {documented['scope']}" if "scope" in documented else ""
        case _:
            summary = "done"
    return summary


@pytest.fixture(scope="module")
def rows(run_script: RunScript, peers: Peers, other_server: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the results of each step, with our server and with the other one."""
    ours = run_script("oauth4webapi.mjs", **(peers.settings("compared") | {"verify": None}))
    theirs = run_script("oauth4webapi.mjs", **other_server)
    assert list(ours) == list(theirs)
    return {step: (summary(ours[step]), summary(theirs[step])) for step in ours}


def test_the_page_lists_every_difference(rows):
    """The table of differences has exactly the steps with different results, and both results."""
    differing = {step: pair for step, pair in rows.items() if pair[0] != pair[1]}
    documented = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|", _section("What differs"), re.MULTILINE)
    assert {step: (ours, theirs) for step, ours, theirs in documented} == differing


def test_the_page_lists_what_both_do(rows):
    """The table of equal results has the other steps."""
    same = {step: ours for step, (ours, theirs) in rows.items() if ours == theirs}
    documented = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", _section("What both do"), re.MULTILINE)
    assert dict(documented) == same


def _section(title: str) -> str:
    page = PAGE.read_text(encoding="utf-8")
    return page.partition(f"### {title}\n")[2].partition("\n### ")[0].partition("\n## ")[0]
