"""Events reach their destinations: at least once, in order, and without delaying anything else."""

import json
from datetime import datetime

import msgspec
from tests.event_destinations import add_webhook, add_worker, deliver, last_number, shown
from tests.unit.server.admin import test_enrollment_watch as watch

from lyftdata.core.records import AuditEvent
from lyftdata.server.delivery.messages import EVENT_SCHEMA
from lyftdata.store import audit_log


async def test_delivered_events_equal_those_of_the_audit_export(server, admin, hook):
    """From the creation of the destination on, in order, each as the same object as in the export of the audit log."""
    await add_webhook(server, admin, hook)
    await add_worker(server, admin, "w-1")

    await deliver(server)

    exported = [
        json.loads(line)
        for line in (await server.http.get("/api/audit/export", headers=admin)).text.splitlines()
    ]
    delivered = [message["data"] for _, message in hook.accepted]
    assert hook.types == ["event_destination.created", "worker.created"]
    assert delivered == exported[-2:]
    assert {message["source"] for _, message in hook.accepted} == {server.services.issuer}
    found = await shown(server, admin)
    assert (found["waiting"], found["delivered"], found["failures"]) == (0, 2, 0)
    assert found["through"] == await last_number(server)


async def test_a_failed_event_is_retried_first_with_the_same_id(server, admin, hook):
    """No other event overtakes it; the backoff grows, and the number of waiting events is shown."""
    await add_webhook(server, admin, hook)
    await deliver(server)
    hook.status = 500
    await add_worker(server, admin, "w-1")
    await add_worker(server, admin, "w-2")
    for failures in range(1, 4):
        await deliver(server)
        found = await shown(server, admin)
        assert (found["failures"], found["waiting"], found["delivered"]) == (failures, 2, 1)
        assert found["last_error"] == f"127.0.0.1:{hook.port} answered 500."
        await deliver(server)
        assert len(hook.requests) == 1 + failures, "not before its time"
        server.clock.forward(minutes=10)
    tried = {headers["webhook-id"] for headers in hook.requests[1:]}

    hook.status = 204
    await deliver(server)

    assert len(tried) == 1
    assert hook.accepted[1][0] in tried
    assert [message["data"]["subject"] for _, message in hook.accepted[1:]] == ["worker:w-1", "worker:w-2"]
    assert (await shown(server, admin))["failures"] == 0


async def test_the_queue_of_a_receiver_that_is_down_is_described(server, admin, hook):
    """First and last event, since when, the types, and the next events in the order of delivery."""
    await add_webhook(server, admin, hook, events=["worker.*", "resource.created"])
    await deliver(server)
    assert (await shown(server, admin))["queue"] is None
    hook.status = 500
    begun = server.clock()
    for number in range(1, 7):
        await add_worker(server, admin, f"w-{number}")
        server.clock.forward(seconds=1)
    await server.http.post(
        "/api/resources", json={"name": "store", "audience": "https://store.example"}, headers=admin
    )
    await deliver(server)

    found = await shown(server, admin)

    queue, listed = found["queue"], (await server.http.get("/api/event-destinations", headers=admin)).json()
    assert (found["waiting"], listed["items"][0]["waiting"]) == (7, 7)
    assert queue["types"] == [
        {"type": "worker.created", "count": 6},
        {"type": "resource.created", "count": 1},
    ]
    assert [one["subject"] for one in queue["next"]] == [f"worker:w-{number}" for number in range(1, 6)]
    assert {(one["type"], one["actor"]) for one in queue["next"]} == {("worker.created", "operator:admin")}
    assert (queue["first"], queue["last"], queue["has_more"]) == (
        queue["next"][0]["number"],
        await last_number(server),
        False,
    )
    assert datetime.fromisoformat(queue["since"]) == begun
    hook.status = 204
    server.clock.forward(minutes=10)
    await deliver(server)
    assert [message["data"]["number"] for _, message in hook.accepted][:1] == [queue["first"]]
    assert (await shown(server, admin))["queue"] is None


async def test_events_excluded_by_a_label_do_not_wait(server, admin, hook):
    """The counts and the queue include only what would be delivered, in the list too."""
    await add_webhook(server, admin, hook, labels=["zone=eu-1"])
    hook.status = 500
    await add_worker(server, admin, "us", labels={"zone": "us-1"})
    await add_worker(server, admin, "eu", labels={"zone": "eu-1"})
    await deliver(server)

    found = await shown(server, admin)

    listed = (await server.http.get("/api/event-destinations", headers=admin)).json()["items"]
    assert (found["waiting"], listed[0]["waiting"]) == (1, 1)
    assert [one["subject"] for one in found["queue"]["next"]] == ["worker:eu"]


