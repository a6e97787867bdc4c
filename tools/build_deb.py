"""
Build the Debian package: both sides, in their own environment below /usr/lib/lyftdata, and the units of examples/systemd/.

    python tools/build_deb.py DIST [--revision N]    write DIST/lyftdata_VERSION-N_ARCHITECTURE.deb

DIST is the output of `make dist`. The wheels are installed with the hashes in DIST/server.txt, for the system's Python, and the package
depends on that Python version: build it on the Debian release that it is for. The build is reproducible: the same sources, wheels
and release give the same bytes.
"""

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "packaging" / "debian"
UNITS = ROOT / "examples" / "systemd"
PYTHON = "/usr/bin/python3"
# hatchling's default timestamp, which every file in the wheel has.
EPOCH = 1580601600
_HOME = Path("usr/lib/lyftdata")
MAINTAINER = "The lyftdata developers <lyftdata@packages.debian.org>"
CONTROL = """\
Package: lyftdata
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {size}
Depends: {depends}
Section: net
Priority: optional
Description: worker authentication: a Server and its Workers
 A Server accepts only the Workers that prove who they are, by API key or by
 Auto-Enrollment. The package holds Server, Worker and command line, with all
 their Python dependencies, and a systemd unit for each side. It neither
 enables nor starts a service.
"""


def debian_version(version: str, revision: int) -> str:
    """Return a PEP 440 version in a form that Debian sorts the same way: `1.0rc1` < `1.0` < `1.0.post1`."""
    # Two tildes sort before one, as a development version sorts before the first alpha.
    ordered = re.sub(r"\.?(a|b|rc)(?=\d)", r"~\1", re.sub(r"\.dev(?=\d)", "~~dev", version))
    return f"{re.sub(r'[.-]post(?=[0-9])', '+post', ordered)}-{revision}"


def packaged_unit(name: str) -> str:
    """
    Return a unit of examples/systemd/, adapted to the package.

    The program is the package's; settings come from /etc/lyftdata instead of lines to edit; without its secret it fails to start
    with a message that names the file.
    """
    text = (UNITS / name).read_text(encoding="utf-8")
    side = name.removeprefix("lyftdata-").removesuffix(".service")
    (secret,) = re.findall(r"^LoadCredential=\S+?:(\S+)$", text, re.MULTILINE)
    for pattern, replacement in (
        (r"\A# .*\n", ""),
        (
            r"^Description=.*$",
            f"Description=lyftdata {side.capitalize()}\nDocumentation=file:///usr/share/doc/lyftdata/README.Debian",
        ),
        (r"^StartLimitIntervalSec=.*$", rf"\g<0>\nAssertPathExists={secret}"),
        (r"^ExecStart=\S+ run (\w+).*$", r"ExecStart=/usr/bin/lyftdata run \1"),
        (r"^UMask=", f"EnvironmentFile=/etc/lyftdata/{side}.conf\nUMask="),
    ):
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f"{name}: {count} lines are like {pattern}")
    return re.sub(
        r'^Environment="?LYFTDATA_(?:BIND_ADDRESS|PUBLIC_URL|TRUSTED_PROXIES|URL|WORKER_ID)=.*\n',
        "",
        text,
        flags=re.MULTILINE,
    )


def build(dist: Path, revision: int) -> Path:
    """Build the package from the only wheel of a directory; return its path."""
    (wheel,) = dist.glob("lyftdata-*.whl")
    version = debian_version(wheel.name.split("-")[1], revision)
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        _install(dist, wheel, tree)
        _write_files(tree, version)
        _normalize(tree)
        _write_control(tree, version)
        package = dist / f"lyftdata_{version}_{_printed('dpkg', '--print-architecture')}.deb"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Zxz", "-z1", "--threads-max=1", "--build", tree, package],
            env=os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH)},
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return package


