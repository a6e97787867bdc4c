"""`lyftdata resources`."""

import pytest


@pytest.fixture(scope="module")
def press(operator):
    """Return the name of a resource for which a Worker may have tokens."""
    operator.done("workers", "add", "press-01", "--id", "press-01")
    operator.done(
        "resources", "add", "press", "--audience", "https://press.example.com", "--worker", "press-01"
    )
    return "press"


def test_adding_a_resource_says_for_how_many_workers_it_is(operator):
    """Without a selection it is for none."""
    ended = operator.run("resources", "add", "empty", "--audience", "https://empty.example.com")

    assert (ended.exit_code, ended.output) == (0, "")
    assert ended.errors == "Resource added: empty, for no Workers at present\n"


def test_a_resource_can_be_changed_and_shown(operator, press):
    """`set` replaces the given fields and keeps the others."""
    operator.done("resources", "set", press, "--scope", "read", "--scope", "write")

    shown = operator.done("resources", "show", press)
    assert "Scopes        read write" in shown
    assert "For           press-01" in shown
    assert "https://press.example.com" in operator.done("resources", "list")


def test_a_services_key_is_replaced_only_on_purpose(operator, press, tmp_path):
    """A second `issue-key` ends the key in use, so it needs confirmation, or `--yes` without a terminal."""
    kept = tmp_path / "press.key"
    first = operator.done("resources", "issue-key", press).strip()

    refused = operator.run("resources", "issue-key", press, "--output", str(kept))

    assert (refused.exit_code, refused.output, kept.exists()) == (2, "", False)
    assert "stops working at once" in refused.errors
    replaced = operator.run("resources", "issue-key", press, "--output", str(kept), "--yes")
    assert (replaced.exit_code, replaced.output) == (0, ""), replaced.errors
    assert kept.read_text().strip() != first


def test_a_deleted_resource_is_gone(operator):
    """The JSON says so too."""
    operator.done("resources", "add", "brief", "--audience", "https://brief.example.com")

    assert operator.json("resources", "delete", "brief", "--yes") == {"name": "brief", "deleted": True}
    assert "brief" not in {resource["name"] for resource in operator.json("resources", "list")}