async def test_a_long_queue_is_counted_up_to_a_limit(server, admin, hook):
    """A page does not read an audit log of millions: it says that there are more."""
    await add_webhook(server, admin, hook)
    await server.http.patch("/api/event-destinations/hook", json={"paused": True}, headers=admin)

    def op(tx):
        for number in range(10_001):
            tx.audit(
                AuditEvent(
                    at=server.clock(), actor="host", action="worker.renamed", subject=f"worker:{number}"
                )
            )

    await server.services.store.write(op)
    found = await shown(server, admin)

    assert (found["waiting"], found["queue"]["has_more"]) == (10_000, True)
    assert found["queue"]["last"] == found["queue"]["first"] + 9_999


async def test_retry_after_is_respected(server, admin, hook):
    """Within limits."""
    await add_webhook(server, admin, hook)
    hook.status, hook.headers = 503, {"Retry-After": "200"}
    await deliver(server)
    server.clock.forward(seconds=199)
    await deliver(server)
    assert len(hook.requests) == 1

    server.clock.forward(seconds=5)
    await deliver(server)

    assert len(hook.requests) == 2


async def test_redirects_are_not_followed(server, admin, hook):
    """An answer must not decide who gets the events."""
    await add_webhook(server, admin, hook)
    hook.status, hook.headers = 307, {"Location": f"http://127.0.0.1:{hook.port}/elsewhere"}

    await deliver(server)

    assert len(hook.requests) == 1
    assert "answered 307" in (await shown(server, admin))["last_error"]


async def test_only_selected_events_are_delivered(server, admin, hook):
    """By type, by group, and by the labels of the Worker that they are about; other events do not wait."""
    await add_webhook(
        server, admin, hook, events=["worker.*", "operator.signed_in"], labels=["zone=eu-1", "gpu"]
    )
    await add_worker(server, admin, "eu", labels={"zone": "eu-1"})
    await add_worker(server, admin, "us", labels={"zone": "us-1"})
    await add_worker(server, admin, "gpu", labels={"gpu": "yes"})
    await server.sign_in()

    await deliver(server)

    assert [message["data"]["subject"] for _, message in hook.accepted] == ["worker:eu", "worker:gpu"]
    found = await shown(server, admin)
    assert (found["waiting"], found["through"]) == (0, await last_number(server))


async def test_enrollments_are_selected_by_the_labels_of_the_enrollment_key(server, admin, hook):
    """Whatever name and labels the host chooses; the event names the key."""
    await add_webhook(server, admin, hook, events=["worker.enrolled"], labels=["from=partner"])
    for name, labels in (("partner-hosts", {"from": "partner"}), ("other-hosts", {})):
        key = await watch.issue(server, admin, name, labels=labels)
        answer, _ = await watch.enroll(server, key, f"worker-of-{name}")
        assert answer.status_code == 201

    await deliver(server)

    (message,) = (message["data"] for _, message in hook.accepted)
    assert message["details"]["name"] == "worker-of-partner-hosts"
    assert message["details"]["enrollment_key"] == "partner-hosts"


async def test_the_deletion_of_a_worker_passes_every_label_filter(server, admin, hook):
    """Its labels are not known any more: the event is delivered rather than lost."""
    await add_webhook(server, admin, hook, events=["worker.deleted"], labels=["zone=eu-1"])
    await add_worker(server, admin, "eu", labels={"zone": "eu-1"})
    await server.http.delete("/api/workers/eu", headers=admin)

    await deliver(server)

    assert hook.types == ["worker.deleted"]


async def test_a_paused_destination_resumes_where_it_stopped(server, admin, hook):
    """Nothing is sent meanwhile, and nothing is missing afterwards."""
    await add_webhook(server, admin, hook)
    path = "/api/event-destinations/hook"
    await server.http.patch(path, json={"paused": True}, headers=admin)
    await add_worker(server, admin, "w-1")
    await deliver(server)
    assert (hook.requests, (await shown(server, admin))["is_paused"]) == ([], True)

    await server.http.patch(path, json={"paused": False}, headers=admin)
    await deliver(server)

    assert hook.types == [
        "event_destination.created",
        "event_destination.paused",
        "worker.created",
        "event_destination.resumed",
    ]


