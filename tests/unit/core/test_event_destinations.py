"""Which events are delivered to which destination."""

from typing import Any

import pytest
from tests.builders import NOON, event, worker

from lyftdata.core.event_destinations import Target, endpoint_of, is_wanted, seal_target, unseal_target
from lyftdata.core.records import EventDestinationRecord, Transport
from lyftdata.core.sealing import UnsealError


def destination(**fields):
    """Return a destination."""
    given: dict[str, Any] = {
        "name": "siem",
        "transport": Transport.WEBHOOK,
        "endpoint": "siem.example.com:443",
        "sealed_target": b"",
        "created_at": NOON,
        "created_by": "operator:admin",
    }
    return EventDestinationRecord(**given | fields)


@pytest.mark.parametrize(
    ("patterns", "action", "is_delivered"),
    [
        ([], "worker.created", True),
        (["*"], "worker.created", True),
        (["worker.*"], "worker.created", True),
        (["worker.created"], "worker.created", True),
        (["worker.deleted"], "worker.created", False),
        (["api_key.*", "worker.created"], "worker.created", True),
        (["worker.*"], "worker_pool.created", False),
    ],
)
def test_events_are_filtered_by_type(patterns, action, is_delivered):
    """One matching pattern is enough; a group does not match another group that starts with its name."""
    found = is_wanted(event(action), destination(events=patterns), find_worker=lambda _: None)

    assert found is is_delivered


@pytest.mark.parametrize(
    ("labels", "subject", "is_delivered"),
    [
        (["gpu"], "worker:w-1", True),
        (["zone=eu-1"], "worker:w-1", True),
        (["zone=us-1"], "worker:w-1", False),
        (["zone=us-1", "gpu"], "worker:w-1", True),
        (["gpu"], "worker:gone", True),
        (["gpu"], "api_key:press", False),
    ],
)
def test_events_are_filtered_by_label(labels, subject, is_delivered):
    """One matching label is enough. A deleted Worker may have had it; other subjects have no labels."""
    known = {"w-1": worker("w-1", labels={"gpu": "", "zone": "eu-1"})}

    assert (
        is_wanted(event(subject=subject), destination(labels=labels), find_worker=known.get) is is_delivered
    )


def test_a_target_can_only_be_unsealed_for_its_own_record():
    """Copied to another destination's record, it would redirect that destination's events."""
    target, key = Target("https://siem.example.com/x", "whsec_x"), bytes(32)
    sealed = seal_target(target, name="siem", key=key, nonce=bytes(12))

    assert unseal_target(destination(sealed_target=sealed), key=key) == target
    with pytest.raises(UnsealError):
        unseal_target(destination(name="other", sealed_target=sealed), key=key)
    assert "whsec" not in repr(target)


@pytest.mark.parametrize(
    ("url", "text", "is_encrypted"),
    [
        ("https://h.example/x", "h.example:443", True),
        ("http://h.example:8080/x", "h.example:8080", False),
        ("tls://h.example", "h.example:6514", True),
        ("tcp://[2001:db8::1]", "[2001:db8::1]:601", False),
    ],
)
def test_a_urls_endpoint_is_its_host_and_port(url, text, is_encrypted):
    """The port defaults to that of the scheme."""
    assert (endpoint_of(url).text, endpoint_of(url).is_encrypted) == (text, is_encrypted)
