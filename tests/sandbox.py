"""
Execs a program under the restrictions of a systemd unit, as far as possible without systemd as PID 1.

    python sandbox.py UNIT PROGRAM [ARGUMENT …]

Applied: SystemCallFilter=, RestrictAddressFamilies=, MemoryDenyWriteExecute=, NoNewPrivileges=, CapabilityBoundingSet=
(all or nothing) and UMask=.
"""

import ctypes
import functools
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.units import Unit

# seccomp.h
_ALLOW, _ERRNO_EPERM, _EQUAL = 0x7FFF0000, 0x00050001, 4
# linux/prctl.h
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_MDWE, _MDWE_REFUSE_EXEC_GAIN = 24, 38, 65, 1


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def missing() -> str:
    """Return why a unit cannot be applied on this machine; an empty text if it can."""
    try:
        ctypes.CDLL("libseccomp.so.2")
        _groups()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"needs libseccomp and systemd-analyze: {error}"
    return ""


@functools.cache
def _groups() -> dict[str, list[str]]:
    """Return the groups of system calls that systemd knows, with the members of each."""
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager"], capture_output=True, text=True, check=True
    ).stdout
    groups: dict[str, list[str]] = {}
    group = ""
    for line in listed.splitlines():
        if line.startswith("@"):
            group = line.strip()
            groups[group] = []
        elif line.startswith("    ") and not line.strip().startswith("#"):
            groups[group].append(line.strip())
    return groups


def _calls(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name.startswith("@"):
            yield from _calls(_groups()[name])
        else:
            yield name


def allowed_calls(filters: Sequence[str]) -> set[str]:
    """Return the system calls that SystemCallFilter= lines allow, by the rules of systemd.exec(5)."""
    # systemd always allows what a program needs to start and to exit.
    allowed = {*_calls(["@default", "execve"])}
    for line in filters:
        if line.startswith("~"):
            allowed -= set(_calls(line[1:].split()))
        else:
            allowed |= set(_calls(line.split()))
    return allowed


def _filter_system_calls(allowed: set[str], families: Sequence[str]) -> None:
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(_ERRNO_EPERM))
    add = library.seccomp_rule_add_array
    for name in sorted(allowed - {"socket"}):
        number = library.seccomp_syscall_resolve_name(name.encode())
        # Negative: it belongs to another architecture.
        if number >= 0 and add(context, _ALLOW, number, 0, None):
            sys.exit(f"sandbox: {name} cannot be allowed")
    number = library.seccomp_syscall_resolve_name(b"socket")
    for family in families:
        comparison = _Comparison(0, _EQUAL, int(getattr(socket, family)), 0)
        if add(context, _ALLOW, number, 1, ctypes.byref(comparison)):
            sys.exit(f"sandbox: {family} cannot be allowed")
    if library.seccomp_load(context):
        sys.exit("sandbox: the filter cannot be loaded")


def main() -> None:
    """Apply a unit to this process and exec the program."""
    unit = Unit(Path(sys.argv[1]).read_text(encoding="utf-8"))
    libc = ctypes.CDLL(None, use_errno=True)
    allowed = allowed_calls(unit.values("SystemCallFilter"))
    if unit.values("CapabilityBoundingSet") == [""]:
        # Stops at the first number that is not a capability. Without root there are no capabilities to drop.
        for capability in range(64):
            if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
                break
    if "yes" in unit.values("MemoryDenyWriteExecute"):
        # Kernels before 6.3 do not have it.
        libc.prctl(_PR_SET_MDWE, _MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)
    os.umask(int(unit.value("UMask"), 8))
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _filter_system_calls(allowed, unit.value("RestrictAddressFamilies").split())
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
