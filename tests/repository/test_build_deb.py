"""What can be checked of the Debian package without building it; `make packages` installs it."""

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.units import Unit
from tools.build_deb import SOURCES, debian_version, packaged_unit

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "install-on-debian.md").read_text(encoding="utf-8")
UNITS = ("lyftdata-server.service", "lyftdata-worker.service")
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
needs_dpkg = pytest.mark.skipif(shutil.which("dpkg") is None, reason="no dpkg here")


@pytest.mark.parametrize(
    ("version", "debian"),
    [
        ("0.1.0", "0.1.0-1"),
        ("0.2.0rc1", "0.2.0~rc1-1"),
        ("0.2.0.dev3", "0.2.0~~dev3-1"),
        ("0.2.0a1", "0.2.0~a1-1"),
        ("0.2.0.post1", "0.2.0+post1-1"),
    ],
)
def test_a_version_is_converted_to_debians_order(version, debian):
    """A pre-release sorts before its release, which sorts before a post-release."""
    assert debian_version(version, 1) == debian


@needs_dpkg
def test_dpkg_orders_versions_by_release():
    """According to dpkg, each version is newer than the one before."""
    released = ["0.2.0.dev1", "0.2.0a1", "0.2.0b1", "0.2.0rc1", "0.2.0", "0.2.0.post1", "0.2.1"]
    versions = [debian_version(version, 1) for version in released]
    for older, newer in itertools.pairwise(versions):
        assert subprocess.run(["dpkg", "--compare-versions", older, "lt", newer], check=False).returncode == 0


@pytest.mark.parametrize("name", UNITS)
def test_a_packaged_unit_is_based_on_the_examples_unit(name):
    """Hardening, credentials and restarts are the same; only the program, the settings and the assertions differ."""
    example = (ROOT / "examples" / "systemd" / name).read_text()
    packaged = packaged_unit(name)
    side = name.removeprefix("lyftdata-").removesuffix(".service")

    added = set(packaged.splitlines()) - set(example.splitlines())
    (secret,) = (value.partition(":")[2] for value in Unit(packaged).values("LoadCredential"))
    assert added == {
        f"Description=lyftdata {side.capitalize()}",
        "Documentation=file:///usr/share/doc/lyftdata/README.Debian",
        f"AssertPathExists={secret}",
        f"ExecStart=/usr/bin/lyftdata run {side}",
        f"EnvironmentFile=/etc/lyftdata/{side}.conf",
    } - set(example.splitlines())
    # A site's settings are in its own file, which an upgrade keeps.
    assert not re.search(r"example\.com|press", packaged)
    assert Unit(packaged).value("ExecStart") == f"/usr/bin/lyftdata run {side}"


def write_units(directory):
    """Write the packaged units with a program that exists on this machine."""
    for name in UNITS:
        text = packaged_unit(name).replace("/usr/bin/lyftdata", "/bin/true")
        (directory / name).write_text(text)


@needs_systemd
@pytest.mark.parametrize("drop_in", ["", *re.findall(r"^```ini\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)])
def test_systemd_accepts_the_packaged_units(tmp_path, drop_in):
    """`systemd-analyze verify` reports nothing, also with each drop-in that the page shows for the Worker."""
    write_units(tmp_path)
    if drop_in:
        (tmp_path / "lyftdata-worker.service.d").mkdir()
        (tmp_path / "lyftdata-worker.service.d" / "override.conf").write_text(
            drop_in.replace("/usr/bin/lyftdata", "/bin/true")
        )
    units = [str(tmp_path / name) for name in UNITS]

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_packaged_settings_are_known_and_contain_no_secret():
    """Every name in the settings file of a Server or Worker is one of its settings, and none is a secret."""
    from lyftdata.core.settings import SECRET_VARIABLES
    from lyftdata.server.runtime.settings_table import TABLE as SERVER
    from lyftdata.worker.settings import TABLE as WORKER

    for side, table in (("server", SERVER), ("worker", WORKER)):
        named = set(re.findall(r"^#?(LYFTDATA_\w+)=", (SOURCES / f"{side}.conf").read_text(), re.MULTILINE))
        assert named
        assert named <= {setting.name for setting in table}
        assert not named & set(SECRET_VARIABLES)


@pytest.mark.skipif(shutil.which("sh") is None, reason="no shell here")
@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_the_maintainer_scripts_are_valid_and_start_nothing(script):
    """Each parses and stops at the first failing command."""
    text = (SOURCES / script).read_text()
    assert subprocess.run(["sh", "-n", SOURCES / script], check=False).returncode == 0
    assert "\nset -e\n" in text
    # They neither enable nor start a service.
    assert not re.search(r"systemctl.*\b(enable|start)\b|deb-systemd-(helper|invoke) (enable|start)", text)
