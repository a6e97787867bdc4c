"""`lyftdata admin second-operator-off`, on the Server's host."""

from tests.unit.cli.test_requests import ben

__all__ = ["ben"]


def test_the_host_turns_it_off(listening, operator, ben):
    """At once, with an event by `host`; where it is off already, that is said."""
    assert operator.run("workers", "delete", "waiting-1", "--yes").exit_code == 4
    assert listening.host.run("admin", "second-operator-off").exit_code == 2

    ended = listening.host.run("admin", "second-operator-off", "--yes")

    assert ended.exit_code == 0, ended.errors
    assert operator.json("requests", "rules")["enabled"] is False
    log = operator.json("audit", "list", "--action", "second_operator.turned_off")
    assert (log[0]["actor"], set(log[0]["details"])) == ("host", {"host", "user"})
    assert listening.host.run("admin", "second-operator-off", "--yes").exit_code == 1
    operator.done("workers", "delete", "waiting-1", "--yes")
