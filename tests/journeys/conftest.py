"""Journeys run real processes; whatever a journey starts ends with it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.processes import STARTED, Site

OpenSite = Callable[..., Site]


# These are made with each database: the procedures of the specification from end to end, commands that write to the database
# beside the Server, and a database that is locked. What the others promise does not depend on where the state is;
# tests/store and tests/several show on both databases what a store must do.
ON_EVERY_DATABASE = {"test_source_page", "test_recovery", "test_blocked_writes"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the journeys in which the database matters with each database."""
    if "database" in metafunc.fixturenames:
        name = Path(metafunc.module.__file__ or "").stem
        databases = ["sqlite", "postgresql"] if name in ON_EVERY_DATABASE else ["sqlite"]
        metafunc.parametrize("database", databases)


@pytest.fixture
def open_site(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> Iterator[OpenSite]:
    """Return a function that starts a Server with the environment that the journey wants."""

    def start(**environ: str) -> Site:
        if database == "postgresql":
            environ["LYFTDATA_DATABASE_URL"] = request.getfixturevalue("cluster").new_database()
        return Site(tmp_path, **environ)

    yield start
    while STARTED:
        program = STARTED.pop()
        if program.alive():
            program.kill()


@pytest.fixture
def site(open_site: OpenSite) -> Site:
    """Return a Server with Auto-Enrollment on, and an operator who is signed in."""
    started = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    started.sign_in()
    return started


@pytest.fixture
def plain_site(open_site: OpenSite) -> Site:
    """Return a Server as it comes, Auto-Enrollment off, and an operator who is signed in."""
    started = open_site()
    started.sign_in()
    return started
