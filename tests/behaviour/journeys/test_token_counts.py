"""`lyftdata workers tokens`: how many tokens a Worker got in each hour."""


def test_an_operator_sees_how_many_tokens_a_worker_got(shared_site):
    """In the table, in JSON, and in `workers show`; a period longer than counts are kept is an error."""
    host = shared_site.worker_host("counted", LYFTDATA_WORKER_ID="counted")
    operator = shared_site.operator
    issued = operator.done("workers", "add", "counted", "--id", "counted", "--issue-key")
    host.environ["LYFTDATA_WORKER_API_KEY"] = issued.strip()
    for _ in range(3):
        host.done("token")

    counts = operator.json("workers", "tokens", "counted")
    shown = operator.run("workers", "tokens", "counted", "--within", "7d")
    too_far = operator.run("workers", "tokens", "counted", "--within", "31d")

    assert counts["total"] == sum(hour["tokens"] for hour in counts["hours"]) == 3
    assert shown.stdout.splitlines()[0].split() == ["HOUR", "(UTC)", "TOKENS"]
    assert shown.stderr == "3 tokens in all.\n"
    assert (too_far.returncode, "from 1h to 30d" in too_far.stderr) == (1, True)
    assert "Tokens in 24 hours" in operator.done("workers", "show", "counted")
