"""Structs are prepared before threads use them."""

import ast
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[3] / "src" / "lyftdata"

# Over and over, threads use a struct for the first time at the same moment.
_AT_ONCE = """
import enum, sys, threading
import msgspec
from lyftdata.core.structs import prepare_structs

sys.setswitchinterval(1e-6)
for number in range(200):
    kind = enum.Enum(f"Kind{number}", [(f"member_{i}", f"value {i}") for i in range(60)])
    part = msgspec.defstruct(f"Part{number}", [("a", int), ("b", str)])
    whole = msgspec.defstruct(f"Whole{number}", [("kind", kind), ("part", part), ("end", int)])
    start = threading.Barrier(3)

    def read():
        start.wait()
        prepare_structs(whole)
        given = {"kind": "value 3", "part": {"a": 1, "b": "x"}, "end": 1}
        assert msgspec.convert(given, whole, strict=False).end == 1

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("done")
"""


def test_threads_may_use_a_struct_for_the_first_time_at_once():
    """Without preparation, msgspec crashes with a segmentation fault."""
    ended = subprocess.run(
        [sys.executable, "-c", _AT_ONCE], capture_output=True, text=True, timeout=180, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr


def _is_call(node, *names):
    return isinstance(node, ast.Call) and ast.unparse(node.func) in names


def _read_by(node: ast.AST) -> ast.AST | None:
    """Return the type that a call decodes into, or None."""
    if not isinstance(node, ast.Call):
        return None
    if _is_call(node, "from_row"):
        return node.args[0]
    if _is_call(node, "msgspec.json.decode"):
        return next((keyword.value for keyword in node.keywords if keyword.arg == "type"), None)
    return node.args[1] if _is_call(node, "msgspec.convert") else None


def _names(node):
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}


def test_every_struct_that_is_decoded_is_prepared():
    """Where it is defined, or before it is used."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    read = {name for node in nodes if (kind := _read_by(node)) is not None for name in _names(kind)}
    # Parameters of functions that are passed a type.
    read -= {"kind", "T"}
    prepared = {
        name
        for node in nodes
        if isinstance(node, ast.Call) and _is_call(node, "prepare_structs")
        for given in node.args
        for name in _names(given)
    }
    assert {"PollReply", "WorkerRecord"} <= read
    assert read - {"dict", "list", "str", "object", "Any"} <= prepared
