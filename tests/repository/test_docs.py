"""The reference pages are current, and links, paths and settings in the docs exist."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from lyftdata.core.audit_actions import AUDIT_ACTIONS
from lyftdata.server.admin.alerts.watch import INCIDENTS

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def generator():
    """Return tools/generate_docs.py as a module."""
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "tools" / "generate_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_pages_are_current():
    """Settings, command line, refusals and HTTP API are generated from the program; a stale page fails here."""
    assert generator().stale_pages() == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_to_files(page):
    """Every relative link on a page is a file of the project."""
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_files_that_the_pages_name_exist():
    """Every path in backquotes under src/, docs/ or tests/ exists."""
    for page in PAGES:
        for path in re.findall(r"`((?:src|docs|tests)/[\w/.-]+)`", page.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_settings_in_prose_exist():
    """Every LYFTDATA_ name on the pages is a setting of lyftdata."""
    from lyftdata.cli.given_token import TABLE as COMMANDS
    from lyftdata.core.command_tokens import GIVEN_TO_COMMAND
    from lyftdata.server.runtime.settings_table import TABLE as SERVER
    from lyftdata.worker.settings import TABLE as WORKER

    known = (
        {setting.name for setting in (*SERVER, *WORKER, *COMMANDS)}
        | GIVEN_TO_COMMAND
        | {"LYFTDATA_CONFIG_DIR"}
    )
    for page in PAGES:
        for name in re.findall(r"LYFTDATA_[A-Z_]+[A-Z]", page.read_text(encoding="utf-8")):
            assert {name, name.removesuffix("_FILE")} & known, f"{page.name}: {name}"


def test_every_decision_is_in_the_index():
    """The index names each page in docs/decisions/ with its title."""
    decisions = ROOT / "docs" / "decisions"
    index = (decisions / "README.md").read_text(encoding="utf-8")
    for page in sorted(decisions.glob("0*.md")):
        number, _, title = page.read_text(encoding="utf-8").split("\n")[0].removeprefix("# ").partition(". ")
        assert f"| {int(number):04} | [{title}]({page.name}) |" in index


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_block_can_be_pasted_as_a_whole(page):
    """A command that reads what the operator types is the last of its block: otherwise it would read the commands after it."""
    for block in re.findall(
        r"^ *```console\n(.*?)^ *```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    ):
        commands = [line.strip() for line in block.splitlines() if line.strip()[:2] in {"# ", "$ "}]
        assert not [
            command for command in commands[:-1] if re.match(r"[#$] cat > \S|.* --pwprompt\b", command)
        ]


def printed_headings():
    """Return the columns of each table of four or more columns that a command prints, in capitals as printed."""
    found = []
    for path in (ROOT / "src" / "lyftdata" / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Tuple) and len(node.elts) > 3:
                names = [
                    one.value.upper()
                    for one in node.elts
                    if isinstance(one, ast.Constant) and isinstance(one.value, str)
                ]
                found += [names] if len(names) == len(node.elts) else []
    return found


def test_tables_on_the_pages_have_the_headings_that_the_commands_print():
    """With every column, and in capitals."""
    printed = printed_headings()
    beginnings = [heading[:2] for heading in printed]
    lines = [
        re.split(r" {2,}", line) for page in PAGES for line in page.read_text(encoding="utf-8").splitlines()
    ]
    shown = [line for line in lines if [cell.upper() for cell in line[:2]] in beginnings]

    assert shown
    assert [line for line in shown if line not in printed] == []


def test_the_page_about_events_lists_every_alert():
    """An operator chooses from its table what to be woken for."""
    page = (ROOT / "docs" / "how-to" / "deliver-events.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(alert\.\w+)` \|", page, re.MULTILINE)

    assert sorted(listed) == sorted(f"alert.{kind.value}" for kind in INCIDENTS)

    assert sorted([*listed, "alert.ended"]) == sorted(
        action for action in AUDIT_ACTIONS if action.startswith("alert.")
    )
