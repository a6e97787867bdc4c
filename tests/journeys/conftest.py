"""Journeys run real processes; whatever a journey starts ends with it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.processes import STARTED, Site, end_started

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
    end_started()


@pytest.fixture
def site(own_site: Site) -> Site:
    """Return the Server of a journey; a file whose journeys can share one overrides this with `shared_site`."""
    return own_site


@pytest.fixture
def own_site(open_site: OpenSite) -> Site:
    """Return a Server with Auto-Enrollment on, and an operator who is signed in."""
    started = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    started.sign_in()
    return started


class _SharedSite:
    """One Server that the journeys of a file use one after the other."""

    def __init__(self, site: Site) -> None:
        self._site = site

    @contextlib.contextmanager
    def lent(self, root: Path) -> Iterator[Site]:
        """Give it to a journey, whose hosts are in a directory of its own; end and remove what the journey has made."""
        site = self._site.seen_from(root)
        if not site.server.alive():
            site.start_server()
        yield site
        STARTED[:] = [program for program in STARTED if program is not site.server]
        end_started()
        STARTED.append(site.server)
        self._site = site
        if site.server.alive() and (left := site.workers()):
            site.operator.done("workers", "delete", *left, "--yes")


@pytest.fixture(scope="module")
def _shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_SharedSite]:
    site = Site(tmp_path_factory.mktemp("shared"), LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    site.sign_in()
    yield _SharedSite(site)
    end_started()


@pytest.fixture
def shared_site(_shared_site: _SharedSite, tmp_path: Path) -> Iterator[Site]:
    """
    Return a Server with Auto-Enrollment on and no Workers, on SQLite, and an operator who is signed in.

    It is the same Server for all journeys of a file that ask for it; one may end it and start it again.
    """
    with _shared_site.lent(tmp_path) as site:
        yield site


@pytest.fixture
def plain_site(open_site: OpenSite) -> Site:
    """Return a Server as it comes, Auto-Enrollment off, and an operator who is signed in."""
    started = open_site()
    started.sign_in()
    return started
