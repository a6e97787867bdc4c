"""A whole Server in this process, as in tests/unit, since the architecture page names the files that a request runs through."""

from tests.unit.conftest import _shared_starts, admin, opened, press, server

__all__ = ["_shared_starts", "admin", "opened", "press", "server"]
