"""Signing keys."""

from datetime import timedelta

import msgspec
from tests.builders import NOON

from lyftdata.core.records import (
    SigningKeyRecord,
)
from lyftdata.store.tables import (
    signing_keys,
)


async def test_signing_keys_are_listed_in_the_order_in_which_they_sign(store):
    """The encrypted key is read back byte by byte."""
    keys = [
        SigningKeyRecord(
            kid=kid,
            algorithm="ES256",
            encrypted_private_key=b"\x00" + kid.encode(),
            created_at=NOON,
            signs_from=at,
        )
        for kid, at in (("late", NOON + timedelta(days=1)), ("early", NOON))
    ]
    for key in keys:
        await store.write(lambda tx, key=key: signing_keys.insert_signing_key(tx, key))
    await store.write(lambda tx: signing_keys.set_retires_at(tx, "early", NOON))

    found = await store.read(signing_keys.all_signing_keys)
    assert found == [msgspec.structs.replace(keys[1], retires_at=NOON), keys[0]]
    await store.write(lambda tx: signing_keys.delete_signing_key(tx, "early"))
    assert len(await store.read(signing_keys.all_signing_keys)) == 1
