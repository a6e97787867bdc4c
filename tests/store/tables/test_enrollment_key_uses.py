"""When enrollment keys were last used."""

from datetime import timedelta

from tests.builders import NOON

from lyftdata.store.tables import (
    enrollment_key_uses,
)


async def test_the_latest_use_of_an_enrollment_key_is_stored(store):
    """A later use recorded by another Server stays; an unused key has no entry."""
    later = NOON + timedelta(seconds=1)
    for uses in ({"aa": NOON}, {"aa": later, "bb": NOON}, {"aa": NOON}):
        await store.write(lambda tx, uses=uses: enrollment_key_uses.touch_last_used(tx, uses))

    found = await store.read(lambda conn: enrollment_key_uses.last_used(conn, ["aa", "bb", "cc"]))
    assert found == {"aa": later, "bb": NOON}
