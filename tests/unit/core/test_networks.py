"""The network to which a caller's address belongs."""

import pytest

from lyftdata.core.networks import NetworkGroup, network_of_host


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("unknown", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_network_of_an_address_is_its_24_or_64(address, network):
    """IPv4 by /24, IPv6 by /64, and all of loopback, however the address is written."""
    assert network_of_host(address) == network


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.7", "192.0.2.250", True),
        ("192.0.2.7", "192.0.3.7", False),
        ("192.0.2.7", "2001:db8::1", False),
        ("127.0.0.1", "::1", True),
        ("192.0.2.7", "unknown", True),
        ("10.1.0.1", "10.2.0.1", True),
        ("10.1.0.1", "::ffff:10.2.0.1", True),
        ("10.1.0.1", "2001:db8:7::1", True),
        ("10.1.0.1", "192.0.2.7", False),
        ("10.1.0.1", "unknown", True),
    ],
)
def test_networks_of_the_same_group_count_as_one(one, other, is_same):
    """A change between two networks that an operator has listed raises no alarm; between a listed and another one it does."""
    group = NetworkGroup(["10.0.0.0/8", "2001:db8:7::/48"])

    assert group.is_same(one, other) is is_same
    assert group.is_same(other, one) is is_same
