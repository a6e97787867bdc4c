"""An operator skips one event that a receiver rejects: exactly that one, and the gap is recorded."""

import asyncio

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.event_destinations import add_webhook, add_worker, deliver, shown

from lyftdata.core.records import Transport
from lyftdata.server.delivery.messages import Outcome

PATH = "/api/event-destinations/hook/skip"
REASON = "the firewall rejects its text"


async def attempt(server, times=1):
    """Attempt so many deliveries, each when the backoff is over."""
    for _ in range(times):
        server.clock.forward(minutes=11)
        await deliver(server)


async def skip(server, number, reason=REASON):
    """Ask to skip an event, as an operator who has just signed in."""
    headers = await server.sign_in()
    return await server.http.post(PATH, json={"number": number, "reason": reason}, headers=headers)


async def blocked(server, admin, hook, **more):
    """Let the receiver reject an event three times, with two behind it; return its number."""
    await add_webhook(server, admin, hook, **more)
    await deliver(server)
    hook.filtered = "poison"
    for worker_id, name in (("w-1", "poison"), ("w-2", "w-2"), ("w-3", "w-3")):
        await add_worker(server, admin, worker_id, name=name)
    await attempt(server, 3)
    number: int = (await shown(server, await server.sign_in()))["rejected"]["number"]
    return number


@pytest.mark.parametrize("events", [[], ["worker.*"]])
async def test_the_following_events_arrive_in_order_with_a_notice_of_the_gap(server, admin, hook, events):
    """Also at a destination that selects other types. The notice does not repeat the rejected content."""
    number = await blocked(server, admin, hook, events=events)
    before = len(hook.accepted)

    answer = await skip(server, number)

    assert answer.status_code == 200, answer.text
    assert answer.json()["rejected"] is None
    assert (answer.json()["skipped"], answer.json()["failures"]) == (1, 0)
    await deliver(server)
    arrived = [message["data"] for _, message in hook.accepted[before:]]
    wanted = [one for one in arrived if not one["action"].startswith("operator.")]
    assert [(one["action"], one["subject"]) for one in wanted] == [
        ("worker.created", "worker:w-2"),
        ("worker.created", "worker:w-3"),
        ("event_destination.event_skipped", "event_destination:hook"),
    ]
    notice = wanted[-1]
    assert notice["actor"] == "operator:admin"
    assert {
        name: notice["details"][name] for name in ("event", "type", "rejections", "answer", "reason")
    } == {
        "event": str(number),
        "type": "worker.created",
        "rejections": "3",
        "answer": f"127.0.0.1:{hook.port} answered 403.",
        "reason": REASON,
    }
    found = await shown(server, await server.sign_in())
    assert (found["skipped"], found["rejected"], found["lost"]) == (1, None, 0)
    counted = 'lyftdata_event_deliveries_total{destination="hook",result="skipped"} 1.0'
    assert counted in (await server.http.get("/metrics")).text


async def test_only_the_rejected_event_can_be_skipped(server, admin, hook):
    """Not the delivered one before it, nor the one behind it; the answer says why, and the position does not change."""
    number = await blocked(server, admin, hook)
    through = (await shown(server, await server.sign_in()))["through"]

    codes = [(await skip(server, number + step)).json()["code"] for step in (-1, 1, 1_000_000)]

    assert codes == ["event_does_not_wait", "event_not_rejected", "event_not_rejected"]
    found = await shown(server, await server.sign_in())
    assert (found["through"], found["skipped"], found["rejected"]["number"]) == (through, 0, number)


@pytest.mark.parametrize("status", [429, 503])
async def test_an_event_that_was_not_rejected_cannot_be_skipped(server, admin, hook, status):
    """The receiver asks to wait: it would not accept the next event either."""
    await add_webhook(server, admin, hook)
    hook.status = status
    await attempt(server, 4)
    number = (await shown(server, await server.sign_in()))["queue"]["first"]

    answer = await skip(server, number)

    assert (answer.status_code, answer.json()["code"]) == (409, "event_not_rejected")


async def test_concurrent_requests_skip_one_event(server, admin, hook):
    """Only one of them succeeds, and the event behind it is delivered."""
    number = await blocked(server, admin, hook)
    headers = await server.sign_in()
    body = {"number": number, "reason": REASON}

    answers = await asyncio.gather(*(server.http.post(PATH, json=body, headers=headers) for _ in range(3)))

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    await deliver(server)
    assert "worker:w-2" in hook.subjects
    assert (await shown(server, headers))["skipped"] == 1


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(1, "a later one is rejected", is_rejected=True),
        Outcome(0, "rejected once more", is_rejected=True),
        Outcome(3),
    ],
)
async def test_an_attempt_in_progress_does_not_undo_a_skip(server, admin, hook, monkeypatch, outcome):
    """Whatever its outcome, the position stays behind the event, and the later events arrive, some perhaps twice."""
    number = await blocked(server, admin, hook)

    class Slow:
        async def send(self, _destination, _messages):
            """Answer once the operator has skipped the event."""
            assert (await skip(server, number)).status_code == 200
            return outcome

    server.clock.forward(minutes=11)
    with monkeypatch.context() as patched:
        patched.setitem(server.services.event_delivery._senders, Transport.WEBHOOK, Slow())
        await deliver(server)
    found = await shown(server, await server.sign_in())
    assert (found["through"], found["skipped"], found["failures"]) == (number, 1, 0)

    await attempt(server)

    delivered = [one for one in hook.subjects if one.startswith(("worker:", "event_destination:"))]
    assert delivered[-3:] == ["worker:w-2", "worker:w-3", "event_destination:hook"]


async def test_skipping_a_rejected_notice_sends_no_other_notice(server, admin, hook):
    """Otherwise a receiver that accepts only the types it knows would get one notice after another."""
    number = await blocked(server, admin, hook, events=["worker.*"])
    assert (await skip(server, number)).status_code == 200
    hook.filtered = "event_skipped"
    await attempt(server, 3)
    rejected = (await shown(server, await server.sign_in()))["rejected"]
    assert rejected["type"] == "event_destination.event_skipped"

    assert (await skip(server, rejected["number"])).status_code == 200
    await deliver(server)

    found = await shown(server, await server.sign_in())
    assert (found["waiting"], found["failures"], found["skipped"]) == (0, 0, 2)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201, f"see {ENROLLMENT_KEY}"])
async def test_a_skip_needs_a_reason(server, admin, hook, reason):
    """It explains the gap to operators who find it later."""
    number = await blocked(server, admin, hook)

    answer = await skip(server, number, reason)

    assert (answer.status_code, answer.json()["field"]) == (422, "reason")
    assert (await shown(server, await server.sign_in()))["skipped"] == 0
