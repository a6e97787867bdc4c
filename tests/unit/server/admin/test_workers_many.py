"""Adding many Workers at once: all or none, with a key each, one for all, or an existing one."""

import pytest
from tests.builders import worker

from lyftdata.core.actor import Actor
from lyftdata.core.bulk_changes import CREATED
from lyftdata.core.errors import ConflictError, InvalidInputError, NotFoundError
from lyftdata.core.records import Role, Strategy
from lyftdata.core.scopes import scope_of
from lyftdata.server.admin.workers import NewKey
from lyftdata.store import audit_log
from lyftdata.store.tables import api_keys, workers

ANN = Actor(operator="ann", role=Role.ADMIN, session_id="a", address="192.0.2.50")
ETL = Actor(
    operator="eve", role=Role.ADMIN, session_id="e", address="192.0.2.51", scope=scope_of({"team": "etl"})
)


async def add(server, names="press-[01-03]", *, actor=ANN, ids="press-[01-03]", new_key=None, **options):
    """Add Workers."""
    return await server.services.workers.add_many(
        names, ids=ids, labels=options.pop("labels", {}), new_key=new_key, actor=actor, **options
    )


async def events_from(server, number):
    """Return the audit events from a number on."""
    found = await server.services.store.read(
        lambda conn: audit_log.events_after(conn, after=number - 1, limit=100)
    )
    return [event.event for event in found]


async def put(server, *records):
    """Store entries."""

    def op(tx):
        for record in records:
            workers.insert_worker(tx, record, unique_name=False)

    await server.services.store.write(op)


def names_of(server):
    """Return the names of all Workers."""
    return sorted(record.name for record in server.services.directory.workers())


async def test_workers_are_added_with_one_group_of_events(server):
    """Each has its entry and its event, which has the number of the first event."""
    added = await add(server, labels={"zone": "eu-1"})

    assert names_of(server) == ["press-01", "press-02", "press-03"]
    assert all(record.labels == {"zone": "eu-1"} for record in added.records)
    assert all(record.strategy is Strategy.API_KEY for record in added.records)
    group, *each = await events_from(server, added.number)
    assert (group.action, group.details) == (CREATED, {"names": "press-[01-03]", "count": "3"})
    assert [(event.action, event.subject) for event in each] == [
        ("worker.created", f"worker:press-0{number}") for number in (1, 2, 3)
    ]
    assert {event.details["group"] for event in each} == {str(added.number)}
    assert added.issued == []


async def test_ids_are_generated_unless_given(server):
    """As for a single Worker."""
    added = await add(server, ids=None)

    assert len({record.id for record in added.records}) == 3
    assert all(record.id.startswith("w-") for record in added.records)


async def test_each_worker_gets_its_own_key(server):
    """A key works only for its Worker."""
    added = await add(server, new_key=NewKey.EACH)

    assert [issued.record.worker_ids for issued in added.issued] == [(record.id,) for record in added.records]
    assert len({issued.text.reveal() for issued in added.issued}) == 3


async def test_a_shared_key_is_for_these_workers_only(server):
    """It is named after the first and the last one."""
    added = await add(server, new_key=NewKey.SHARED)

    (issued,) = added.issued
    assert issued.record.worker_ids == ("press-01", "press-02", "press-03")
    assert not issued.record.for_all_workers
    assert issued.record.name.startswith("press-01-to-press-03-key-")


async def test_an_existing_key_can_be_used_for_all(server):
    """The Workers that used it before keep it."""
    await put(server, worker("w-1", strategy=Strategy.API_KEY))
    await server.services.api_keys.issue("old-key", worker_ids=["w-1"], expires_in=None, actor=ANN)

    added = await add(server, existing_key="old-key")

    (generation,) = await server.services.store.read(lambda conn: api_keys.find_by_name(conn, "old-key"))
    assert generation.worker_ids == ("press-01", "press-02", "press-03", "w-1")
    assert added.issued == []


@pytest.mark.parametrize(
    ("there", "code", "named"),
    [
        (worker("press-02", name="other"), "worker_id_taken", "'press-02'"),
        (worker("w-1", name="press-03"), "worker_name_taken", "'press-03'"),
    ],
)
async def test_one_taken_id_or_name_stops_the_whole_addition(server, there, code, named):
    """The message names it; nothing is left behind, no key and no event."""
    await put(server, there)
    before = server.services.store.audit_length

    with pytest.raises(ConflictError) as refused:
        await add(server, new_key=NewKey.EACH)

    assert refused.value.code == code
    assert named in refused.value.message
    assert names_of(server) == [there.name]
    assert server.services.store.audit_length == before


async def test_every_taken_name_is_listed(server):
    """Up to ten, and the number of the others; but not the Workers that have them."""
    await put(server, *(worker(f"w-{number}", name=f"press-{number:02}") for number in range(1, 13)))

    with pytest.raises(ConflictError) as refused:
        await add(server, "press-[01-20]", ids=None)

    assert "'press-01', 'press-02'" in refused.value.message
    assert "'press-10' and 2 more" in refused.value.message
    assert "w-" not in refused.value.message


async def test_an_unknown_key_stops_the_whole_addition(server):
    """No Worker is added without the key that it was to use."""
    with pytest.raises(NotFoundError):
        await add(server, existing_key="no-such-key")

    assert names_of(server) == []


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"ids": "press-[01-04]"}, "id"),
        ({"ids": "press 1"}, "id"),
        ({"names": "press-01"}, "name"),
        ({"new_key": NewKey.EACH, "existing_key": "old-key"}, "api_key"),
        ({"labels": {"": "x"}}, "labels"),
    ],
)
async def test_contradictory_options_are_rejected(server, options, field):
    """Ranges of different sizes, a single name, or two sources of a key."""
    with pytest.raises(InvalidInputError) as refused:
        await add(server, **options)

    assert refused.value.field == field
    assert names_of(server) == []


async def test_an_operator_with_a_scope_adds_workers_within_it(server):
    """They get its labels; contradicting labels and keys outside the scope are rejected."""
    added = await add(server, actor=ETL, new_key=NewKey.SHARED)
    await server.services.api_keys.issue("for-all", worker_ids=None, expires_in=None, actor=ANN)

    assert all(record.labels == {"team": "etl"} for record in added.records)
    with pytest.raises(InvalidInputError):
        await add(server, "other-[1-2]", ids=None, labels={"team": "web"}, actor=ETL)
    with pytest.raises(NotFoundError):
        await add(server, "other-[1-2]", ids=None, existing_key="for-all", actor=ETL)
    assert names_of(server) == ["press-01", "press-02", "press-03"]
