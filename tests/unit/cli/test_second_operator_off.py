"""`lyftdata admin second-operator-off` on the Server's host."""

from tests.unit.cli.test_requests import ben

__all__ = ["ben"]


def test_the_host_turns_the_second_operator_off(listening, operator, ben):
    """At once, with an audit event by `host`; if it is already off, the command fails."""
    assert operator.run("workers", "delete", "waiting-1", "--yes").exit_code == 4
    assert listening.host.run("admin", "second-operator-off").exit_code == 2

    ended = listening.host.run("admin", "second-operator-off", "--yes")

    assert ended.exit_code == 0, ended.errors
    assert operator.json("requests", "rules")["enabled"] is False
    log = operator.json("audit", "list", "--action", "second_operator.turned_off")
    assert (log[0]["actor"], set(log[0]["details"])) == ("host", {"host", "user"})
    assert listening.host.run("admin", "second-operator-off", "--yes").exit_code == 1
    operator.done("workers", "delete", "waiting-1", "--yes")
