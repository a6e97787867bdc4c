"""The files of docs/how-to/test-a-service.md, written as a reader would write them, and their tests."""

import os
import re
import subprocess
import sys
from pathlib import Path

from lyftdata.testing import Flaw

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "test-a-service.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_tests_on_the_page_pass(tmp_path):
    """With only the installed package and pytest, the fixture is available and there are no warnings."""
    files = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE))
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    # One of the plugins installed here causes a warning itself.
    options = ("-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:asyncio", "--rootdir", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    tests = len(re.findall(r"^def test_", "\n".join(files.values()), re.MULTILINE))
    assert f"{tests - 1 + len(Flaw.offline())} passed" in done.stdout
    assert len(files) == TEXT.count("```python")


def test_the_page_lists_every_flaw():
    """The page lists the program's flaws, and no others."""
    assert re.findall(r"^\| `([A-Z_]+)` \|", TEXT, re.MULTILINE) == [flaw.name for flaw in Flaw]
