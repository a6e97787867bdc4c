"""Ctrl-C and termination signals that are remembered."""

import signal

import pytest

from lyftdata.cli.stop_request import StoppedError, StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_program_at_its_next_check(number):
    """Not where it is at that moment; a second signal changes nothing."""
    with StopRequest() as stop:
        stop.check()
        signal.raise_signal(number)
        signal.raise_signal(number)

        with pytest.raises(StoppedError):
            stop.check()


def test_the_handlers_before_are_there_again_afterwards():
    """Ctrl-C ends the process as usual."""
    before = signal.getsignal(signal.SIGINT)

    with StopRequest():
        assert signal.getsignal(signal.SIGINT) is not before

    assert signal.getsignal(signal.SIGINT) is before
