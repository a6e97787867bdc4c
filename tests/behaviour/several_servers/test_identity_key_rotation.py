"""Rotation of identity keys with several Servers: each step may take place at another one."""

import secrets
from datetime import timedelta

import pytest
from tests.builders import NOON
from tests.identity_directories import IdentityDirectory
from tests.unit.server.admission.test_identity_key_rotation import register

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.refusals import WrongAssertionError
from lyftdata.core.signature_counter import SignatureNumber
from lyftdata.server.admission.replay import Ticket, spend_everywhere
from lyftdata.server.admission.signature_counters import Counted
from lyftdata.store.tables import signature_counters


async def test_each_step_of_a_rotation_may_take_place_at_another_server(two, tmp_path):
    """The new key is accepted at both Servers, and the old one is refused at both."""
    first, second = two
    host = await IdentityDirectory.enroll(first, tmp_path / "host")
    assert (await host.token(second)).status_code == 200
    old, new = host.key, generate_identity_key()
    assert (await register(first, host, new)).status_code == 200
    host.key = new

    assert (await host.token(second)).status_code == 200
    assert (await host.token(first)).status_code == 200
    host.key = old
    for server in two:
        assert (await host.token(server)).status_code == 401


async def test_a_signature_with_a_replaced_key_does_not_restart_the_counter(two, tmp_path):
    """A Server that does not know of the rotation yet finds it in the transaction that counts the signature."""
    first, second = two
    host = await IdentityDirectory.enroll(first, tmp_path / "host")
    old, new = host.key, generate_identity_key()
    assert (await register(first, host, new)).status_code == 200
    host.key = new
    assert (await host.token(first)).status_code == 200
    store = second.services.store
    before = await store.read(lambda conn: signature_counters.find_counters(conn, [host.worker_id]))
    late = Counted(
        host.worker_id, old.public.thumbprint, SignatureNumber(number=900, at_ms=900), "192.0.2.1", NOON
    )
    ticket = Ticket(secrets.token_bytes(32), second.clock() + timedelta(minutes=5), host.worker_id, late)

    with pytest.raises(WrongAssertionError):
        await spend_everywhere(store, ticket)

    after = await store.read(lambda conn: signature_counters.find_counters(conn, [host.worker_id]))
    assert after == before
    assert after[host.worker_id].thumbprint == new.public.thumbprint
