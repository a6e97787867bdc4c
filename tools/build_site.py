"""
Build the documentation site (`make site`).

    python tools/build_site.py [DIRECTORY]

Writes DIRECTORY/<version> (DIRECTORY is `site` by default), and links between all versions in it. Dead links and all other warnings are
errors. The pages work offline: nothing is loaded from another host.
"""

import html
import json
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sphinx.cmd.build import build_main

from lyftdata import __version__

ROOT = Path(__file__).parents[1]
_FRONT = "README.html"
_REMOTE_FONT = re.compile(r"@font-face\s*\{[^}]*https?://[^}]*\}")


def build(directory: Path) -> int:
    """Build the pages of this version, and the list of versions; return the exit code."""
    with tempfile.TemporaryDirectory() as cache:
        options = [
            "-q",
            "-n",
            "-W",
            "--keep-going",
            "-b",
            "html",
            "-c",
            str(ROOT / "tools" / "site"),
            "-d",
            cache,
        ]
        code = build_main([*options, str(ROOT), str(directory / __version__)])
    if code == 0:
        _drop_remote_fonts(directory / __version__)
        write_versions(directory)
    return code


def _drop_remote_fonts(pages: Path) -> None:
    """Remove the web fonts (for flag emojis) that the theme's styles would load from another host."""
    for style in pages.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        style.write_text(_REMOTE_FONT.sub("", text), encoding="utf-8")


def write_versions(directory: Path) -> None:
    """
    Write the links from each version to the others.

    Args:
        directory: Holds a directory for each version. Gets `index.html`, which leads to the latest, `versions.html`, a list, and
            `versions.js`, which the pages of all versions load, older ones too: they do not know what was built after them.
    """
    versions = sorted((page.parent.name for page in directory.glob(f"*/{_FRONT}")), key=_order, reverse=True)
    pages = [{"name": version, "pages": _pages_of(directory / version)} for version in versions]
    script = (ROOT / "tools" / "site" / "versions.js").read_text(encoding="utf-8")
    (directory / "versions.js").write_text(
        f"const VERSIONS = {json.dumps(pages)};\n{script}", encoding="utf-8"
    )
    (directory / "versions.html").write_text(_page(_list(versions)), encoding="utf-8")
    latest = html.escape(versions[0])
    onward = f'<meta http-equiv="refresh" content="0; url={latest}/{_FRONT}">'
    (directory / "index.html").write_text(_page(_list(versions), head=onward), encoding="utf-8")


def _pages_of(version: Path) -> list[str]:
    return sorted(page.relative_to(version).as_posix() for page in version.rglob("*.html"))


def _list(versions: Iterable[str]) -> str:
    links = (
        f'<li><a href="{html.escape(version)}/{_FRONT}">{html.escape(version)}</a></li>'
        for version in versions
    )
    return f"<ul>{''.join(links)}</ul>"


def _page(body: str, *, head: str = "") -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta name="color-scheme" content="light dark"><title>lyftdata documentation: versions</title>{head}</head>'
        f'<body style="font-family: system-ui; margin: 2rem"><h1>lyftdata documentation</h1>{body}</body></html>\n'
    )


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site"))
