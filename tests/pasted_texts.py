"""
Every text of the project from which people copy commands, units and manifests.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from lyftdata.cli.main import cli
from lyftdata.web.snippets import snippets

ROOT = Path(__file__).parents[1]
_CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
_LEFT_OUT = {
    ".venv",
    ".venv-audit",
    ".venv-bench",
    ".venv-lowest",
    ".venv-release",
    "venv",
    ".git",
    "node_modules",
    "dist",
    "build",
}


class Text(NamedTuple):
    """A text to paste, and where it comes from."""

    where: str
    text: str


@functools.cache
def all_texts() -> list[Text]:
    """Return every text that people may paste, wherever the project keeps it; read once, when the first test asks."""
    return [*pages(), *examples(), *build_files(), *from_the_ui(), *from_the_command_line(), *messages()]


def pages() -> Iterator[Text]:
    """The README, the changelog and the pages of docs/, with their prose, since commands in it are pasted too."""
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        yield _file(page)


def examples() -> Iterator[Text]:
    """Every file of examples/."""
    for file in sorted((ROOT / "examples").rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            yield _file(file)


def build_files() -> Iterator[Text]:
    """What builds and checks the project: Makefile, Dockerfiles, what CI runs, and every shell script and YAML file."""
    for file in sorted(ROOT.rglob("*")):
        parts = file.relative_to(ROOT).parts
        is_one = (
            file.name in {"Makefile", "Dockerfile"}
            or file.suffix in {".sh", ".yaml", ".yml", ".service"}
            or parts[0] == ".ci"
        )
        if is_one and parts[0] != "examples" and file.is_file() and not _LEFT_OUT & set(parts):
            yield _file(file)


def from_the_ui() -> Iterator[Text]:
    """The snippets of the web UI, filled in, for both strategies; and the text of its templates."""
    for secret, name in (("LYFTDATA_WORKER_API_KEY", "press-01"), ("LYFTDATA_AUTO_ENROLLMENT_KEY", "worker")):
        for url, ca in (
            ("https://lyft.example", None),
            ("https://lyft.example", _CA),
            ("https://lyft.example", ""),
            ("http://localhost:3000", None),
        ):
            plain = {"LYFTDATA_URL": url, "LYFTDATA_WORKER_ID": name}
            for snippet in snippets(
                plain, secret=secret, name=name, command=["python", "/opt/press/press.py"], ca=ca
            ):
                where = f"UI: {snippet.title}, {secret}, {url}, {'no' if ca is None else 'a'} CA"
                yield Text(where, f"{snippet.how}\n{snippet.text}")
    for template in sorted((ROOT / "src").rglob("*.html")):
        yield _file(template)


def from_the_command_line() -> Iterator[Text]:
    """The help of every command."""

    def walk(command: click.Command, context: click.Context) -> Iterator[Text]:
        yield Text(context.command_path, command.get_help(context))
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None
                yield from walk(below, click.Context(below, info_name=name, parent=context))

    # click keeps the names of a command's options from the first context that asks for them.
    yield from walk(cli, click.Context(cli, info_name="lyftdata", **cli.context_settings))


def messages() -> Iterator[Text]:
    """Every string of the program: errors, hints and output."""
    for file in sorted((ROOT / "src").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        joined = [node for node in nodes if isinstance(node, ast.JoinedStr)]
        parts = {part for node in joined for part in node.values}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                text = "".join(_constant(part) or "{…}" for part in node.values)
            else:
                text = "" if node in parts else _constant(node)
            if " " in text:
                yield Text(f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", text)


def _constant(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _file(path: Path) -> Text:
    return Text(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
