"""
Reruns the few tests that failed in the last run, one after the other, with nothing else running.

A test with real processes and browsers that fails in the whole run and passes alone has a fault, but that is not a reason
to block a change: CI reports it and continues. CI stops if more than a few tests failed, if the run did not finish, or if a
test fails again.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

AT_MOST = 3
# Where pytest's cache keeps each value by its key, relative to the directory that the tests are run in.
CACHE = Path(".pytest_cache/v")
OUTCOME = "lyftdata/outcome"
FAILED = "cache/lastfailed"


def remember(config: pytest.Config, exit_status: int, missing_causes: list[str]) -> None:
    """Record how a run ended; pytest itself records which tests failed."""
    # The cache may be disabled.
    if cache := getattr(config, "cache", None):
        cache.set(OUTCOME, {"exit_status": int(exit_status), "missing_causes": missing_causes})


def failed_tests() -> list[str]:
    """Return the tests that failed in the last run; exit with the reason if they are not run again."""
    outcome = _read(OUTCOME)
    if outcome.get("exit_status") != pytest.ExitCode.TESTS_FAILED:
        sys.exit("not run again: the last run did not come to its end, or no test failed in it")
    if outcome["missing_causes"]:
        sys.exit(f"not run again: no test made a Server answer {', '.join(outcome['missing_causes'])}")
    failed = sorted(_read(FAILED))
    if not 1 <= len(failed) <= AT_MOST:
        sys.exit(f"not run again: {len(failed)} tests failed, and only 1 to {AT_MOST} get a second run")
    return failed


def main(arguments: list[str]) -> int:
    """Rerun the failed tests; return the exit code."""
    failed = failed_tests()
    # Without the cache, so that the failures of the whole run stay on record.
    code = pytest.main(["-p", "no:cacheprovider", *arguments, *failed])
    if code == pytest.ExitCode.OK:
        print("These tests failed in the whole run and passed alone. Each has a fault, which is to be fixed:")
        print("\n".join(f"UNRELIABLE {name}" for name in failed))
    return int(code)


def _read(key: str) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads((CACHE / key).read_text())
    except FileNotFoundError:
        return {}
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
