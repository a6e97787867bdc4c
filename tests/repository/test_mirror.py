"""Unit tests mirror the source, so that a module's tests and a test's module are easy to find."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "lyftdata"
MIRRORS = {ROOT / "tests" / "unit": SOURCE, ROOT / "tests" / "store": SOURCE / "store"}

# Tests about a package as a whole, each with the reason why its subject is not a module of the package.
ABOUT_A_PACKAGE = {
    "tests/unit/verify/test_docstrings.py": "every public class",
    "tests/unit/verify/test_fail_closed.py": "every adapter, with a verifier that does anything but verify",
    "tests/unit/verify/test_frameworks.py": "ASGI, FastAPI and WSGI answer alike",
    "tests/unit/verify/test_imports.py": "what the import of the package costs",
    "tests/unit/verify/test_refusal_log.py": "where a developer reads why a token was refused, whichever part refused it",
}

# Modules without their own test file, in packages where each module must have one: parts of several routes, and modules that
# are tested elsewhere.
TESTED_ELSEWHERE = {
    "src/lyftdata/server/api": {
        "approval_wait": "tests/unit/server/api/admin/test_approvals.py",
        "bearer": "every route that takes a token",
        "client_credential": "the token endpoint",
        "ext_authz": "test_auth_verify.py asks the same of both ways",
        "identity_headers": "test_auth_verify.py",
        "identity_key": "tests/unit/server/admission/test_identity_key_rotation.py",
        "operator_gate": "every route of api/admin",
        "refusal_response": "every route that refuses",
        "token_request": "the token endpoint",
    },
    "src/lyftdata/server/api/admin": {
        "events": "over a socket, since its answer has no end: tests/behaviour",
        "preconditions": "every route with If-Match",
        "registrations": "tests/unit/server/admin/test_repeated_registrations.py",
    },
}


def subject_of(test: Path, tests: Path, source: Path) -> str | None:
    """Return the module or package that a test file is named after, possibly followed by an aspect; None if there is none."""
    folder = source / test.parent.relative_to(tests)
    named = test.stem.removeprefix("test_")
    inside = [path for path in folder.glob("*") if path.suffix == ".py" or path.is_dir()]
    fitting = [
        name for name in (path.stem.lstrip("_") for path in inside) if f"{named}_".startswith(f"{name}_")
    ]
    return max(fitting, key=len, default=None)


def unnamed_tests(mirrors: dict[Path, Path]) -> set[Path]:
    """Return the test files that are not named after a module or package."""
    return {
        test
        for tests, source in mirrors.items()
        for test in tests.rglob("test_*.py")
        if subject_of(test, tests, source) is None
    }


def test_each_unit_test_is_named_after_its_module():
    """A test under tests/unit or tests/store has the folder and the name of its module; CONTRIBUTING.md says where others go."""
    assert {path.relative_to(ROOT).as_posix() for path in unnamed_tests(MIRRORS)} == set(ABOUT_A_PACKAGE)


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("test_keys.py", "keys"),
        ("test_keys_rotation.py", "keys"),
        ("test_private.py", "private"),
        ("test_parts.py", "parts"),
        ("test_key.py", None),
        ("test_keysmith.py", None),
        ("test_other.py", None),
        ("parts/test_inner.py", "inner"),
        ("parts/test_keys.py", None),
        ("elsewhere/test_keys.py", None),
    ],
)
def test_the_check_finds_the_module_of_a_test(tmp_path, name, subject):
    """A test has the name of a module in the same folder, alone or followed by an aspect."""
    source, tests = tmp_path / "src", tmp_path / "tests"
    for file in ("keys.py", "_private.py", "parts/__init__.py", "parts/inner.py"):
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).touch()
    (tests / name).parent.mkdir(parents=True, exist_ok=True)
    (tests / name).touch()

    assert subject_of(tests / name, tests, source) == subject
    assert unnamed_tests({tests: source}) == (set() if subject else {tests / name})


@pytest.mark.parametrize(
    ("source", "tests"),
    [
        ("src/lyftdata/cli", "tests/unit/cli"),
        ("src/lyftdata/server/api", "tests/unit/server/api"),
        ("src/lyftdata/server/api/admin", "tests/unit/server/api/admin"),
        ("src/lyftdata/store/tables", "tests/store/tables"),
    ],
)
def test_each_module_has_its_own_test_file(source, tests):
    """In packages where each module promises something by itself."""
    modules = {path.stem for path in (ROOT / source).glob("*.py")} - {"__init__"}
    tested = {path.stem.removeprefix("test_") for path in (ROOT / tests).glob("test_*.py")}

    assert modules - tested == set(TESTED_ELSEWHERE.get(source, ()))
