"""An API key is rotated without downtime: who lags is listed, and the old key ends on command or by itself."""

from datetime import UTC, datetime, timedelta


def test_an_api_key_is_rotated_with_a_deadline(plain_site):
    """Two Workers share a key; one gets the new key in time, the other is cut off; then the next old key ends by itself."""
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

    until = datetime.now(UTC) + timedelta(hours=12)
    second = operator.done("api-key", "rotate", "press-keys", "--until", until.isoformat(), "--yes").strip()
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
