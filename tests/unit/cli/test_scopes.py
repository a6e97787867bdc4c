"""`--label` of `lyftdata operators add`, `set-scope` and `token issue`."""

import click
import pytest
from tests.deployment import PASSWORD
from tests.unit.cli.conftest import CommandHost

from lyftdata.cli.scopes import scope_field


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        ([], {}),
        (["team=etl"], {"scope": {"team": "etl"}}),
        (["team=etl", "gpu"], {"scope": {"team": "etl", "gpu": ""}}),
    ],
)
def test_labels_become_one_field_of_the_request(labels, field):
    """Without a label there is no field, and so no limit is requested."""
    assert scope_field(labels) == field


@pytest.mark.parametrize("labels", [["team=etl", "team=ops"], ["=x"], ["team=\x01"]])
def test_an_invalid_label_is_a_usage_error(labels):
    """Before any request."""
    with pytest.raises(click.UsageError, match="--label"):
        scope_field(labels)


def test_an_operator_and_a_token_can_be_limited_to_labels(listening, operator, tmp_path):
    """The lists show the limit, and the operator sees only Workers within it until it is removed."""
    operator.done("workers", "add", "etl", "--id", "etl-1", "--label", "team=etl")
    operator.done("workers", "add", "ops", "--id", "ops-1", "--label", "team=ops")
    first = operator.done("operators", "add", "anna", "--role", "admin", "--label", "team=etl").strip()
    anna = CommandHost(tmp_path / "anna", LYFTDATA_URL=listening.url)
    anna.done("login", "anna", "--password-stdin", stdin=f"{first}\n")
    anna.done("password", "--password-stdin", stdin=f"{first}\nxxx {PASSWORD}\n")

    assert [worker["id"] for worker in anna.json("workers", "list")] == ["etl-1"]
    assert anna.run("workers", "show", "ops-1").exit_code != 0
    assert anna.run("operators", "list").exit_code != 0
    issued = anna.run("operators", "token", "issue", "etl-eu", "--role", "viewer", "--label", "zone=eu")
    assert "limited to team=etl,zone=eu, until " in issued.errors
    assert "team=etl,zone=eu" in anna.done("operators", "token", "list")
    listed = {one["name"]: one["scope"] for one in operator.json("operators", "list")}
    assert (listed["admin"], listed["anna"]) == (None, {"team": "etl"})

    ended = operator.run("operators", "set-scope", "anna", "--none")

    assert ended.errors == "Operator anna has no limit now\n"
    anna.done("login", "anna", "--password-stdin", stdin=f"xxx {PASSWORD}\n")
    assert {worker["id"] for worker in anna.json("workers", "list")} >= {"etl-1", "ops-1"}


def test_a_limit_is_either_set_or_removed(operator):
    """Both, or neither, is a usage error."""
    assert operator.run("operators", "set-scope", "admin").exit_code == 2
    assert operator.run("operators", "set-scope", "admin", "--none", "--label", "a=b").exit_code == 2
