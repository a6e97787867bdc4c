"""Real processes, with the fixtures of the journeys."""

from tests.behaviour.journeys.conftest import (
    _shared_site,
    open_site,
    own_site,
    plain_site,
    pytest_generate_tests,
    shared_site,
    site,
)

__all__ = [
    "_shared_site",
    "open_site",
    "own_site",
    "plain_site",
    "pytest_generate_tests",
    "shared_site",
    "site",
]
