"""`lyftdata completion`."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lyftdata.cli.main import cli


def test_bash_completes_commands_and_subcommands():
    """With the script that lyftdata prints."""
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
def test_other_shells_have_their_own_scripts(shell):
    """Those are zsh and fish."""
    assert "_LYFTDATA_COMPLETE" in CliRunner().invoke(cli, ["completion", shell]).output
