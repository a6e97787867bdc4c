"""`lyftdata`, but its agent is killed at a step of the rotation of its identity key (`KILL_AT`)."""

import os
import signal
import sys

from lyftdata.cli.main import main
from lyftdata.core.identity_keys import IdentityKey
from lyftdata.worker.identity.state import StateDirectory

_make, _adopt = StateDirectory.load_or_make_rotated_key, StateDirectory.adopt_rotated_key


def make(directory: StateDirectory) -> IdentityKey:
    """Write the next key; at `written` the agent is killed after that, before the Server gets the key."""
    key = _make(directory)
    _kill_at("written")
    return key


def adopt(directory: StateDirectory) -> None:
    """Adopt the next key; at `registered` the agent is killed before that, at `adopted` after it, before the key is used."""
    _kill_at("registered")
    _adopt(directory)
    _kill_at("adopted")


def _kill_at(step: str) -> None:
    if os.environ.get("KILL_AT") == step:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    StateDirectory.load_or_make_rotated_key = make  # type: ignore[method-assign, assignment]
    StateDirectory.adopt_rotated_key = adopt  # type: ignore[method-assign, assignment]
    sys.exit(main())