async def test_many_events_are_delivered_in_batches(server, admin, hook):
    """More events than fit into one batch arrive in one pass, in order and once."""
    await add_webhook(server, admin, hook)

    def op(tx):
        for number in range(250):
            tx.audit(
                AuditEvent(
                    at=server.clock(), actor="host", action="worker.renamed", subject=f"worker:{number}"
                )
            )

    await server.services.store.write(op)
    await deliver(server)

    numbers = hook.numbers
    assert numbers == list(range(numbers[0], numbers[0] + 251))


async def test_events_removed_by_retention_are_counted_and_logged(server, admin, hook, capsys):
    """They cannot be delivered any more: they are counted as lost and logged as an error, and the rest follows."""
    await add_webhook(server, admin, hook)
    await add_worker(server, admin, "w-1")
    through = (await shown(server, admin))["through"]
    await server.services.store.write(lambda tx: audit_log.remove_through(tx.conn, through + 1))

    await deliver(server)

    assert hook.types == ["worker.created"]
    assert (await shown(server, admin))["lost"] == 1


async def test_delivery_continues_after_a_restart(opened, hook):
    """The position is in the database; accepted events are not sent again."""
    environ = {"LYFTDATA_EVENTS_ALLOWED_NETWORKS": "127.0.0.0/8"}
    async with opened(**environ) as server:
        await add_webhook(server, await server.sign_in(), hook)
        await deliver(server)
        before, clock = hook.numbers, server.clock
    async with opened(clock, **environ) as server:
        await server.sign_in()
        await deliver(server)
        assert hook.numbers == [*before, *range(before[-1] + 1, await last_number(server) + 1)]


async def test_a_broken_destination_does_not_stop_another(server, admin, hook):
    """Each has its own position and error, even one whose target cannot be decrypted."""
    await add_webhook(server, admin, hook, name="broken")
    await add_webhook(server, admin, hook, name="hook")
    from lyftdata.store.tables import event_destinations

    def spoil(tx):
        record = event_destinations.get_destination(tx.conn, "broken")
        event_destinations.replace_destination(tx, msgspec.structs.replace(record, sealed_target=bytes(40)))

    await server.services.store.write(spoil)
    await deliver(server)

    assert hook.types == ["event_destination.created"]
    assert "another secret key" in (await shown(server, admin, "broken"))["last_error"]


async def test_a_server_that_lost_a_destination_does_not_overwrite_its_position(server, admin, hook):
    """A Server that was suspended, and declared dead, cannot record progress for what its successor now delivers."""
    await add_webhook(server, admin, hook)
    await deliver(server)
    from lyftdata.store.tables import event_destinations

    def read(conn):
        return event_destinations.find_delivery(conn, "hook")

    before = await server.services.store.read(read)
    later = msgspec.structs.replace(before, through=0)

    def op(tx):
        return event_destinations.update_delivery(tx, later, before=before.through, server_id="another")

    assert await server.services.store.write(op) is False
    assert await server.services.store.read(read) == before


async def test_deliveries_are_counted_in_the_metrics(server, admin, hook):
    """By destination and result, until the destination is deleted."""
    await add_webhook(server, admin, hook)
    await deliver(server)

    metrics = (await server.http.get("/metrics")).text
    assert 'lyftdata_event_deliveries_total{destination="hook",result="delivered"} 1.0' in metrics
    await server.http.delete("/api/event-destinations/hook", headers=admin)
    await deliver(server)
    assert 'destination="hook"' not in (await server.http.get("/metrics")).text


async def test_an_event_has_the_documented_fields_and_no_others(server, admin, hook):
    """The schema of the reference page has every field that is sent."""
    await add_webhook(server, admin, hook)
    await deliver(server)

    (_, message) = hook.accepted[0]
    properties = EVENT_SCHEMA["properties"]
    assert set(message) == set(properties) == set(EVENT_SCHEMA["required"])
    assert set(message["data"]) == set(properties["data"]["properties"])
    types = {"string": str, "integer": int, "object": dict}
    for name, described in properties["data"]["properties"].items():
        assert isinstance(message["data"][name], types[described["type"]]), name
