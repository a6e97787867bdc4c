"""The channel between the supervisor and a process."""

import socket

import pytest

from lyftdata.processes.channel import Channel, ChannelClosedError
from lyftdata.processes.messages import GivenMetrics, Hurry, State, Stop, ToProcess, ToSupervisor


@pytest.fixture
def line():
    """Return both ends: the supervisor's and the process's."""
    supervisor, process = socket.socketpair()
    at_supervisor: Channel[ToSupervisor] = Channel(supervisor, ToSupervisor)
    at_process: Channel[ToProcess] = Channel(process, ToProcess)
    ends = at_supervisor, at_process
    yield ends
    for end in ends:
        end.close()


def test_messages_arrive_in_order_both_ways(line):
    """Several at once, and none is lost."""
    supervisor, process = line

    supervisor.send(Stop(("a", "b")))
    supervisor.send(Hurry())
    process.send(State({"STATUS": "a\nb"}))

    assert process.receive() == [Stop(("a", "b")), Hurry()]
    assert supervisor.receive() == [State({"STATUS": "a\nb"})]
    assert process.receive() == []


def test_a_long_message_arrives_in_pieces(line):
    """Sending does not block; what the socket does not accept is sent by later flushes."""
    supervisor, process = line
    sent = GivenMetrics(1, 2, "x" * 2_000_000)

    process.send(sent)
    received: list[ToSupervisor] = []
    while not received:
        process.flush()
        received = supervisor.receive()

    assert received == [sent]
    assert not process.has_unsent()


def test_a_side_that_does_not_read_does_not_fill_memory(line):
    """Further messages are dropped, and nothing blocks."""
    _, process = line

    for _ in range(20):
        process.send(GivenMetrics(1, 2, "x" * 1_000_000))

    assert process.has_unsent()
    assert len(process._unsent) < 6_000_000


def test_a_closed_channel_is_an_error_only_when_reading(line):
    """A sender notices it when it reads."""
    supervisor, process = line
    process.close()

    supervisor.send(Hurry())

    with pytest.raises(ChannelClosedError):
        supervisor.receive()
