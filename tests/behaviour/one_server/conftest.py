"""A whole Server in this process, with the fixtures of tests/unit."""

from tests.unit.conftest import _shared_starts, admin, opened, press, server, unhurried
from tests.unit.web.conftest import browser, viewer

__all__ = ["_shared_starts", "admin", "browser", "opened", "press", "server", "unhurried", "viewer"]
