"""Which addresses count as internal."""

import ipaddress

import pytest

from lyftdata.core.internal_addresses import is_internal


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "168.63.129.16",
        "100.64.0.1",
        "100.100.100.200",
        "192.0.0.8",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fec0::1",
        "feff::1",
        "5f00::1",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001:0:7f00:1::",
    ],
)
def test_internal_addresses(address):
    """Loopback, link-local, private, shared and reserved ones, in every notation."""
    assert is_internal(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.215.14", "172.15.255.255", "172.32.0.1", "2606:4700::1111", "64:ff9b::101:101"],
)
def test_public_addresses(address):
    """Including those next to a private network, and a public one behind NAT64."""
    assert not is_internal(ipaddress.ip_address(address))


def test_a_mapped_public_address_is_public():
    """The kernel connects to the embedded IPv4 address."""
    assert not is_internal(ipaddress.ip_address("::ffff:1.1.1.1"))
