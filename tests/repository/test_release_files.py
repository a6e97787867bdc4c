"""What a release consists of: the same bytes each time, and parts under licences that were argued for."""

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
# What a build reads or packs, and nothing that lies about in a checkout beside it.
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
    """Return two copies of the sources, made at different times by users with different defaults."""
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
    """Wheel and sdist do not depend on when, where or by whom they are built."""
    first, second = (build(checkout, tmp_path / f"dist-{checkout.name}") for checkout in checkouts)

    assert len(first) == 2
    assert first == second


def test_an_sdist_holds_what_its_makefile_needs(checkouts, tmp_path):
    """The lists of dependencies are in it, and no file of an environment."""
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
def test_a_licence_that_was_not_argued_for_is_found(tmp_path, capsys, licences, problem):
    """A part with a stricter licence, or with none, ends the release."""
    bill = tmp_path / "sbom.json"
    bill.write_text(json.dumps({"components": [{"name": "part", "version": "1", "licenses": licences}]}))

    code = check_licences.main(str(bill))

    assert (code, capsys.readouterr().err.strip() or None) == (0 if problem is None else 1, problem)


def test_the_drivers_licence_is_argued_for_under_its_name_only():
    """The LGPL of PostgreSQL's driver is no licence for another part to have it."""
    assert check_licences.problem("psycopg", {"LGPL-3.0-only"}) is None
    assert check_licences.problem("other", {"LGPL-3.0-only"}) is not None


def test_the_list_of_cas_is_argued_for_under_its_name_only():
    """The MPL of what the extra `otel` brings is no licence for another part to have it."""
    assert check_licences.problem("certifi", {"MPL-2.0"}) is None
    assert check_licences.problem("other", {"MPL-2.0"}) is not None


def test_a_licence_that_the_bill_leaves_out_is_known_for_that_part_only():
    """What a bill states for it counts all the same, and a part without an entry has none."""
    strict = {"name": "protobuf", "licenses": [{"license": {"id": "GPL-3.0-only"}}]}

    assert check_licences.licences({"name": "protobuf"}) == {"BSD-3-Clause"}
    assert check_licences.licences(strict) == {"GPL-3.0-only"}
    assert check_licences.licences({"name": "other"}) == set()


def test_there_is_a_bill_of_materials_for_each_list_that_can_be_installed():
    """Also for the Server of an image with traces: `make sbom` reads every list that `make dist` writes."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [recipe] = re.findall(r"^dist: .*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    [sides] = re.findall(r"for side in ([\w -]+); do", makefile)

    written = re.findall(r">([\w-]+)\.txt", recipe)
    assert "server-otel" in written
    assert sorted(sides.split()) == sorted(written)
