"""Rotation of API keys and signing keys without downtime."""

import json
from datetime import UTC, datetime, timedelta

from tests.processes import until

from lyftdata.core.encoding import decode_base64url


def test_an_old_api_key_ends_on_command_or_at_its_deadline(plain_site):
    """Workers that still use the old key are listed, and refused once it has ended; those with the new key are not."""
    site, operator = plain_site, plain_site.operator
    for name in ("press-01", "press-02"):
        operator.done("workers", "add", name, "--id", name)
    first = operator.done("api-key", "issue", "press-keys").strip()
    hosts = {
        name: site.worker_host(name, LYFTDATA_WORKER_ID=name, LYFTDATA_WORKER_API_KEY=first)
        for name in ("press-01", "press-02")
    }
    late = hosts["press-01"].start("run", "worker")
    late.wait_for("online")
    prompt = hosts["press-02"].start("run", "worker")
    prompt.wait_for("online")

    ends_at = datetime.now(UTC) + timedelta(hours=12)
    second = operator.done("api-key", "rotate", "press-keys", "--until", ends_at.isoformat(), "--yes").strip()
    assert prompt.terminate() == 0
    prompt = hosts["press-02"].start("run", "worker", LYFTDATA_WORKER_API_KEY=second)
    prompt.wait_for("online")

    (old,) = operator.json("api-key", "show", "press-keys")["previous"]
    assert [(worker["id"], worker["online"]) for worker in old["workers"]] == [("press-01", True)]
    assert 11 * 3600 < old["ends_in_s"] <= 12 * 3600
    shown = operator.done("api-key", "show", "press-keys")
    assert "ends in 11h" in shown
    assert "press-01 (connected)" in shown
    asked = operator.run("api-key", "end-previous", "press-keys")
    assert asked.returncode == 2
    assert "1 Worker will be refused" in asked.stderr
    operator.done("api-key", "end-previous", "press-keys", "--yes")
    assert late.exit_code() == 3
    (refused,) = late.events("refused")
    assert site.cause(refused["reference"]) == "api_key_rotated"

    assert prompt.alive()
    third = operator.done("api-key", "rotate", "press-keys", "--grace", "1s", "--yes").strip()
    assert prompt.exit_code() == 3
    assert site.cause(prompt.events("refused")[-1]["reference"]) in {"api_key_rotated", "token_revoked"}
    assert operator.json("api-key", "show", "press-keys")["previous"] == []
    hosts["press-01"].start("run", "worker", LYFTDATA_WORKER_API_KEY=third).wait_for("online")
    for secret in (first, second, third):
        assert secret not in site.server.log


def test_withdrawing_a_signing_key_does_not_disconnect_a_worker(plain_site):
    """It gets a new token by itself. The key is no longer listed; the command requires --now and --yes."""
    site, operator = plain_site, plain_site.operator
    operator.done("workers", "add", "press-01", "--id", "press-01")
    key = operator.done("api-key", "issue", "press-keys").strip()
    given = {"LYFTDATA_WORKER_ID": "press-01", "LYFTDATA_WORKER_API_KEY": key}
    host = site.worker_host("press-01", **given)
    worker = host.start("run", "worker")
    worker.wait_for("online")
    (old,) = operator.json("keys", "list")

    for arguments in (("--withdraw", old["kid"], "--yes"), ("--now", "--withdraw", old["kid"])):
        assert operator.run("keys", "rotate", *arguments).returncode == 2
    assert operator.json("keys", "list") == [old]
    operator.done("keys", "rotate", "--now", "--withdraw", old["kid"], "--yes")

    (new,) = operator.json("keys", "list")
    assert (new["state"], new["kid"] != old["kid"]) == ("signing", True)

    def signed_by():
        header = host.done("token").split(".")[0]
        return json.loads(decode_base64url(header))["kid"]

    until(lambda: signed_by() == new["kid"], "a token of the new key", every_s=0.5)
    assert site.status("press-01") == "online"
    assert worker.alive()
