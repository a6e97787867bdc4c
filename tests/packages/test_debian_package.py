"""The Debian package as `make deb` builds it: installed, configured, upgraded, removed and purged in a separate Debian."""

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.packages.debian_roots import missing
from tests.processes import WITHIN_S, free_port, until
from tests.units import Unit
from tools import build_deb

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse battery"
pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


def build(dist: Path, revision: int = 1) -> Path:
    """Build a package in a directory that has a wheel; return its path."""
    command = [sys.executable, str(ROOT / "tools" / "build_deb.py"), str(dist), "--revision", str(revision)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    return max(dist.glob(f"*-{revision}_*.deb"))


def make_newer(package: Path, directory: Path) -> Path:
    """Return a package of a later version, which differs in its number and one line in a unit."""
    tree = directory / "newer"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"^Version: .*", "Version: 99.0-1", control.read_text(), flags=re.MULTILINE))
    unit = tree / "lib" / "systemd" / "system" / "lyftdata-server.service"
    unit.write_text(unit.read_text().replace("Description=lyftdata Server", "Description=a newer one"))
    made = directory / "newer.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, made], check=True, capture_output=True
    )
    shutil.rmtree(tree)
    return made


@pytest.fixture(scope="session")
def package(dist) -> Path:
    """Return the package."""
    return build(dist)


class Installed:
    """The package in a root, and its Server with the environment and the credentials of its unit."""

    def __init__(self, debian) -> None:
        self.debian = debian
        self.url = f"http://127.0.0.1:{free_port()}"

    def dpkg(self, *arguments: str) -> str:
        """Run dpkg non-interactively."""
        return self.debian.done("dpkg", *arguments, DEBIAN_FRONTEND="noninteractive")

    def purge(self, *mounts: str) -> str:
        """Purge the package with these mounts; return its standard error."""
        command = self.debian.command("dpkg", "--purge", "lyftdata", mounts=mounts)
        return subprocess.run(command, check=True, capture_output=True, text=True).stderr

    def install(self, package: Path) -> None:
        """Install a package, or upgrade to it."""
        shutil.copy(package, self.debian.directory / "tmp")
        self.dpkg("--install", f"/tmp/{package.name}")

    def record_systemctl(self) -> None:
        """Install a fake systemd for the maintainer scripts: a systemctl that records its arguments."""
        self.path("/run/systemd/system").mkdir(parents=True, exist_ok=True)
        program = self.path("/usr/bin/systemctl")
        assert not program.exists()
        program.write_text('#!/bin/sh\necho "$*" >>/var/log/systemctl\n')
        program.chmod(0o755)

    def asked_of_systemctl(self) -> list[str]:
        """Return the arguments of each systemctl call since the last time."""
        log = self.path("/var/log/systemctl")
        asked = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return asked

    def path(self, name: str) -> Path:
        """Return a file of the root."""
        return self.debian.directory / name.lstrip("/")

    def configure(self) -> None:
        """Configure the Server as the page says, with a free port."""
        conf = self.path("/etc/lyftdata/server.conf")
        text = conf.read_text().replace(
            "LYFTDATA_BIND_ADDRESS=127.0.0.1:3000", f"LYFTDATA_BIND_ADDRESS={self.url[7:]}"
        )
        conf.write_text(
            text.replace(
                "#LYFTDATA_PUBLIC_URL=https://lyftdata.example.com", f"LYFTDATA_PUBLIC_URL={self.url}"
            )
        )
        secret = self.path("/etc/lyftdata/admin-password")
        secret.touch(mode=0o600)
        secret.write_text(f"{PASSWORD}\n")

    def environ(self) -> dict[str, str]:
        """Return the Server's environment variables as systemd sets them; those of the EnvironmentFile take precedence."""
        unit = Unit(self.path("/lib/systemd/system/lyftdata-server.service").read_text())
        found = {
            name: value.replace(str(self.debian.directory), "")
            for name, value in unit.environ(self.debian.directory).items()
        }
        for directory in (found["CREDENTIALS_DIRECTORY"], found["STATE_DIRECTORY"]):
            self.debian.done("chown", "--recursive", "lyftdata:lyftdata", directory)
        for file in unit.values("EnvironmentFile"):
            found |= dict(re.findall(r"^(\w+)=(.*)$", self.path(file).read_text(), re.MULTILINE))
        return found

    def serve(self) -> subprocess.Popen[bytes]:
        """Start the Server as its unit's user, and wait until it is ready."""
        unit = Unit(self.path("/lib/systemd/system/lyftdata-server.service").read_text())
        argv = unit.value("ExecStart").split()
        server = subprocess.Popen(self.debian.command(*argv, user=unit.value("User"), environ=self.environ()))
        until(lambda: server.poll() is not None or self._is_ready(), "ready", within_s=WITHIN_S)
        assert server.poll() is None
        return server

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def lyftdata(self, *arguments: str, stdin: str = "") -> str:
        """Run a command as an operator on the host."""
        command = self.debian.command(
            "/usr/bin/lyftdata", *arguments, environ={"HOME": "/root", "LYFTDATA_URL": self.url}
        )
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout


