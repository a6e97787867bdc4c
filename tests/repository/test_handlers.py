"""Handlers are passed to constructors or methods, so that "go to definition" finds what calls them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "lyftdata"
# Python's own hooks cannot be set in any other way.
HOOKS_OF_PYTHON = {"sys", "threading"}


def functions_of(tree: ast.Module) -> set[str]:
    """Return the names of the functions and methods that a module defines."""
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def handlers_set_from_outside(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that assign a function, a method or a lambda to an attribute of another object."""
    functions = functions_of(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign):
            continue
        value = node.value
        name = (
            value.id
            if isinstance(value, ast.Name)
            else value.attr
            if isinstance(value, ast.Attribute)
            else ""
        )
        if not isinstance(value, ast.Lambda) and name not in functions:
            continue
        for target in node.targets:
            if isinstance(target, ast.Attribute):
                owner = target.value.id if isinstance(target.value, ast.Name) else ""
                if owner not in {"self", "cls", *HOOKS_OF_PYTHON}:
                    yield node.lineno


@pytest.mark.parametrize("value", ["self._note", "note", "lambda login: None"])
def test_the_check_finds_a_handler_that_is_set_from_outside(value):
    """The check below reports a method, a function and a lambda."""
    source = f"def note(): ...\nclass A:\n    def _note(self): ...\n    def go(self, brokers):\n        brokers.tell = {value}\n"
    assert list(handlers_set_from_outside(ast.parse(source))) == [5]


def test_no_handler_is_set_from_outside():
    """No module assigns a function to an attribute of an object other than `self`."""
    found = [
        f"{path.relative_to(SOURCE)}:{line}"
        for path in sorted(SOURCE.rglob("*.py"))
        for line in handlers_set_from_outside(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []
