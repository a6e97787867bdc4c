"""
Sphinx's configuration for the documentation site (`make site`).

The sources are the pages as they stand in the repository, so that they read well there too. The navigation is that of
docs/README.md: its sections, and the links in them, in their order.
"""

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from pygments.lexers.special import TextLexer  # type: ignore[import-untyped]  # no types for one class
from sphinx.application import Sphinx
from sphinx.util import logging

from lyftdata import __version__

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tools.site.flowchart import FlowchartError, draw  # noqa: E402 - Sphinx runs this file from anywhere

_log = logging.getLogger(__name__)
_LINK = re.compile(r"\]\(([^)#:]+\.md)\)")

project = "lyftdata"
release = version = __version__
project_copyright = "the lyftdata contributors"

extensions = ["myst_parser", "sphinx_copybutton"]
root_doc = "README"
include_patterns = ["*.md", "docs/**.md"]
exclude_patterns = [".*", "build", "dist", "site", "src", "tests", "examples", "benchmarks", "requirements"]
myst_heading_anchors = 4
copybutton_exclude = ".linenos, .gp, .go"

templates_path = ["templates"]
html_theme = "shibuya"
html_title = f"lyftdata {release}"
html_use_index = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options: dict[str, Any] = {"accent_color": "indigo", "show_ai_links": False}


def _navigation() -> str:
    """Return a hidden table of contents for each section of docs/README.md."""
    _, *sections = (ROOT / "docs" / "README.md").read_text(encoding="utf-8").split("\n## ")
    trees = [_tree("Start", ["README.md", "tutorial.md"])]
    trees += [_tree(section.partition("\n")[0], _LINK.findall(section)) for section in sections]
    trees.append(_tree("Project", ["../CHANGELOG.md", "../SECURITY.md", "../CODE_OF_CONDUCT.md"]))
    return "\n".join(trees)


def _tree(caption: str, links: list[str]) -> str:
    pages = [(Path("docs") / link).as_posix().replace("docs/../", "").removesuffix(".md") for link in links]
    return "\n".join(
        ["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *dict.fromkeys(pages), "```", ""]
    )


def _add_navigation(_app: Sphinx, page: str, source: list[str]) -> None:
    """Add the navigation to the front page; a list of the decisions to theirs."""
    if page == root_doc:
        source[0] += _navigation()
    elif page == "docs/decisions/README":
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n[0-9]*\n```\n"


def _draw_flowcharts(_app: Sphinx, page: nodes.document) -> None:
    """Show what is written in Mermaid's language as a picture; one that cannot be drawn is a warning, and so fails the build."""
    for block in list(page.findall(nodes.literal_block)):
        if block.get("language") == "mermaid":
            try:
                picture = f"<figure>{draw(block.astext())}</figure>"
            except FlowchartError as error:
                _log.warning("mermaid: %s", error, location=block)
            else:
                block.replace_self(nodes.raw("", picture, format="html"))


def setup(app: Sphinx) -> None:
    """Connect the above, and show as it is what has no highlighting."""
    for language in ("haproxy", "mermaid"):
        app.add_lexer(language, TextLexer)
    app.connect("source-read", _add_navigation)
    app.connect("doctree-read", _draw_flowcharts)
