"""The workflows run existing Makefile targets, with pinned actions and no more permissions than they need."""

import itertools
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def commands(workflow: Path) -> list[str]:
    """Return every command that a workflow runs."""
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


def made(script: str) -> set[str]:
    """Return the Makefile targets that a shell script runs, without those in comments and in printed texts."""
    words = [shlex.split(line, comments=True) for line in script.splitlines()]
    return {
        target
        for line in words
        for command, target in itertools.pairwise(line)
        if command.rpartition("/")[2] == "make"
    }


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_its_hash(workflow):
    """A tag can be moved to other code, but a commit cannot."""
    used = [line.strip() for line in workflow.read_text().splitlines() if "uses:" in line]
    assert used
    assert [line for line in used if not PINNED.search(line)] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_no_job_has_permissions_that_it_does_not_list(workflow):
    """By default there are no permissions, a job gets those that it lists, and no credentials are left in the checkout."""
    parsed: dict[str, Any] = yaml.safe_load(workflow.read_text())
    assert parsed["permissions"] == {}
    for job in parsed["jobs"].values():
        assert job["permissions"]["contents"] == "read"
        assert job["timeout-minutes"] <= 90
        for step in job["steps"]:
            if "actions/checkout" in step.get("uses", ""):
                assert step["with"] == {"persist-credentials": False}


def test_every_make_command_of_workflows_hooks_and_ci_exists():
    """CI, the workflows and the hooks call only targets of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    texts = [text for path in WORKFLOWS for text in commands(path)]
    texts += [hook["entry"] for hook in hooks] + [(ROOT / ".ci/run").read_text()]
    called = {name for text in texts for name in made(text)}
    assert {"check", "test", "lowest", "wheel", "coverage"} <= called
    assert called <= targets


def test_pinned_packages_are_audited_each_week():
    """So a vulnerability published after the last push is found too, in every list except the one of the lowest versions."""
    audit = ROOT / ".github/workflows/audit.yml"
    # YAML 1.1 reads the key `on` as true.
    assert {"push", "schedule"} <= set(yaml.safe_load(audit.read_text())[True])
    assert [made(text) for text in commands(audit)] == [{"audit"}]

    printed = subprocess.run(
        ["make", "--dry-run", "audit"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (lists,) = re.findall(r"for list in (.+); do", printed.stdout)
    every = {f"requirements/{path.name}" for path in (ROOT / "requirements").glob("*.txt")}
    assert set(lists.split()) == every - {"requirements/lowest.txt"}


def test_a_commented_command_does_not_count():
    """A command in a comment, or one that is only printed, does not run."""
    assert made("# make check\nmake wheel  # and make lowest\necho 'make test'\nsudo make docs X=1") == {
        "wheel",
        "docs",
    }


def test_the_workflow_tests_every_python_that_the_package_claims():
    """The classifiers and the matrix name the same versions."""
    claimed = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    jobs = yaml.safe_load((ROOT / ".github/workflows/check.yml").read_text())["jobs"]
    assert jobs["tests"]["strategy"]["matrix"]["python"] == claimed