def _printed(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _python_version() -> str:
    return _printed(PYTHON, "-c", "import sys; print('{}.{}'.format(*sys.version_info))")


def _install(dist: Path, wheel: Path, tree: Path) -> None:
    """Create the environment as `python -m venv` would, but without pip, and with the packages of server.txt."""
    home = tree / _HOME
    packages = home / "lib" / f"python{_python_version()}" / "site-packages"
    packages.mkdir(parents=True)
    (home / "bin").mkdir()
    (home / "bin" / "python").symlink_to("../../../bin/python3")
    (home / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    # By version instead of by file: pip would record the file's path.
    with tempfile.TemporaryDirectory() as scratch:
        names = re.sub(
            r"^\./(lyftdata)-([^-]+)-\S+",
            r"\1==\2",
            (dist / "server.txt").read_text(encoding="utf-8"),
            count=1,
        )
        requirements = Path(scratch) / "server.txt"
        requirements.write_text(names, encoding="utf-8")
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            PYTHON,
            "--quiet",
            "--disable-pip-version-check",
            "install",
        ]
        options = [
            "--require-hashes",
            "--only-binary",
            ":all:",
            "--no-compile",
            "--find-links",
            str(wheel.parent),
        ]
        subprocess.run(
            [*pip, *options, "--target", str(packages), "--requirement", str(requirements)], check=True
        )
    # The dependencies' commands and manual pages, which pip puts into an unused directory.
    for name in ("bin", "share"):
        shutil.rmtree(packages / name, ignore_errors=True)
    script = home / "bin" / "lyftdata"
    script.write_text(
        "#!/usr/lib/lyftdata/bin/python -I\nimport sys\n\nfrom lyftdata.cli.main import main\n\nsys.exit(main())\n"
    )


def _write_files(tree: Path, version: str) -> None:
    """Write everything other than the program: units, user, settings, documentation."""
    files: dict[str, bytes] = {
        "usr/lib/sysusers.d/lyftdata.conf": (SOURCES / "sysusers.conf").read_bytes(),
        "usr/share/doc/lyftdata/README.Debian": (ROOT / "docs/how-to/install-on-debian.md").read_bytes(),
        "usr/share/doc/lyftdata/changelog.gz": _gzipped((ROOT / "CHANGELOG.md").read_bytes()),
        "usr/share/doc/lyftdata/changelog.Debian.gz": _gzipped(_changelog(version).encode()),
        "usr/share/doc/lyftdata/copyright": _copyright(tree).encode(),
        "usr/share/lintian/overrides/lyftdata": (SOURCES / "lintian-overrides").read_bytes(),
    }
    for side in ("server", "worker"):
        unit = f"lyftdata-{side}.service"
        files[f"lib/systemd/system/{unit}"] = packaged_unit(unit).encode()
        files[f"etc/lyftdata/{side}.conf"] = (SOURCES / f"{side}.conf").read_bytes()
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    (tree / "usr/bin").mkdir()
    (tree / "usr/bin/lyftdata").symlink_to("../lib/lyftdata/bin/lyftdata")


def _gzipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def _changelog(version: str) -> str:
    date = "Sun, 02 Feb 2020 00:00:00 +0000"
    return f"lyftdata ({version}) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- {MAINTAINER}  {date}\n"


def _copyright(tree: Path) -> str:
    """Return the licence of every part, from its metadata; each licence's text is in the part's directory."""
    parts = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: lyftdata"
    ]
    licence = "Apache-2.0\n On Debian systems: /usr/share/common-licenses/Apache-2.0"
    parts.append(f"Files: *\nCopyright: 2026 the lyftdata developers\nLicense: {licence}")
    for metadata in sorted((tree / _HOME).rglob("*.dist-info/METADATA")):
        directory = metadata.parent.relative_to(tree)
        name = metadata.parent.name.partition("-")[0]
        if name != "lyftdata":
            parts.append(
                f"Files: {directory.parent}/{name}*\nCopyright: see {directory}\nLicense: {name}\n See /{directory}."
            )
    return "\n\n".join(parts) + "\n"


def _normalize(tree: Path) -> None:
    """Give every file the permissions and the time that do not depend on who builds: only settings are private."""
    private = tree / "etc/lyftdata"
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            is_program = path.is_dir() or path.parent == tree / _HOME / "bin"
            mode = 0o755 if is_program else 0o644
            path.chmod(mode & ~0o077 if private in {path, path.parent} else mode)
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def _write_control(tree: Path, version: str) -> None:
    python = _python_version()
    minor = int(python.partition(".")[2])
    depends = [
        f"python3 (>= {python})",
        f"python3 (<< 3.{minor + 1})",
        "init-system-helpers (>= 1.52)",
        "systemd | systemd-standalone-sysusers",
        *_libraries(tree),
    ]
    size = sum(path.lstat().st_size for path in tree.rglob("*") if path.is_file())
    control = tree / "DEBIAN"
    control.mkdir()
    control.chmod(0o755)
    _write(
        control / "control",
        CONTROL.format(
            version=version,
            maintainer=MAINTAINER,
            architecture=_printed("dpkg", "--print-architecture"),
            size=-(-size // 1024),
            depends=", ".join(depends),
        ),
    )
    _write(
        control / "conffiles",
        "".join(f"/{path.relative_to(tree)}\n" for path in sorted((tree / "etc").rglob("*.conf"))),
    )
    _write(control / "md5sums", "".join(_sums(tree)))
    for script in ("postinst", "prerm", "postrm"):
        _write(control / script, (SOURCES / script).read_text(encoding="utf-8"), mode=0o755)
    os.utime(control, (EPOCH, EPOCH))


def _sums(tree: Path) -> Iterator[str]:
    for path in sorted(tree.rglob("*")):
        name = path.relative_to(tree)
        if path.is_file() and not path.is_symlink() and name.parts[0] not in {"DEBIAN", "etc"}:
            yield f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {name}\n"


def _libraries(tree: Path) -> list[str]:
    """Return the packages of the shared libraries that the wheels do not bring along, in the versions that they need."""
    built = sorted(path for path in tree.rglob("*.so*") if path.is_file())
    with tempfile.TemporaryDirectory() as scratch:
        control = Path(scratch) / "debian" / "control"
        control.parent.mkdir()
        control.write_text("Source: lyftdata\n\nPackage: lyftdata\nArchitecture: any\n")
        found = subprocess.run(
            [
                "dpkg-shlibdeps",
                "-O",
                "--ignore-missing-info",
                "--warnings=0",
                *(f"-l{path.parent}" for path in built),
                *built,
            ],
            cwd=scratch,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    return found.partition("shlibs:Depends=")[2].strip().split(", ")


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    os.utime(path, (EPOCH, EPOCH))


def main() -> None:
    """Build the package and print where it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dist", type=Path)
    parser.add_argument(
        "--revision", type=int, default=1, help="higher for a second package of the same version"
    )
    given = parser.parse_args()
    print(build(given.dist, given.revision))


if __name__ == "__main__":
    main()
