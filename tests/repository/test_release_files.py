"""The files of a release: reproducible, and with accepted licences only."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest
from tools import check_licences

ROOT = Path(__file__).parents[2]
# What a build reads or packs, without the other files in a checkout.
SOURCES = (
    "src",
    "docs",
    "examples",
    "tools",
    "requirements",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "Makefile",
)


def build(checkout: Path, directory: Path) -> dict[str, str]:
    """Build wheel and sdist; return the digest of each."""
    program = Path(sys.executable).with_name("hatchling")
    command = [str(program), "build", "-t", "wheel", "-t", "sdist", "-d", str(directory)]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True, timeout=300)
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in directory.iterdir()}


@pytest.fixture
def checkouts(tmp_path) -> list[Path]:
    """Return two copies of the sources, with different times and umasks."""
    made = []
    for name, mode, at in (("first", 0o022, 1_700_000_000), ("second", 0o077, 1_800_000_000)):
        checkout = tmp_path / name
        before = os.umask(mode)
        try:
            for source in SOURCES:
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copyfile
                checkout.mkdir(exist_ok=True)
                copy(ROOT / source, checkout / source)
        finally:
            os.umask(before)
        for file in checkout.rglob("*"):
            os.utime(file, (at, at))
        made.append(checkout)
    return made


def test_the_same_sources_give_the_same_bytes(checkouts, tmp_path):
    """Wheel and sdist do not depend on the time, the directory or the user of the build."""
    first, second = (build(checkout, tmp_path / f"dist-{checkout.name}") for checkout in checkouts)

    assert len(first) == 2
    assert first == second


def test_an_sdist_contains_what_its_makefile_needs(checkouts, tmp_path):
    """It has the requirements, and no file of an environment."""
    build(checkouts[0], tmp_path / "dist")
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {
        "Makefile",
        "pyproject.toml",
        "requirements/run.txt",
        "requirements/worker.txt",
        "LICENSE",
    } <= names
    assert not [
        name for name in names if name.startswith((".venv", "dist", "site/")) or name.endswith(".pyc")
    ]


@pytest.mark.parametrize(
    ("licences", "problem"),
    [
        ([{"license": {"id": "MIT"}}], None),
        ([{"expression": "Apache-2.0 OR BSD-3-Clause"}], None),
        ([{"license": {"name": "License :: OSI Approved :: BSD License"}}], None),
        (
            [{"license": {"id": "GPL-3.0-only"}}],
            "part: GPL-3.0-only is neither permissive nor listed as an exception",
        ),
        (
            [{"expression": "MIT AND AGPL-3.0"}],
            "part: AGPL-3.0 is neither permissive nor listed as an exception",
        ),
        ([], "part: no licence is stated"),
    ],
)
def test_a_licence_that_was_not_accepted_is_found(tmp_path, capsys, licences, problem):
    """A component with a stricter licence, or without one, stops the release."""
    bill = tmp_path / "sbom.json"
    bill.write_text(json.dumps({"components": [{"name": "part", "version": "1", "licenses": licences}]}))

    code = check_licences.main(str(bill))

    assert (code, capsys.readouterr().err.strip() or None) == (0 if problem is None else 1, problem)


def test_the_drivers_licence_is_accepted_only_for_the_driver():
    """The LGPL is accepted for PostgreSQL's driver, but not for another component."""
    assert check_licences.problem("psycopg", {"LGPL-3.0-only"}) is None
    assert check_licences.problem("other", {"LGPL-3.0-only"}) is not None


def test_the_licence_of_the_ca_list_is_accepted_only_for_it():
    """The MPL is accepted for `certifi`, which the extra `otel` needs, but not for another component."""
    assert check_licences.problem("certifi", {"MPL-2.0"}) is None
    assert check_licences.problem("other", {"MPL-2.0"}) is not None


def test_a_licence_missing_from_the_bill_is_known_only_for_that_component():
    """If the bill states a licence, that one counts; other components without a licence have none."""
    strict = {"name": "protobuf", "licenses": [{"license": {"id": "GPL-3.0-only"}}]}

    assert check_licences.licences({"name": "protobuf"}) == {"BSD-3-Clause"}
    assert check_licences.licences(strict) == {"GPL-3.0-only"}
    assert check_licences.licences({"name": "other"}) == set()


def test_there_is_a_bill_of_materials_for_each_requirements_file():
    """`make sbom` reads every list that `make dist` writes, including the Server's with tracing."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [recipe] = re.findall(r"^dist: .*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    [sides] = re.findall(r"for side in ([\w -]+); do", makefile)

    written = re.findall(r">([\w-]+)\.txt", recipe)
    assert "server-otel" in written
    assert sorted(sides.split()) == sorted(written)
