"""The documentation site: every page, built from the repository, that needs no other host."""

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.behaviour.browser.conftest import WITHIN_MS

from lyftdata import __version__

ROOT = Path(__file__).parents[3]
# What a browser would load by itself; a link that a reader follows is not among it.
_LOADED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"(https?:)?//|@import\s+\S*//|url\([\"']?(https?:)?//"
)
_STYLE_OR_FONT = re.compile(r"<link\b[^>]*\bhref=\"(https?:)?//[^>]*>")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Build the site; a dead link, or another warning, fails it."""
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, ROOT / "tools" / "build_site.py", directory]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert built.returncode == 0, built.stderr
    return directory


@pytest.fixture
def address(site) -> Iterator[str]:
    """Serve the site."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_every_page_is_in_the_site(site):
    """Each Markdown page of docs/ has its page; one that no navigation leads to would have failed the build."""
    docs = ROOT / "docs"
    pages = {page.relative_to(ROOT).with_suffix(".html") for page in docs.rglob("*.md")}
    built = {page.relative_to(site / __version__) for page in (site / __version__).rglob("*.html")}

    assert pages <= built


def test_nothing_is_loaded_from_another_host(site):
    """Neither scripts nor fonts, styles or pictures: the site can be read without a network."""
    files = [file for suffix in ("html", "css") for file in site.rglob(f"*.{suffix}")]
    loading = [
        f"{file.relative_to(site)}: {found[0]}"
        for file in files
        for pattern in (_LOADED, _STYLE_OR_FONT)
        for found in pattern.finditer(file.read_text(encoding="utf-8"))
    ]

    assert len(files) > 50
    assert loading == []


def test_readers_find_pages(chromium: Any, address):
    """The front page opens at the site's address; a search finds the page about approvals; no request leaves the site."""
    with chromium.new_context() as context:
        context.set_default_timeout(WITHIN_MS)
        page = context.new_page()
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        page.wait_for_url(f"{address}/{__version__}/README.html")
        page.goto(f"{address}/{__version__}/search.html?q=recovery+codes")
        found = page.locator("#search-results a").first
        found.wait_for()

        assert all(url.startswith(address) for url in requests)
