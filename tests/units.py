"""The units of examples/systemd/ as systemd reads them: their lines, and the environment that a service gets."""

import os
import shlex
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

DIRECTORY = Path(__file__).parents[1] / "examples" / "systemd"


class Unit:
    """A unit's text."""

    def __init__(self, text: str) -> None:
        self._lines = [
            line.partition("=") for line in text.splitlines() if "=" in line and line[0] not in "#["
        ]

    def values(self, name: str) -> list[str]:
        """Return the values of all lines with a name, in order."""
        return [value for key, _, value in self._lines if key == name]

    def value(self, name: str) -> str:
        """Return the value of the only line with a name."""
        (value,) = self.values(name)
        return value

    def environ(self, root: Path) -> dict[str, str]:
        """
        Return the service's environment variables, and make its directories below a root.

        Args:
            root: Used instead of `/`, also for the files that LoadCredential= names.
        """
        credentials = root / "run" / "credentials" / "unit"
        self._load_credentials(root, credentials)
        specifiers = {"%d": str(credentials), "%S": str(root / "var" / "lib"), "%%": "%"}
        environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
        for line in self.values("Environment"):
            for assignment in shlex.split(line):
                name, _, value = assignment.partition("=")
                for specifier, text in specifiers.items():
                    value = value.replace(specifier, text)
                environ[name] = value
        for kind, parent in (("StateDirectory", root / "var" / "lib"), ("RuntimeDirectory", root / "run")):
            for name in self.values(kind):
                path = parent / name
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.chmod(0o700)
                environ["STATE_DIRECTORY" if kind == "StateDirectory" else "RUNTIME_DIRECTORY"] = str(path)
        return environ

    def _load_credentials(self, root: Path, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for line in self.values("LoadCredential"):
            name, _, source = line.partition(":")
            copy = directory / name
            copy.unlink(missing_ok=True)
            copy.write_bytes((root / source.lstrip("/")).read_bytes())
            copy.chmod(0o400)
        directory.chmod(0o500)

    def program(self) -> list[str]:
        """Return ExecStart= without the path of the installed program."""
        installed, *arguments = shlex.split(self.value("ExecStart"))
        assert installed == "/opt/lyftdata/bin/lyftdata"
        return arguments


class NotifySocket:
    """A socket like the one systemd listens at, and the states that were sent to it."""

    def __init__(self, listening: socket.socket, environ: Mapping[str, str]) -> None:
        self._listening = listening
        self.environ = environ

    def wait_for(self, assignment: str) -> dict[str, str]:
        """Return the first message with an assignment; fail if none comes."""
        while True:
            lines = self._listening.recv(4096).decode().splitlines()
            if assignment in lines:
                return dict(line.split("=", 1) for line in lines)

    def waiting(self) -> list[str]:
        """Return the assignments that have arrived and were not read yet."""
        found: list[str] = []
        self._listening.setblocking(False)
        try:
            while True:
                found += self._listening.recv(4096).decode().splitlines()
        except BlockingIOError:
            return found


@contextmanager
def notify_socket(directory: Path, *, within_s: float, watchdog_s: float = 2.0) -> Iterator[NotifySocket]:
    """
    Listen as systemd does; `environ` has what it sets for a service of Type=notify with a watchdog.

    The kernel keeps ten unread messages: a service that sends more loses the next one, whatever its content.
    """
    # A path in a test's directory may be too long for a socket, so it is bound to a short name.
    name = f"\0lyftdata-test-{os.getpid()}-{directory.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)
        listening.settimeout(within_s)
        usec = str(int(watchdog_s * 1_000_000))
        yield NotifySocket(listening, {"NOTIFY_SOCKET": f"@{name[1:]}", "WATCHDOG_USEC": usec})