def end(server: subprocess.Popen[bytes]) -> None:
    """Stop a Server as systemd does."""
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=WITHIN_S) == 0


def keep_what_is_mounted_below(host: Installed, volume: Path, elsewhere: Path, mounts: Sequence[str]) -> None:
    """Purge the package with an administrator's own directory mounted below the data: both are kept."""
    (volume / "backups").mkdir()
    elsewhere.mkdir()
    (elsewhere / "monday").write_text("kept")
    below = f'mount --bind "{elsewhere}" "$root/var/lib/lyftdata/backups"'

    said = host.purge(*mounts, below)

    assert "/var/lib/lyftdata was not removed: something is mounted below it" in said
    assert (elsewhere / "monday").read_text() == "kept"
    assert (volume / "lyftdata.db").exists()
    assert not host.path("/etc/lyftdata").exists()


def test_the_package_is_installed_upgraded_removed_and_purged(debian, package, tmp_path):
    """Nothing runs before it is configured; an upgrade and a removal keep settings and data; a purge removes both."""
    host = Installed(debian)
    host.install(package)

    # All its dependencies are in a minimal Debian with Python; otherwise dpkg would have refused.
    assert debian.done("lyftdata", "--version", user="lyftdata").startswith("lyftdata, version ")
    assert not list(host.path("/etc/systemd").rglob("*lyftdata*"))
    for name, mode in (
        ("/etc/lyftdata", 0o700),
        ("/etc/lyftdata/server.conf", 0o600),
        ("/etc/lyftdata/worker.conf", 0o600),
    ):
        found = host.path(name).stat()
        assert (found.st_mode & 0o777, found.st_uid) == (mode, 0), name
    assert "lyftdata:x:" in host.path("/etc/passwd").read_text()
    assert not host.path("/var/lib/lyftdata").exists()

    host.configure()
    server = host.serve()
    host.lyftdata("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    host.lyftdata("workers", "add", "press-01", "--id", "press-01")
    end(server)
    edited = host.path("/etc/lyftdata/server.conf").read_text()

    host.record_systemctl()
    host.install(make_newer(package, tmp_path))
    both = "lyftdata-server.service lyftdata-worker.service"
    assert host.asked_of_systemctl() == ["--system daemon-reload", f"try-restart {both}"]
    assert debian.done("dpkg-query", "--show", "--showformat=${Version}", "lyftdata") == "99.0-1"
    assert "Description=a newer one" in host.path("/lib/systemd/system/lyftdata-server.service").read_text()
    assert host.path("/etc/lyftdata/server.conf").read_text() == edited
    server = host.serve()
    assert "press-01" in host.lyftdata("workers", "list")
    end(server)

    host.dpkg("--remove", "lyftdata")
    assert host.asked_of_systemctl() == [f"stop {both}", "--system daemon-reload"]
    assert not host.path("/usr/lib/lyftdata").exists()
    assert not host.path("/lib/systemd/system/lyftdata-server.service").exists()
    assert host.path("/etc/lyftdata/server.conf").read_text() == edited
    assert host.path("/etc/lyftdata/admin-password").exists()
    assert host.path("/var/lib/lyftdata/lyftdata.db").exists()

    # The data directory is often a separate volume, which cannot be removed.
    volume = tmp_path / "volume"
    host.path("/var/lib/lyftdata").rename(volume)
    host.path("/var/lib/lyftdata").mkdir()
    mounts = ('mount -t proc proc "$root/proc"', f'mount --bind "{volume}" "$root/var/lib/lyftdata"')
    keep_what_is_mounted_below(host, volume, tmp_path / "elsewhere", mounts)
    host.install(package)
    assert host.purge(*mounts) == ""
    assert list(volume.iterdir()) == []
    assert list(host.path("/var/lib/lyftdata").iterdir()) == []
    host.path("/var/lib/lyftdata").rmdir()
    left = [
        name
        for name in ("/etc/lyftdata", "/var/lib/lyftdata", "/usr/lib/lyftdata")
        if host.path(name).exists()
    ]
    assert left == []
    assert debian.run("dpkg-query", "--show", "lyftdata").returncode != 0


def test_lintian_finds_no_error(package):
    """Debian's own checker finds no errors and no unused overrides."""
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on=error", "--tag-display-limit=0", package],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "unused-override" not in done.stdout
    assert "mismatched-override" not in done.stdout


def test_the_same_sources_give_the_same_package(dist, package, tmp_path):
    """The package does not depend on the time of the build or the user."""
    again = tmp_path / "dist"
    shutil.copytree(dist, again, ignore=shutil.ignore_patterns("*.deb"))
    before = os.umask(0o077)
    try:
        made = build(again)
    finally:
        os.umask(before)

    assert made.name == package.name
    assert made.read_bytes() == package.read_bytes()


def test_the_package_follows_the_wheel(package, dist):
    """Its version is the wheel's, and its units start the installed program."""
    from lyftdata import __version__

    assert package.name.startswith(f"lyftdata_{__version__}-1_")
    for name in ("lyftdata-server.service", "lyftdata-worker.service"):
        assert Unit(build_deb.packaged_unit(name)).value("ExecStart") == f"/usr/bin/lyftdata run {name[9:15]}"
