"""Clients that register again at each start do not accumulate: they are grouped, limited and removed, with an alert; others are not affected."""

from datetime import timedelta

import pytest
from tests.builders import ENROLLMENT_KEY

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.server.admin import repeated_registrations
from lyftdata.server.runtime.background import look_for_repeated
from lyftdata.server.runtime.settings_values import parse_replaced_kept_for


async def register(server, name, *, address="10.4.0.9", credential=ENROLLMENT_KEY):
    """Register from an address, as a third-party client does; return ID and key."""
    key = generate_identity_key()
    body = {"client_name": name, "jwks": {"keys": [key.public.as_dict()]}}
    async with server.from_address(address) as http:
        answer = await http.post(
            "/oauth2/register", json=body, headers={"Authorization": f"Bearer {credential}"}
        )
    assert answer.status_code == 201, answer.text
    return answer.json()["client_id"], key


async def register_repeatedly(server, count, name="reports-{:04x}a1b2c3"):
    """Start a client so many times, five minutes apart, and use each registration once; return the IDs."""
    made = []
    for number in range(count):
        worker_id, key = await register(server, name.format(number))
        assert (await server.token_by_assertion(server.assertion(key, worker_id))).status_code == 200
        made.append(worker_id)
        server.clock.forward(minutes=5)
    return made


async def remaining_ids(server, **later):
    """Let time pass, and run the task; return the IDs of the remaining entries."""
    server.clock.forward(**later)
    await look_for_repeated(server.services)
    return {worker.id for worker in server.services.directory.workers()}


async def alerts(server):
    """Return the titles of the alerts about repeated registrations."""
    found = await server.services.alerts.find()
    return [alert.title for alert in found if alert.kind == "repeated_registrations"]


async def test_old_registrations_of_a_client_with_changing_names_are_removed(server, admin, capsys):
    """Alert, log event, metric and list name the host; after 7 days without use, all but its last registration are removed."""
    made = await register_repeatedly(server, 8)
    assert await remaining_ids(server, hours=3) == set(made)

    assert await alerts(server) == ["A client at 10.4.0.9 registers again and again as reports-*"]
    listed = (await server.http.get("/api/registrations/repeated", headers=admin)).json()["items"]
    assert [(one["name"], one["address"], one["replaced"]) for one in listed] == [
        ("reports-*", "10.4.0.9", 7)
    ]
    assert "lyftdata_replaced_registrations 7.0" in server.services.metrics.render().decode()
    await look_for_repeated(server.services)
    assert capsys.readouterr().out.count("repeated_registrations") == 1

    assert await remaining_ids(server, days=6) == set(made)
    assert await remaining_ids(server, days=1) == {made[-1]}
    assert await alerts(server) == []
    assert "lyftdata_replaced_registrations 0.0" in server.services.metrics.render().decode()
    [event, *_] = (await server.services.audit_queries.list_page(limit=9, subject=f"worker:{made[0]}")).items
    assert (event.actor, event.action) == ("server", "worker.replaced_removed")
    assert event.details["name"] == "reports-0000a1b2c3"
    assert event.details["last_used"] == "2026-03-01 12:00:00 UTC"


async def test_old_registrations_of_a_client_with_one_name_are_removed(server):
    """Each start supersedes the previous entry; those are removed, and the one that has the name stays."""
    made = await register_repeatedly(server, 7, "reports")
    assert await remaining_ids(server, minutes=1) == set(made)
    assert await alerts(server) == ["A client at 10.4.0.9 registers again and again as reports"]

    assert await remaining_ids(server, days=8) == {made[-1]}


async def test_other_entries_are_not_affected(server, press):
    """Workers added by an operator, agents, clients that keep their registration, and clients on other hosts: however old they are."""
    agents = [(await server.enrolled(f"etl-{number:04x}a1b2c3"))[0] for number in range(8)]
    kept = [await register(server, f"kept-{number:04x}a1b2c3") for number in range(8)]
    others = [
        (await register(server, f"poll-{number:04x}a1b2c3", address=f"10.{number}.0.9"))[0]
        for number in range(8)
    ]
    for _ in range(3):
        server.clock.forward(days=1)
        for worker_id, key in kept:
            assert (await server.token_by_assertion(server.assertion(key, worker_id))).status_code == 200

    assert await remaining_ids(server, days=20) == {
        press[0],
        *agents,
        *(worker_id for worker_id, _ in kept),
        *others,
    }
    assert await alerts(server) == []


async def test_the_registrations_of_a_client_that_restarts_endlessly_are_limited(server, monkeypatch):
    """Beyond a number, replaced entries are removed after two hours; the latest are kept as usual."""
    monkeypatch.setattr(repeated_registrations, "MAX_REPLACED", 6)
    made = await register_repeatedly(server, 12)

    left = await remaining_ids(server, hours=4)

    assert left == set(made[-7:])
    assert len(await alerts(server)) == 1


async def test_an_entry_that_is_used_again_stays(server):
    """Its client got a token since the task selected it: the removal checks again in its transaction."""
    made = []
    for number in range(7):
        made.append(await register(server, f"reports-{number:04x}a1b2c3"))
        server.clock.forward(minutes=5)
    server.clock.forward(days=8)
    worker_id, key = made[0]
    assert (await server.token_by_assertion(server.assertion(key, worker_id))).status_code == 200

    assert await remaining_ids(server) == {worker_id, made[-1][0]}


@pytest.mark.parametrize(("kept_for", "days", "left"), [("forever", 900, 7), ("2d", 3, 1)])
async def test_a_setting_says_how_long_replaced_registrations_are_kept(opened, kept_for, days, left):
    """With `forever`, none is removed."""
    async with opened(LYFTDATA_REPLACED_REGISTRATIONS_KEPT_FOR=kept_for) as server:
        await register_repeatedly(server, 7)
        assert len(await remaining_ids(server, days=days)) == left


def test_replaced_registrations_are_kept_for_a_day_at_least():
    """A client that starts once a day must be detected before its entries are removed."""
    assert parse_replaced_kept_for("1d") == timedelta(days=1)
    with pytest.raises(InvalidInputError):
        parse_replaced_kept_for("23h")
