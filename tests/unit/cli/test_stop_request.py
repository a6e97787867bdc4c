"""Ctrl-C and termination signals are remembered until the next check."""

import signal

import pytest

from lyftdata.cli.stop_request import StoppedError, StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_program_at_its_next_check(number):
    """Not wherever it happens to be; a second signal changes nothing."""
    with StopRequest() as stop:
        stop.check()
        signal.raise_signal(number)
        signal.raise_signal(number)

        with pytest.raises(StoppedError):
            stop.check()


def test_the_previous_handlers_are_restored():
    """Then Ctrl-C ends the process as usual."""
    before = signal.getsignal(signal.SIGINT)

    with StopRequest():
        assert signal.getsignal(signal.SIGINT) is not before

    assert signal.getsignal(signal.SIGINT) is before
