"""`lyftdata`, but its Server removes ephemeral Workers seconds after they were last seen, not minutes."""

import sys
from datetime import timedelta
from typing import Any

import msgspec

from lyftdata.cli.main import main
from lyftdata.server.admin import ephemeral_workers
from lyftdata.server.runtime import background, settings
from lyftdata.server.runtime.settings import ServerSettings

_read = settings.read_server_settings


def read(*given: Any, **named: Any) -> ServerSettings:
    """Read the settings; the shortest times that a Server accepts are too long for a test."""
    return msgspec.structs.replace(
        _read(*given, **named), ephemeral_leave_after=timedelta(seconds=5), worker_token_ttl_s=15
    )


if __name__ == "__main__":
    settings.read_server_settings = read
    ephemeral_workers._TOKEN_WRITTEN_WITHIN = timedelta(seconds=5)
    background._REMOVE_ABSENT_EVERY_S = 1.0
    background._LOOK_FOR_REPEATED_EVERY_S = 1.0
    sys.exit(main())
