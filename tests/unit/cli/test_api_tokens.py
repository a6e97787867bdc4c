"""`lyftdata operators token issue`, `list`, `show` and `revoke`, and commands that use a token."""

import pytest
from tests.deployment import PASSWORD


@pytest.fixture(scope="module")
def ada(operator):
    """Return the admin's host, with the first password already replaced."""
    operator.done("password", "--password-stdin", stdin=f"{PASSWORD}\nxxx {PASSWORD}\n")
    return operator


@pytest.fixture
def pipeline(listening, tmp_path):
    """Return a host on which no operator has signed in."""
    return listening.worker_host(f"pipeline-{tmp_path.name}")


def test_only_the_token_is_on_standard_output(ada):
    """Role and expiry go to standard error."""
    ended = ada.run("operators", "token", "issue", "ci-shown", "--role", "viewer")

    assert ended.exit_code == 0, ended.errors
    assert ended.output.startswith("lyftdata_token_")
    assert ended.output.count("\n") == 1
    assert "API token ci-shown issued: role viewer, until " in ended.errors
    assert ended.output.strip() not in ada.done("operators", "token", "list")
    assert ended.output.strip() not in ada.done("operators", "token", "show", "ci-shown")


def test_a_pipeline_uses_a_token_from_a_variable_or_a_file(ada, pipeline):
    """Without signing in; either one is enough."""
    ada.done("operators", "token", "issue", "ci-used", "--role", "admin", "--output", "ci.token")
    file = ada.home / "ci.token"
    assert file.stat().st_mode & 0o777 == 0o600

    by_file = pipeline.run("workers", "list", LYFTDATA_API_TOKEN_FILE=str(file))
    by_variable = pipeline.run("workers", "add", "made-by-ci", LYFTDATA_API_TOKEN=file.read_text().strip())

    assert (by_file.exit_code, by_variable.exit_code) == (0, 0), by_file.errors + by_variable.errors
    (event,) = ada.json("audit", "list", "--by", "api_token:ci-used")
    assert (event["action"], event["actor"]) == ("worker.created", "api_token:ci-used")
    assert ada.json("operators", "token", "show", "ci-used")["last_used_from"] in {"127.0.0.1", None}


def test_a_pipeline_without_a_home_directory_needs_only_the_token(ada, pipeline):
    """A container has no place to store a session, and needs none."""
    text = ada.done("operators", "token", "issue", "ci-homeless", "--role", "viewer").strip()

    ended = pipeline.run("workers", "list", LYFTDATA_API_TOKEN=text, HOME="/nonexistent")

    assert ended.exit_code == 0, ended.errors


def test_a_revoked_token_is_rejected_with_the_reason(ada, pipeline):
    """Its holder has proved possession, and so may learn the reason."""
    text = ada.done("operators", "token", "issue", "ci-revoked", "--role", "viewer").strip()

    ended = ada.run("operators", "token", "revoke", "ci-revoked", "--yes")

    assert ended.errors == "API token ci-revoked revoked\n"
    assert ada.json("operators", "token", "show", "ci-revoked")["status"] == "revoked"
    rejected = pipeline.run("workers", "list", LYFTDATA_API_TOKEN=text)
    assert rejected.exit_code == 1
    assert "The API token 'ci-revoked' was revoked." in rejected.errors
    assert text not in rejected.errors


def test_revoking_a_token_needs_confirmation(ada):
    """Without a terminal and `--yes` nothing is done; a mistyped name is reported."""
    ada.done("operators", "token", "issue", "ci-asked", "--role", "viewer")

    assert ada.run("operators", "token", "revoke", "ci-asked").exit_code == 2
    assert ada.json("operators", "token", "show", "ci-asked")["status"] == "live"
    assert (
        "There is no API token 'ci-nope'."
        in ada.run("operators", "token", "revoke", "ci-nope", "--yes").errors
    )


def test_signing_in_and_out_ignores_the_token(ada, pipeline):
    """These commands concern the operator; signing in says that other commands will use the token."""
    text = ada.done("operators", "token", "issue", "ci-login", "--role", "viewer").strip()

    signed_in = pipeline.run(
        "login", "admin", "--password-stdin", stdin=f"xxx {PASSWORD}\n", LYFTDATA_API_TOKEN=text
    )
    signed_out = pipeline.run("logout", LYFTDATA_API_TOKEN=text)

    assert "LYFTDATA_API_TOKEN is set" in signed_in.errors
    assert (signed_in.exit_code, signed_out.exit_code) == (0, 0), signed_out.errors
    assert pipeline.run("workers", "list", LYFTDATA_API_TOKEN=text).exit_code == 0


def test_a_token_cannot_manage_operators(ada, pipeline):
    """The message names the denied action."""
    text = ada.done("operators", "token", "issue", "ci-escalate", "--role", "admin").strip()

    ended = pipeline.run("operators", "add", "eve", "--role", "admin", LYFTDATA_API_TOKEN=text)

    assert ended.exit_code == 1
    assert "An API token may not do this (operators.write)." in ended.errors


@pytest.mark.parametrize("flag", ["--token", "--api-token=lyftdata_token_x"])
def test_a_token_on_the_command_line_is_rejected(pipeline, flag):
    """Every user of the machine could read it there."""
    with pytest.raises(SystemExit):
        pipeline.run("workers", "list", flag)


def test_an_invalid_lifetime_is_rejected(ada):
    """One that is not a duration before any request; one that is too long by the Server."""
    assert (
        ada.run("operators", "token", "issue", "ci-life", "--role", "viewer", "--expires", "90").exit_code
        == 2
    )
    too_long = ada.run("operators", "token", "issue", "ci-life", "--role", "viewer", "--expires", "367d")
    assert (too_long.exit_code, "expires_in_s" in too_long.errors) == (1, True)
