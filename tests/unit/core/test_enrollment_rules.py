"""The rules of an issued enrollment key: name, network and time."""

from datetime import timedelta

import pytest
from tests.builders import NOON

from lyftdata.core.enrollment_rules import (
    broken_rules,
    check_key_in_force,
    matches_pattern,
    parse_enrollment_key_name,
    parse_name_pattern,
    parse_networks,
)
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.records import EnrollmentKeyRecord, EnrollmentMode
from lyftdata.core.refusals import RefusedError


def key(**fields):
    """Return the record of an enrollment key."""
    return EnrollmentKeyRecord(
        public_id="AAAAAAAAAA",
        name="etl-hosts",
        public_key="x" * 43,
        digest=bytes(32),
        created_at=NOON,
        created_by="operator:admin",
        **fields,
    )


def refusal(record, *, address="10.4.1.2", now=NOON):
    """Return the code of the refusal, or None if the key is accepted."""
    try:
        check_key_in_force(record, now=now)
    except RefusedError as refused:
        return refused.code
    return next((broken.code for broken in broken_rules(record, address=address, worker_name="etl-1")), None)


@pytest.mark.parametrize(
    ("ahead", "code"), [(1, None), (0, "enrollment_key_expired"), (-1, "enrollment_key_expired")]
)
def test_an_enrollment_key_expires_at_its_expiry_time(ahead, code):
    """It is refused from that very second."""
    assert refusal(key(expires_at=NOON + timedelta(seconds=ahead))) == code


def test_a_revoked_enrollment_key_is_refused_as_revoked_even_if_it_has_expired():
    """The operator reads what was done, not what would have happened anyway."""
    assert (
        refusal(key(revoked_at=NOON, expires_at=NOON, networks=["192.0.2.0/24"])) == "enrollment_key_revoked"
    )


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("10.4.0.0", True),
        ("10.4.255.255", True),
        ("10.5.0.0", False),
        ("10.3.255.255", False),
        ("::ffff:10.4.1.2", True),
        ("::ffff:10.5.1.2", False),
        ("::10.4.1.2", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("2001:db8::1%eth0", True),
        ("unknown", False),
        ("", False),
    ],
)
def test_a_key_is_accepted_only_from_its_networks(address, is_allowed):
    """An IPv4-mapped IPv6 address counts as IPv4; an unknown address is refused."""
    record = key(networks=["10.4.0.0/16", "2001:db8::/32"])

    assert refusal(record, address=address) == (None if is_allowed else "enrollment_network_not_allowed")


@pytest.mark.parametrize("mode", list(EnrollmentMode))
def test_every_broken_rule_is_reported(mode):
    """In every mode, with the key's fingerprint and the claimed name."""
    record = key(networks=["192.0.2.0/24"], worker_name="press-*", mode=mode)

    broken = broken_rules(record, address="10.4.1.2", worker_name="etl-1")

    assert [(one.code, one.claimed_worker, one.enrollment_key) for one in broken] == [
        ("enrollment_network_not_allowed", "etl-1", record.fingerprint),
        ("enrollment_name_not_allowed", "etl-1", record.fingerprint),
    ]
    assert broken_rules(record, address="192.0.2.7", worker_name="press-1") == ()


@pytest.mark.parametrize(
    ("pattern", "fits", "others"),
    [
        ("etl-*", ["etl-1", "etl-", "etl-*"], ["etl", "Etl-1", "xetl-1", " etl-1"]),
        ("etl-??", ["etl-01", "etl-éé"], ["etl-1", "etl-001"]),
        ("a[bc]", ["a[bc]"], ["ab", "ac"]),
        ("a[!b]*", ["a[!b]c"], ["ac"]),
        ("*.example", ["host.example", ".example"], ["host_example", "host.example.net"]),
        ("a|b", ["a|b"], ["a", "b"]),
        ("(a+)+$", ["(a+)+$"], ["aaaa"]),
        ("*", ["anything", "ü", "a b"], []),
        ("press", ["press"], ["press1", "PRESS"]),
    ],
)
def test_a_pattern_has_two_wildcards(pattern, fits, others):
    """`*` and `?`; any other character stands for itself, case matters, and the whole name must match."""
    assert [name for name in [*fits, *others] if matches_pattern(name, pattern)] == fits


def test_no_pattern_takes_exponential_time():
    """Trying every way to divide the name among that many stars would take years."""
    assert not matches_pattern("a" * 64, "*a" * 31 + "*b")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([], []),
        (["10.4.0.0/16"], ["10.4.0.0/16"]),
        (["10.4.1.2"], ["10.4.1.2/32"]),
        (["2001:DB8::/32", "10.0.0.0/8", "10.0.0.0/8"], ["10.0.0.0/8", "2001:db8::/32"]),
        (["0.0.0.0/0", "::/0"], ["0.0.0.0/0", "::/0"]),
        ([" 10.4.0.0/16 "], ["10.4.0.0/16"]),
    ],
)
def test_networks_are_normalized(given, kept):
    """A bare address is a network of one."""
    assert parse_networks(given) == kept


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        ("10.4.7.9/16", "10.4.0.0/16"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("::ffff:10.4.0.0/112", "written as IPv4"),
        ("10.4.0.0/33", "must be like"),
        ("10.4", "must be like"),
        ("host.example", "must be like"),
        ("", "must be like"),
        ("010.4.0.0/16", "must be like"),
    ],
)
def test_an_ambiguous_network_is_rejected(network, reason):
    """Guessing its meaning could admit 65,536 hosts."""
    with pytest.raises(InvalidInputError, match=reason):
        parse_networks([network])


@pytest.mark.parametrize(
    "name", ["abcd", "a" * 51, "a b c d", "startup", "Startup", "etl/hosts", "étl-hosts"]
)
def test_an_invalid_name_of_a_key_is_rejected(name):
    """Names are 5 to 50 letters, digits, `-` and `_`; `startup` is reserved for the key from the settings."""
    with pytest.raises(InvalidInputError):
        parse_enrollment_key_name(name)


@pytest.mark.parametrize("pattern", ["", "   ", "a" * 65, "a\nb", "a\u202eb", "lyftdata_session_" + "a" * 40])
def test_a_pattern_must_be_valid_as_part_of_a_name(pattern):
    """Any other would match no name, or show operators something else than it is."""
    with pytest.raises(InvalidInputError):
        parse_name_pattern(pattern)


def test_a_pattern_is_normalized_to_nfc():
    """As names are, so that it matches however it was typed."""
    assert matches_pattern("\u00e9tl", parse_name_pattern("e\u0301*"))
