"""Which agent versions a policy warns and refuses, and from when."""

from datetime import datetime, timedelta

import pytest
from tests.builders import NOON

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.fleet_policy import FleetPolicy, make_policy, parse_refuse_from

FROM = NOON + timedelta(days=30)


def policy(*, warn_below="1.4", refuse_below="1.2", refuse_from=FROM):
    """Return a policy that warns below 1.4 and refuses below 1.2 from `FROM`."""
    record = make_policy(
        warn_below=warn_below, refuse_below=refuse_below, refuse_from=refuse_from, at=NOON, by="operator:ada"
    )
    return FleetPolicy(record)


@pytest.mark.parametrize(
    ("version", "before", "after"),
    [
        ("1.4", "current", "current"),
        ("1.4.0", "current", "current"),
        ("1.4rc1", "warned", "warned"),
        ("1.3.9", "warned", "warned"),
        ("1.2", "warned", "warned"),
        ("1.2.dev1", "warned", "refused"),
        ("1.1.9", "warned", "refused"),
        ("", "unknown", "unknown"),
        ("nonsense", "unknown", "unknown"),
    ],
)
def test_a_versions_standing_depends_on_its_number_and_the_time(version, before, after):
    """To the second; an agent without a valid version is neither warned nor refused."""
    assert policy().standing_of(version, now=FROM - timedelta(seconds=1)) == before
    assert policy().standing_of(version, now=FROM) == after


def test_a_policy_without_a_time_refuses_at_once():
    """One that only warns never refuses."""
    assert policy(refuse_from=None).standing_of("1.1", now=NOON) == "refused"
    warns = policy(refuse_below="", refuse_from=None)
    assert warns.standing_of("0.1", now=FROM + timedelta(days=9_999)) == "warned"
    assert (warns.refused_from("0.1"), policy().refused_from("1.1")) == (None, FROM)


@pytest.mark.parametrize(
    ("versions", "minimum"), [(("1.4", "1.2"), "1.4"), (("", "1.2"), "1.2"), (("1.10", ""), "1.10")]
)
def test_the_minimum_is_neither_warned_nor_refused(versions, minimum):
    """It is the version to which an agent is asked to update."""
    warn_below, refuse_below = versions
    found = policy(warn_below=warn_below, refuse_below=refuse_below, refuse_from=None)
    assert found.minimum == minimum
    assert found.standing_of(minimum, now=FROM) == "current"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"warn_below": "", "refuse_below": "", "refuse_from": None}, "warn_below"),
        ({"warn_below": "1.4", "refuse_below": "", "refuse_from": FROM}, "from"),
        ({"warn_below": "1.1", "refuse_below": "1.2", "refuse_from": None}, "warn_below"),
        ({"warn_below": "latest"}, "warn_below"),
        ({"refuse_below": "1.2\n3"}, "refuse_below"),
        ({"refuse_below": "1." * 20}, "refuse_below"),
    ],
)
def test_an_invalid_policy_is_rejected(given, field):
    """The error names the field."""
    with pytest.raises(InvalidInputError) as caught:
        policy(**given)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2027-03-01", "2027-03-01T00:00:00+00:00"),
        ("2027-03-01T06:00Z", "2027-03-01T06:00:00+00:00"),
        ("2027-03-01 07:00+01:00", "2027-03-01T06:00:00+00:00"),
    ],
)
def test_a_date_means_its_beginning_in_utc(text, iso):
    """A time without a zone is UTC too."""
    assert parse_refuse_from(text) == datetime.fromisoformat(iso)


@pytest.mark.parametrize("text", ["tomorrow", "2027-02-30", "0001-01-01T00:00+14:00"])
def test_an_invalid_time_is_rejected(text):
    """Also one that is out of range in UTC."""
    with pytest.raises(InvalidInputError):
        parse_refuse_from(text)


def test_an_empty_time_means_at_once():
    """Like omitting the option on the command line."""
    assert parse_refuse_from(" ") is None
