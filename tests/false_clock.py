"""Wrong system clocks, faked by libfaketime for the programs of a test."""

from pathlib import Path

import pytest


class FalseClock:
    """
    The clock of some hosts, which can be moved forward and back while their programs run.

    Args:
        file: Holds the clock's offset; programs read it.
        off: The offset, such as `+5h`.
        read_every_s: How long programs may cache the offset. With zero, the file is read whenever a program asks for the time.
    """

    def __init__(self, file: Path, off: str, *, read_every_s: int = 0) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            pytest.skip("no libfaketime on this machine (Debian: apt-get install faketime)")
        self._library, self._file = found[0], file
        self._read_every_s = read_every_s
        self.put(off)

    def put(self, off: str) -> None:
        """Set the offset."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{off}\n", encoding="utf-8")
        draft.replace(self._file)

    def environ(self) -> dict[str, str]:
        """Return the environment variables that make programs use this clock."""
        cache = (
            {"FAKETIME_CACHE_DURATION": str(self._read_every_s)}
            if self._read_every_s
            else {"FAKETIME_NO_CACHE": "1"}
        )
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            **cache,
            # Setting the clock does not affect the monotonic one.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
