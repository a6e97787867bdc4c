"""What alerts say about copied identities."""

from datetime import timedelta
from typing import Any

import pytest
from tests.builders import NOON

from lyftdata.core.records import IdentityCopyRecord
from lyftdata.server.admin.alerts.clients import copied_identities


def copy_of(worker_id: str, **fields: Any) -> IdentityCopyRecord:
    """Return a copy that was refused at noon."""
    given: dict[str, Any] = {
        "reference": "ref-1",
        "worker_id": worker_id,
        "found_at": NOON,
        "last_at": NOON,
        "host": "rack9",
        "address": "203.0.113.9",
        "other_host": "",
        "other_address": "203.0.113.1",
    }
    return IdentityCopyRecord(**(given | fields))


@pytest.mark.parametrize(
    ("minutes", "shown"), [(60, ["The identity of press is used from a second directory"]), (61, [])]
)
async def test_a_copy_raises_an_alert_for_an_hour_after_its_last_request(server, admin, minutes, shown):
    """Both sides of the limit; after that, only its Worker's page shows it."""
    await server.http.post("/api/workers", json={"name": "press", "id": "w-1"}, headers=admin)
    now = NOON + timedelta(minutes=minutes)
    found = copied_identities([copy_of("w-1")], server.services.directory, now)
    assert [one.title for one in found] == shown


async def test_an_alert_about_a_copy_names_both_hosts(server, admin):
    """An unknown host is shown as a question mark."""
    await server.http.post("/api/workers", json={"name": "press", "id": "w-1"}, headers=admin)
    found = copied_identities([copy_of("w-1")], server.services.directory, NOON)
    assert [one.detail for one in found] == ["Accepted: ? (203.0.113.1). Refused: rack9 (203.0.113.9)."]


async def test_a_copy_of_a_deleted_worker_raises_no_alert(server):
    """No decision about it is possible any more."""
    assert copied_identities([copy_of("w-gone")], server.services.directory, NOON) == []
