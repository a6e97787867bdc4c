"""Which addresses the Server connects to, whatever a name resolves to."""

import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from lyftdata.core.event_destinations import Endpoint
from lyftdata.server.delivery.addresses import AllowedAddresses
from lyftdata.server.delivery.messages import DeliveryError

PUBLIC = "93.184.215.14"


async def found(addresses, *, allowed=(), is_encrypted=True):
    """Return at which of these addresses a name may be reached."""
    networks = [ipaddress.ip_network(network) for network in allowed]
    with ThreadPoolExecutor(1) as threads:
        known = AllowedAddresses(networks, threads=threads, resolve=lambda *_: addresses)
        return await known.find(Endpoint("h.example", 443, is_encrypted))


async def test_internal_addresses_of_a_name_are_skipped():
    """A name with public and internal addresses is reached only at the public ones."""
    assert await found(["10.0.0.1", PUBLIC, "::1", "169.254.169.254"]) == [PUBLIC]


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::ffff:127.0.0.1", "fe80::1%eth0", "169.254.169.254", "no address"]
)
async def test_a_name_with_only_internal_addresses_is_not_reached(address):
    """The error names the setting that would allow it, and no address."""
    with pytest.raises(DeliveryError, match="LYFTDATA_EVENTS_ALLOWED_NETWORKS") as refused:
        await found([address])
    assert address not in str(refused.value)


async def test_a_network_that_the_setting_allows_is_reached():
    """It and no other, with or without encryption."""
    for is_encrypted in (True, False):
        assert await found(
            ["10.1.2.3", "10.2.2.3", "::ffff:10.1.0.9"], allowed=["10.1.0.0/16"], is_encrypted=is_encrypted
        ) == ["10.1.2.3", "::ffff:10.1.0.9"]


async def test_nothing_is_sent_unencrypted_over_the_internet():
    """A public address is reached only by HTTPS or TLS."""
    with pytest.raises(DeliveryError, match="without encryption"):
        await found([PUBLIC], is_encrypted=False)


async def test_a_name_that_does_not_exist_is_an_error_of_the_delivery():
    """The error says only that it cannot be resolved."""

    def resolve(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with ThreadPoolExecutor(1) as threads:
        known = AllowedAddresses([], threads=threads, resolve=resolve)
        with pytest.raises(DeliveryError, match="cannot be resolved"):
            await known.find(Endpoint("nothing.invalid", 443, is_encrypted=True))
