"""What the tests of packages and images share: `make packages` runs them, and needs root and Debian's archive."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.packages.debian_roots import Root, make_root, missing

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def pristine_root(tmp_path_factory) -> Iterator[Path]:
    """Return a minimal Debian that tests must not change."""
    if missing():
        pytest.skip(missing())
    root = make_root(tmp_path_factory.mktemp("debian") / "root")
    yield root
    shutil.rmtree(root)


@pytest.fixture
def debian(pristine_root, tmp_path) -> Iterator[Root]:
    """Return a Debian that only this test uses."""
    directory = tmp_path / "root"
    subprocess.run(["cp", "--archive", "--reflink=auto", pristine_root, directory], check=True)
    yield Root(directory)
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def dist(tmp_path_factory) -> Path:
    """Return a copy of the output of `make dist`, to build packages in."""
    directory = tmp_path_factory.mktemp("packages") / "dist"
    shutil.copytree(ROOT / "dist", directory)
    return directory
