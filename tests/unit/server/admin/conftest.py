"""Fixtures for the audit log: a third party that has only the published key."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.audit_scripts import run_script

Verify = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def third_party(tmp_path: Path) -> Verify:
    """Return a function that runs a script from the documentation on an export or a proof."""
    root = tmp_path / "third-party"
    root.mkdir()

    def verify(content: bytes, key: str, name: str = "verify_export.py") -> subprocess.CompletedProcess[str]:
        (root / "given").write_bytes(content)
        (root / "audit.key").write_text(key)
        return run_script(name, root, "given", "audit.key")

    return verify
