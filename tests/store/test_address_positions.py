"""Many addresses compared with a network."""

from hypothesis import given
from hypothesis import strategies as st

from lyftdata.core.networks import is_in, parse_network
from lyftdata.store.address_positions import are_in, positions_in

ADDRESSES = st.one_of(
    st.ip_addresses().map(str),
    st.builds("10.{}.{}.{}".format, *[st.sampled_from((0, 1, 15, 16, 200, 255))] * 3),
    st.builds("::ffff:10.{}.0.7".format, st.sampled_from((0, 16))),
    st.sampled_from(
        ("", "unknown", "10.1", "fe80::1%eth0", "2001:db8::7", "::ffff:a00:1", "::1", "press.example")
    ),
)
NETWORKS = st.one_of(
    st.builds("10.{}.0.0/{}".format, st.sampled_from((0, 16, 200)), st.integers(0, 32)),
    st.builds("2001:db8::/{}".format, st.integers(0, 128)),
    st.builds("::ffff:0:0/{}".format, st.integers(80, 128)),
).map(parse_network)


@given(st.lists(ADDRESSES, max_size=8), NETWORKS)
def test_comparing_many_addresses_equals_comparing_each(addresses, network):
    """In whatever notation, and also for text that is not an address."""
    alone = [place for place, address in enumerate(addresses) if is_in(address, network)]

    assert positions_in(addresses, network) == alone


@given(st.lists(ADDRESSES, max_size=8), st.lists(NETWORKS, min_size=1, max_size=3))
def test_an_address_is_matched_against_several_networks(addresses, networks):
    """One matching network is enough."""
    alone = [any(is_in(address, network) for network in networks) for address in addresses]

    assert are_in(addresses, networks) == alone
