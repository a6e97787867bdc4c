"""Whether every expected Worker is connected, and what those that were lost have in common."""

from datetime import timedelta

import msgspec
import pytest
from tests.builders import NOON, worker

from lyftdata.core.fleet_verdict import (
    Facts,
    Level,
    Presence,
    SessionEndFacts,
    Trait,
    TraitKind,
    find_common,
    host_prefixes,
    is_expected,
    judge,
    presence_of,
)
from lyftdata.core.records import Approval

STARTED = NOON - timedelta(days=1)


def minutes(*before):
    """Return the times so many minutes before noon."""
    return [NOON - timedelta(minutes=number) for number in before]


def test_a_worker_seen_within_seven_days_is_expected():
    """And one that was not is not, whatever its entry says."""
    assert is_expected(worker("press-01"), seen_recently=True)
    assert not is_expected(worker("press-01"), seen_recently=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"enabled": False},
        {"approval": Approval.PENDING},
        {"superseded_by": "press-02"},
        {"archived_at": NOON},
        {"labels": {"always": "no"}},
    ],
)
def test_who_may_not_come_in_is_not_expected(changes):
    """A disabled, pending, superseded or archived entry, and one that is labelled as not always there."""
    assert not is_expected(msgspec.structs.replace(worker("press-01"), **changes), seen_recently=True)


@pytest.mark.parametrize("labels", [{"always": "yes"}, {"always": ""}, {"sometimes": "no"}])
def test_other_labels_take_no_worker_out(labels):
    """Only the label `always=no` says that a Worker comes and goes."""
    assert is_expected(msgspec.structs.replace(worker("press-01"), labels=labels), seen_recently=True)


@pytest.mark.parametrize(
    ("end", "age", "presence"),
    [
        ("lost", timedelta(hours=1), Presence.LOST),
        ("lost", timedelta(hours=1, seconds=1), Presence.AWAY),
        ("signed_off", timedelta(minutes=1), Presence.AWAY),
        ("api_key_expired", timedelta(minutes=1), Presence.LOST),
        ("server_stopped", timedelta(seconds=119), Presence.RETURNING),
        ("server_stopped", timedelta(seconds=120), Presence.LOST),
        ("server_crashed", timedelta(seconds=119), Presence.RETURNING),
    ],
)
def test_how_a_worker_that_is_not_connected_stands(end, age, presence):
    """Lost within the hour unless it signed off; Workers of a Server that stopped have two minutes to reconnect."""
    last = SessionEndFacts(NOON - age, end)
    assert presence_of(last, now=NOON, server_started_at=STARTED) is presence


def test_a_worker_whose_last_session_is_not_known_is_away():
    """It ended more than an hour ago."""
    assert presence_of(None, now=NOON, server_started_at=STARTED) is Presence.AWAY


def test_workers_return_after_their_server_has_started_again():
    """While it was down for half an hour they could not; they have two minutes from its start."""
    last = SessionEndFacts(NOON - timedelta(minutes=30), "server_crashed")
    for age, presence in ((119, Presence.RETURNING), (120, Presence.LOST)):
        started = NOON - timedelta(seconds=age)
        assert presence_of(last, now=NOON, server_started_at=started) is presence


@pytest.mark.parametrize(
    ("online", "lost", "away", "level"),
    [
        (0, 0, 0, Level.NONE),
        (1, 0, 0, Level.GOOD),
        (99, 0, 1, Level.WARNING),
        (99, 1, 0, Level.WARNING),
        (3, 1, 0, Level.CRITICAL),
        (95, 5, 0, Level.CRITICAL),
        (96, 4, 0, Level.WARNING),
        (9_990, 10, 0, Level.CRITICAL),
        (9_991, 9, 0, Level.WARNING),
        (0, 1, 0, Level.CRITICAL),
    ],
)
def test_how_pressing_it_is(online, lost, away, level):
    """Green only if all are here; red from ten lost Workers or one in twenty on."""
    verdict = judge(online=online, returning=0, away=away, lost_at=[NOON] * lost)
    assert verdict.level is level
    assert verdict.expected == online + lost + away


