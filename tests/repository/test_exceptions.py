"""An exception gets its facts when it is made, and is not changed later."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "lyftdata"
CHANGING_METHODS = {"add_note", "with_traceback", "__setattr__"}
CHAIN = {"__cause__", "__context__", "__traceback__", "__suppress_context__", "__notes__", "args"}
# A class for each conflict and each noun would mean a class for each message, so the constructors of these set a code for each
# instance, which overrides the class's.
CODES_PER_INSTANCE = {
    ("ConflictError", "code"),
    ("DeviceLoginError", "code"),
    ("IssuerSignInError", "code"),
    ("NotFoundError", "code"),
}


def modules() -> list[Path]:
    """Return every source file."""
    return sorted(SOURCE.rglob("*.py"))


def is_exception_name(name: str) -> bool:
    """Return whether a name is an exception class's, by the linter's naming rule (N818)."""
    return name.endswith(("Error", "Exception"))


def exceptions_of(scope: ast.AST) -> set[str]:
    """Return the names of exceptions in a function: caught, made, or annotated arguments."""
    held: set[str] = set()
    for node in ast.walk(scope):
        if isinstance(node, ast.ExceptHandler) and node.name:
            held.add(node.name)
        elif isinstance(node, ast.arg) and node.annotation is not None:
            named = {n.id for n in ast.walk(node.annotation) if isinstance(n, ast.Name)}
            if any(is_exception_name(name) for name in named):
                held.add(node.arg)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            made = node.value.func
            if isinstance(made, ast.Name) and is_exception_name(made.id):
                held |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return held


def is_just_made(node: ast.expr) -> bool:
    """Return whether an expression makes an exception, so that a method call on it is still part of making it."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and is_exception_name(node.func.id)


def changes_of(tree: ast.Module) -> Iterator[ast.Attribute | ast.Call]:
    """Yield each expression that changes an exception after it was made."""
    for scope in ast.walk(tree):
        if not isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        held = exceptions_of(scope)
        for node in ast.walk(scope):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
                owner = node.value.id if isinstance(node.value, ast.Name) else ""
                if owner in held or (owner != "self" and node.attr in CHAIN):
                    yield node
            elif isinstance(node, ast.Call):
                called = node.func
                if isinstance(called, ast.Attribute) and called.attr in CHANGING_METHODS:
                    if not is_just_made(called.value):
                        yield node
                elif isinstance(called, ast.Name) and called.id in {"setattr", "delattr"}:
                    yield node


@pytest.mark.parametrize(
    "line",
    [
        "error.claimed_worker = 'press-01'",
        "error.__cause__ = None",
        "error.add_note('at start')",
        "setattr(error, 'code', 'x')",
        "raise error.with_traceback(None)",
        "made = ValueError()\n        made.code = 'x'",
    ],
)
def test_the_check_finds_a_change(line):
    """The check below reports each way to change an exception."""
    source = f"def run():\n    try:\n        work()\n    except ValueError as error:\n        {line}\n"
    assert list(changes_of(ast.parse(source)))


def test_no_exception_is_changed_after_it_was_made():
    """No code sets an attribute, a note, a cause or a traceback on an exception that it caught, made or received."""
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in modules()
        for node in changes_of(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_the_facts_of_an_exception_are_final():
    """Each attribute that an exception's constructor sets is Final, so the type checker rejects a later assignment."""
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno} {kind.name}.{target.attr}"
        for path in modules()
        for kind in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(kind, ast.ClassDef) and is_exception_name(kind.name)
        for node in ast.walk(kind)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Attribute) and (kind.name, target.attr) not in CODES_PER_INSTANCE
    ]
    assert found == []
