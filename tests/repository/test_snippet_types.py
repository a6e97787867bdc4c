"""The Python code on the pages passes mypy as in a reader's own project."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CONFIGURATION = """
[mypy]
strict = True

# Celery and kombu have no types.
[mypy-celery.*,kombu.*]
ignore_missing_imports = True

[mypy-celery_on_rabbitmq_1]
disable_error_code = attr-defined,no-untyped-call,untyped-decorator
"""


def snippets():
    """
    Return the Python blocks of every page, by a module name that tells where they are.

    Blocks that show a part of a test are left out, since `make check` checks the test.
    """
    found = {}
    tests = [test.read_text(encoding="utf-8") for test in (ROOT / "tests" / "peers").glob("*.py")]
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        for number, block in enumerate(
            re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE), 1
        ):
            if any(block.strip() in test for test in tests):
                continue
            name = re.match(r"# (\w+\.py)\n", block)
            where = f"{page.stem.replace('-', '_')}_{number}.py"
            found[name[1] if name else where] = block
    return found


def test_every_snippet_on_the_pages_is_strictly_typed(tmp_path):
    """`mypy --strict` accepts each of them, with the library's types."""
    blocks = snippets()
    assert len(blocks) > 20  # otherwise the pattern does not find the blocks
    for name, block in blocks.items():
        (tmp_path / name).write_text(block)
    (tmp_path / "mypy.ini").write_text(CONFIGURATION)

    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=mypy.ini", "--cache-dir=cache", *sorted(blocks)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
