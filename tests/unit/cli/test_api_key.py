"""`lyftdata api-key`."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _workers(operator):
    """Add the Workers for which keys are issued."""
    for name in ("press-01", "press-02"):
        operator.done("workers", "add", name, "--id", name)


def test_only_the_key_is_on_standard_output(operator):
    """Standard error says for which Workers it is; the list never has the key."""
    ended = operator.run("api-key", "issue", "press-keys", "--worker", "press-01", "--expires", "90d")

    assert ended.exit_code == 0
    assert ended.output.startswith("lyftdata_")
    assert ended.output.count("\n") == 1
    assert "API key press-keys issued: for press-01, until " in ended.errors
    assert ended.output.strip() not in operator.done("api-key", "list")


def test_a_key_is_written_to_a_new_file(operator, tmp_path):
    """It is not printed. An existing file is never overwritten, and then no key is issued."""
    file = tmp_path / "all.key"

    ended = operator.run("api-key", "issue", "all-keys", "--output", str(file))
    again = operator.run("api-key", "issue", "more-keys", "--output", str(file))

    assert (ended.exit_code, ended.output, file.stat().st_mode & 0o777) == (0, "", 0o600)
    assert again.exit_code == 1
    assert "no key is overwritten" in again.errors
    assert "more-keys" not in operator.done("api-key", "list")


def test_a_limited_key_is_allowed_for_more_workers(operator):
    """`show` lists all of them."""
    operator.done("api-key", "issue", "some-keys", "--worker", "press-01")

    ended = operator.run("api-key", "allow", "some-keys", "--worker", "press-02")

    assert ended.errors == "API key some-keys is for: press-01,press-02\n"
    assert "Workers        press-01,press-02" in operator.done("api-key", "show", "some-keys")


def test_a_rotation_shows_when_the_old_key_ends(operator):
    """`end-previous` ends it at once."""
    operator.done("api-key", "issue", "old-keys")

    ended = operator.run("api-key", "rotate", "old-keys", "--grace", "24h", "--yes")

    assert "API key old-keys rotated" in ended.errors
    (previous,) = operator.json("api-key", "show", "old-keys")["previous"]
    assert 86_000 < previous["ends_in_s"] <= 86_400
    assert "Still used by  no Worker" in operator.done("api-key", "show", "old-keys")
    ended = operator.run("api-key", "end-previous", "old-keys", "--yes")
    assert ended.errors == "API key old-keys: only generation 2 works\n"
    assert operator.json("api-key", "show", "old-keys")["previous"] == []


def test_a_revoked_key_is_shown_as_revoked(operator):
    """The command says how many Workers were disconnected."""
    operator.done("api-key", "issue", "lost-keys")

    ended = operator.run("api-key", "revoke", "lost-keys", "--yes")

    assert ended.errors == "API key lost-keys revoked; 0 Workers cut off\n"
    assert operator.json("api-key", "show", "lost-keys")["status"] == "revoked"


@pytest.mark.parametrize("command", ["revoke", "rotate", "end-previous"])
def test_disruptive_commands_need_confirmation(operator, command):
    """Without a terminal and `--yes` they exit with 2 and do nothing."""
    operator.run("api-key", "issue", "kept-keys")

    ended = operator.run("api-key", command, "kept-keys")

    assert ended.exit_code == 2
    assert "Pass --yes to confirm" in ended.errors
    assert operator.json("api-key", "show", "kept-keys")["status"] == "live"
