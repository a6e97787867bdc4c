"""`lyftdata completion`."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lyftdata.cli.main import cli


def test_completion_completes_in_bash():
    """bash, given our script, completes a command and a subcommand."""
    program = f"""
export PATH="{Path(sys.executable).parent}:$PATH"
eval "$(lyftdata completion bash)"
ask() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _lyftdata_completion lyftdata; echo "${{COMPREPLY[@]}}"; }}
ask lyftdata wor
ask lyftdata workers dis
"""
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["workers", "disable"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_scripts_for_other_shells(shell):
    """Zsh and fish get scripts of their own."""
    assert "_LYFTDATA_COMPLETE" in CliRunner().invoke(cli, ["completion", shell]).output
