"""What scopes allow at RabbitMQ: the syntax of its OAuth plugin, and nothing by default."""

import time

import pytest

from lyftdata.core.rabbitmq import may_access_resource, may_access_topic, may_access_vhost


def may(scope, name="celery", *, vhost="jobs", permission="read"):
    """Check one scope of the resource `rabbitmq`."""
    return may_access_resource([scope], "rabbitmq", permission=permission, vhost=vhost, name=name)


@pytest.mark.parametrize(
    ("scope", "name", "vhost"),
    [
        ("read:jobs/celery", "celery", "jobs"),
        ("rabbitmq.read:jobs/celery", "celery", "jobs"),
        ("read:jobs/cel*", "celery", "jobs"),
        ("read:jobs/*ry", "celery", "jobs"),
        ("read:jobs/*e*e*", "celery", "jobs"),
        ("read:jobs/c*y", "cy", "jobs"),
        ("read:*/*", "celery", "jobs"),
        ("read:%2F/celery", "celery", "/"),
        ("read:jobs/a%2Ab", "a*b", "jobs"),
        ("read:jobs/celery/*", "celery", "jobs"),
        ("read:jobs/", "", "jobs"),
        ("read:jobs/%C3%BC", "ü", "jobs"),
    ],
)
def test_a_scope_allows_what_it_names(scope, name, vhost):
    """The virtual host and the name match literally, or with wildcards and escapes."""
    assert may(scope, name, vhost=vhost)


@pytest.mark.parametrize(
    ("scope", "name", "vhost"),
    [
        ("read:jobs/celery", "celery2", "jobs"),
        ("read:jobs/celery", "xcelery", "jobs"),
        ("read:jobs/celery", "Celery", "jobs"),
        ("read:jobs/celery", "celery", "/"),
        ("read:jobs/c*c", "c", "jobs"),
        ("read:jobs/ab*ba", "aba", "jobs"),
        ("read:jobs/a%2Ab", "axb", "jobs"),
        ("read:jobs/c.lery", "celery", "jobs"),
        ("write:jobs/celery", "celery", "jobs"),
        ("other.read:jobs/celery", "celery", "jobs"),
        ("rabbitmq.rabbitmq.read:jobs/celery", "celery", "jobs"),
        ("read:celery", "celery", "jobs"),
        ("read:jobs/celery/a/b", "celery", "jobs"),
        ("read:jobs/%zz*", "celery", "jobs"),
        ("read:jobs/%ff*", "celery", "jobs"),
        ("Read:jobs/celery", "celery", "jobs"),
        ("tag:administrator", "celery", "jobs"),
        ("*", "celery", "jobs"),
        ("*:jobs/celery", "celery", "jobs"),
    ],
)
def test_a_scope_allows_nothing_else(scope, name, vhost):
    """A pattern must match the whole name; a malformed scope allows nothing."""
    assert not may(scope, name, vhost=vhost)


def test_without_a_scope_nothing_is_allowed():
    """Denied by default."""
    assert not may_access_vhost([], "rabbitmq", vhost="jobs")
    assert not may_access_resource([], "rabbitmq", permission="read", vhost="jobs", name="celery")
    assert not may_access_topic(
        [], "rabbitmq", permission="read", vhost="jobs", exchange="amq.topic", routing_key="a"
    )


def test_a_virtual_host_is_open_to_a_worker_with_any_permission_in_it():
    """Whichever permission it is."""
    assert may_access_vhost(["configure:jobs/x"], "rabbitmq", vhost="jobs")
    assert not may_access_vhost(["configure:jobs/x"], "rabbitmq", vhost="other")


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("write:jobs/events/press.*", True),
        ("write:jobs/events/*", True),
        ("write:jobs/events", False),
        ("write:jobs/events/desk.*", False),
        ("read:jobs/events/press.*", False),
    ],
)
def test_a_topic_needs_a_routing_key_in_the_scope(scope, allowed):
    """A scope without one does not apply to topics."""
    assert allowed is may_access_topic(
        [scope], "rabbitmq", permission="write", vhost="jobs", exchange="events", routing_key="press.1"
    )


def test_no_name_makes_a_pattern_take_exponential_time():
    """Workers choose the names that are matched: with a regular expression this one would take years."""
    scope = "read:jobs/" + "*a" * 25 + "*b"
    assert len(scope) <= 64

    started = time.process_time()
    assert not may(scope, "a" * 255)
    assert time.process_time() - started < 1
