"""Clocks that are off, by libfaketime: seen from programs, the whole system's time is another."""

from pathlib import Path

import pytest


class FalseClock:
    """
    The clock of hosts, which can be put forward and back while their programs run.

    Args:
        file: Where its difference is kept; programs read it.
        off: How far it is off, such as `+5h`.
        read_every_s: How long programs may use what they have read. Zero reads the file whenever a program asks for the time.
    """

    def __init__(self, file: Path, off: str, *, read_every_s: int = 0) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            pytest.skip("no libfaketime on this machine (Debian: apt-get install faketime)")
        self._library, self._file = found[0], file
        self._read_every_s = read_every_s
        self.put(off)

    def put(self, off: str) -> None:
        """Be off by so much, from now on."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{off}\n", encoding="utf-8")
        draft.replace(self._file)

    def environ(self) -> dict[str, str]:
        """Return what makes programs believe it."""
        cache = (
            {"FAKETIME_CACHE_DURATION": str(self._read_every_s)}
            if self._read_every_s
            else {"FAKETIME_NO_CACHE": "1"}
        )
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            **cache,
            # A clock that is put forward leaves the monotonic one alone.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
