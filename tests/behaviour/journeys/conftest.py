"""Journeys: tests with real processes; everything that a journey starts ends with it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.processes import STARTED, Site, end_started

OpenSite = Callable[..., Site]


# Run with each database: commands that write to the database while the Server runs, a database that is locked, and the
# specification's procedures from end to end. The other journeys do not depend on where the state is; tests/store and
# tests/behaviour/several_servers test the store itself on both databases.
FILES_ON_EVERY_DATABASE = {"test_recovery", "test_blocked_writes"}
JOURNEYS_ON_EVERY_DATABASE = {
    "test_api_key_procedure",
    "test_a_chosen_id_a_name_and_a_key_that_is_reused",
    "test_a_key_for_chosen_workers_works_for_those_alone",
    "test_auto_enrollment_procedure",
    "test_both_strategies_in_tandem",
    "test_an_expired_key_is_refused",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the journeys that depend on the database with each database."""
    if "database" in metafunc.fixturenames:
        is_on_every = (
            Path(metafunc.module.__file__ or "").stem in FILES_ON_EVERY_DATABASE
            or metafunc.function.__name__ in JOURNEYS_ON_EVERY_DATABASE
        )
        metafunc.parametrize("database", ["sqlite", "postgresql"] if is_on_every else ["sqlite"])


@pytest.fixture
def open_site(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> Iterator[OpenSite]:
    """Return a function that starts a Server with the journey's environment."""

    def start(**environ: str) -> Site:
        if database == "postgresql":
            environ["LYFTDATA_DATABASE_URL"] = request.getfixturevalue("cluster").new_database()
        return Site(tmp_path, **environ)

    yield start
    end_started()


@pytest.fixture
def site(own_site: Site) -> Site:
    """Return the Server of a journey; a file whose journeys can share one overrides this fixture with `shared_site`."""
    return own_site


@pytest.fixture
def own_site(open_site: OpenSite) -> Site:
    """Return a Server with Auto-Enrollment on and an operator who is signed in."""
    started = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    started.sign_in()
    return started


class _SharedSite:
    """One Server that the journeys of a file use one after the other."""

    def __init__(self, site: Site) -> None:
        self._site = site

    @contextlib.contextmanager
    def lent(self, root: Path) -> Iterator[Site]:
        """Lend it to a journey, whose hosts have their own directory; then stop and remove what the journey has created."""
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
    Return a Server on SQLite with Auto-Enrollment on, no Workers, and an operator who is signed in.

    It is the same Server for all journeys of a file that use it; a journey may stop it and start it again.
    """
    with _shared_site.lent(tmp_path) as site:
        yield site


@pytest.fixture
def plain_site(open_site: OpenSite) -> Site:
    """Return a Server with default settings, so with Auto-Enrollment off, and an operator who is signed in."""
    started = open_site()
    started.sign_in()
    return started