def test_since_when_most_were_lost():
    """A single Worker lost long before does not make an outage of four minutes one of an hour."""
    verdict = judge(online=5, returning=0, away=0, lost_at=minutes(55, 4, 3, 3, 2))
    assert verdict.since == NOON - timedelta(minutes=55)
    assert verdict.most_since == NOON - timedelta(minutes=4)
    assert verdict.most == 4


def fleet(number, **facts):
    """Return the facts of so many Workers."""
    return [Facts(**facts) for _ in range(number)]


def traits(lost, rest):
    """Return what is found in common, as kind and value."""
    return [(shared.trait.kind.value, shared.trait.value) for shared in find_common(lost, rest)]


def test_what_all_have_tells_nothing():
    """A label of the whole fleet is no reason for the loss of a part of it."""
    shared = {"app": "press"}
    lost = fleet(4, labels=shared | {"zone": "eu-2"})
    rest = fleet(20, labels=shared | {"zone": "eu-1"})
    assert traits(lost, rest) == [("label", "zone=eu-2")]


@pytest.mark.parametrize(("having", "found"), [(8, [("label", "zone=eu-2")]), (7, [])])
def test_four_of_five_must_share_it(having, found):
    """80 % are enough, and less is not."""
    lost = fleet(having, labels={"zone": "eu-2"}) + fleet(10 - having)
    assert traits(lost, fleet(10)) == found


@pytest.mark.parametrize(("having", "found"), [(5, [("label", "zone=eu-2")]), (6, [])])
def test_at_most_half_as_many_of_the_others_may_have_it(having, found):
    """What more than half as large a part of the connected Workers has does not tell the lost ones apart."""
    rest = fleet(having, labels={"zone": "eu-2"}) + fleet(10 - having)
    assert traits(fleet(3, labels={"zone": "eu-2"}), rest) == found


def test_every_kind_of_trait_is_found():
    """Labels without a value, networks, keys, beginnings of host names, versions, and why the Server ended the session."""
    lost = [
        Facts(
            labels={"gpu": ""},
            address=f"10.2.3.{n}",
            key="press-keys",
            host=f"rack9-n{n}",
            version="1.3",
            end="api_key_expired",
        )
        for n in range(3)
    ]
    rest = [Facts(address="10.2.4.1", key="other", host="rack1-n1", version="1.4")]
    for shared in (Trait(TraitKind.LABEL, "gpu"), Trait(TraitKind.KEY, "press-keys")):
        assert shared in [one.trait for one in find_common(lost, rest)]
    for kind, value in (("network", "10.2.3.0/24"), ("host", "rack9-n"), ("version", "1.3")):
        only = {"network": "address", "host": "host", "version": "version"}[kind]
        bare = [Facts(**{only: getattr(facts, only)}) for facts in lost]
        assert traits(bare, rest) == [(kind, value)]


def test_two_lost_workers_have_nothing_in_common():
    """Any two share something by chance."""
    assert traits(fleet(2, labels={"zone": "eu-2"}), fleet(10)) == []


def test_a_whole_fleet_that_is_lost_has_nothing_in_common():
    """Without others nothing tells the lost ones apart."""
    assert traits(fleet(10, labels={"zone": "eu-2"}), []) == []


def test_workers_behind_one_address_are_in_no_network():
    """Loopback and what is not an address tell nothing."""
    for address in ("127.0.0.1", "::1", "unix", ""):
        assert traits(fleet(3, address=address), fleet(3, address="10.0.0.1")) == []


@pytest.mark.parametrize(
    ("host", "prefixes"),
    [
        ("rack9-n12", ["rack", "rack9-", "rack9-n"]),
        ("W1.example", ["w", "w1."]),
        ("press", []),
        ("", []),
    ],
)
def test_beginnings_of_host_names(host, prefixes):
    """They end where a name's parts do, and at the numbers that count hosts."""
    assert list(host_prefixes(host)) == prefixes
