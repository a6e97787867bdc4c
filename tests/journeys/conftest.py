"""Journeys run real processes; whatever a journey starts ends with it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.processes import STARTED, Site

OpenSite = Callable[..., Site]


@pytest.fixture
def open_site(tmp_path: Path) -> Iterator[OpenSite]:
    """Return a function that starts a Server with the environment that the journey wants."""

    def start(**environ: str) -> Site:
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
