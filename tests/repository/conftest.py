"""A whole Server in this process, as tests/unit has it: the architecture page names the files that a request runs through."""

from tests.unit.conftest import _shared_starts, admin, opened, press, server

__all__ = ["_shared_starts", "admin", "opened", "press", "server"]
