"""
Builds the documentation site (`make site`).

    python tools/build_site.py [DIRECTORY]

Writes DIRECTORY/<version> (`site` by default), and DIRECTORY/index.html, which leads to the versions that are there. A link
that leads nowhere is an error, as is every other warning. The pages are for a browser without a network: nothing is loaded from
another host.
"""

import html
import re
import sys
import tempfile
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
        (directory / "index.html").write_text(_versions_page(directory), encoding="utf-8")
    return code


def _drop_remote_fonts(pages: Path) -> None:
    """Remove the fonts that the theme's styles would load from another host: for flags, on systems without them."""
    for style in pages.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        style.write_text(_REMOTE_FONT.sub("", text), encoding="utf-8")


def _versions_page(directory: Path) -> str:
    """Return the page that lists the versions, the latest first, and leads on to that one."""
    versions = sorted((page.parent.name for page in directory.glob(f"*/{_FRONT}")), key=_order, reverse=True)
    links = "".join(
        f'<li><a href="{html.escape(version)}/{_FRONT}">{html.escape(version)}</a></li>'
        for version in versions
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>lyftdata documentation</title>'
        f'<meta http-equiv="refresh" content="0; url={html.escape(versions[0])}/{_FRONT}"></head>'
        f"<body><h1>lyftdata documentation</h1><ul>{links}</ul></body></html>\n"
    )


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site"))
