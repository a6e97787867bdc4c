"""
Parses and orders versions as agents report them, for the search, the sorted list and the fleet policy.

The order is that of PEP 440: `1.4.dev1 < 1.4a1 < 1.4rc1 < 1.4 < 1.4.post1 < 1.4.1`, and `1.4` equals `1.4.0`. The syntax is wider than
PEP 440, since any client may report a version: a leading `v`, the pre-releases of SemVer (`1.4.0-beta.2`), and after a release any
suffix that a distribution adds (`1.4.2-1.el9`), which is not compared.
"""

import functools
import re

import msgspec

_VERSION = re.compile(r"v?(\d{1,9}(?:\.\d{1,9}){0,7})(?!\d)(.*)", re.DOTALL)
_PRE_RELEASE = re.compile(r"[.\-_]?(a|alpha|b|beta|c|rc|pre|preview)(?![a-z])[.\-_]?(\d{0,9})", re.IGNORECASE)
_POST_RELEASE = re.compile(r"[.\-_]?(?:post|rev|r)(?![a-z])[.\-_]?(\d{0,9})", re.IGNORECASE)
_DEVELOPMENT = re.compile(r"[.\-_]?dev(?![a-z])[.\-_]?(\d{0,9})", re.IGNORECASE)

_DEV, _ALPHA, _BETA, _CANDIDATE, _RELEASE, _POST = range(6)
_PHASES = {"a": _ALPHA, "alpha": _ALPHA, "b": _BETA, "beta": _BETA}
# After every development version of the same phase.
_NOT_DEVELOPMENT = 10**9
_RELEASED = (_RELEASE, 0, _NOT_DEVELOPMENT)


class Version(msgspec.Struct, frozen=True, order=True):
    """A version in comparable form: its numbers without trailing zeros, and its stage before or after the release."""

    numbers: tuple[int, ...]
    stage: tuple[int, int, int] = _RELEASED

    @property
    def is_release(self) -> bool:
        """Return whether it is a release and not a pre-release."""
        return self.stage[0] >= _RELEASE


@functools.lru_cache(maxsize=1_024)
def parse_version(text: str) -> Version | None:
    """Parse a version such as `1.4`, `v1.4.2` or `1.5.0rc1`; None if the text is not a version."""
    found = _VERSION.fullmatch(text.strip()) if text.isascii() else None
    if found is None:
        return None
    numbers = tuple(map(int, found[1].split(".")))
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers = numbers[:-1]
    return Version(numbers, _stage_of(found[2]))


def version_order(text: str) -> tuple[tuple[int, ...], tuple[int, int, int]]:
    """Return the sort key of a version; text that is not a version sorts first."""
    parsed = parse_version(text) or Version(())
    # As a tuple, which is compared several times as fast.
    return parsed.numbers, parsed.stage


def _stage_of(suffix: str) -> tuple[int, int, int]:
    phase, number = _RELEASE, 0
    if found := _PRE_RELEASE.match(suffix):
        phase, number = _PHASES.get(found[1].lower(), _CANDIDATE), int(found[2] or 0)
    elif found := _POST_RELEASE.match(suffix):
        phase, number = _POST, int(found[1] or 0)
    development = _DEVELOPMENT.match(suffix, found.end() if found else 0)
    if development is None:
        return (phase, number, _NOT_DEVELOPMENT)
    return (_DEV if phase == _RELEASE else phase, number, int(development[1] or 0))
