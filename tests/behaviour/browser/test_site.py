"""The documentation site, built from the repository: complete, and independent of other hosts."""

import re
import shutil
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
from tools.build_site import write_versions

from lyftdata import __version__

ROOT = Path(__file__).parents[3]
# What a browser loads by itself; links that readers follow are not included.
_LOADED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"(https?:)?//|@import\s+\S*//|url\([\"']?(https?:)?//"
)
_STYLE_OR_FONT = re.compile(r"<link\b[^>]*\bhref=\"(https?:)?//[^>]*>")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Build the site; a dead link or another warning is an error."""
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
    """Each Markdown page in docs/ is there; one that the navigation lacks would have failed the build."""
    docs = ROOT / "docs"
    pages = {page.relative_to(ROOT).with_suffix(".html") for page in docs.rglob("*.md")}
    built = {page.relative_to(site / __version__) for page in (site / __version__).rglob("*.html")}

    assert pages <= built


def test_nothing_is_loaded_from_another_host(site):
    """No scripts, fonts, styles or pictures, so the site can be read without a network."""
    files = [file for suffix in ("html", "css") for file in site.rglob(f"*.{suffix}")]
    loading = [
        f"{file.relative_to(site)}: {found[0]}"
        for file in files
        for pattern in (_LOADED, _STYLE_OR_FONT)
        for found in pattern.finditer(file.read_text(encoding="utf-8"))
    ]

    assert len(files) > 50
    assert loading == []


def test_readers_can_search_the_site(chromium: Any, address):
    """The site's root leads to the front page, a search finds pages, and no request leaves the site."""
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_flowcharts_are_pictures_for_all_readers(chromium: Any, site, scheme):
    """In the colour of the surrounding text, and with a name and a description for screen readers."""
    with chromium.new_context(color_scheme=scheme) as context:
        context.set_default_timeout(WITHIN_MS)
        page = context.new_page()
        page.goto((site / __version__ / "docs" / "explanation" / "architecture.html").as_uri())
        picture = page.get_by_role("img", name="Layers of the Server", exact=True)
        colour = "element => getComputedStyle(element).stroke"
        around = "element => getComputedStyle(element.closest('section').querySelector('p')).color"

        assert picture.locator("text").all_text_contents()[0] == "api"
        assert picture.locator("rect").first.evaluate(colour) == picture.evaluate(around)
        assert "runtime" in page.locator(f"#{picture.get_attribute('aria-describedby')}").text_content()
        assert page.get_by_text("flowchart TD").count() == 0


@pytest.fixture
def versions(site, tmp_path) -> Path:
    """Return a site with two older versions, the oldest of which lacks a page."""
    directory = tmp_path / "site"
    for name in ("0.0.9", "0.0.10", __version__):
        shutil.copytree(site / __version__, directory / name)
    (directory / "0.0.9" / "docs" / "tutorial.html").unlink()
    write_versions(directory)
    return directory


def test_readers_can_change_the_version(chromium: Any, versions):
    """Each page links to the same page of other versions, or to their front page if they lack it, and older ones link to the latest."""
    root = versions.as_uri()
    with chromium.new_context() as context:
        context.set_default_timeout(WITHIN_MS)
        page = context.new_page()
        page.goto(f"{root}/index.html")
        page.wait_for_url(f"{root}/{__version__}/README.html")
        assert page.locator("#older-version").count() == 0

        page.goto(f"{root}/{__version__}/docs/tutorial.html?x#y")
        page.get_by_role("button", name="Versions").click()
        choices = page.locator("#versions a")
        assert choices.all_inner_texts() == [__version__, "0.0.10", "0.0.9", "All versions"]
        assert page.locator("#versions [aria-current]").inner_text() == __version__
        choices.nth(1).click()
        page.wait_for_url(f"{root}/0.0.10/docs/tutorial.html")

        page.get_by_role("button", name="Versions").click()
        choices.nth(2).click()
        page.wait_for_url(f"{root}/0.0.9/README.html")

        page.get_by_role("note").get_by_role("link").click()
        page.wait_for_url(f"{root}/{__version__}/README.html")


def test_versions_are_listed_without_scripts(chromium: Any, versions):
    """The menu is a link to the list."""
    with chromium.new_context(java_script_enabled=False) as context:
        context.set_default_timeout(WITHIN_MS)
        page = context.new_page()
        page.goto(f"{versions.as_uri()}/{__version__}/docs/tutorial.html")
        link = page.locator("#versions a").get_attribute("href")
        page.goto(f"{versions.as_uri()}/{__version__}/docs/{link}")

        assert page.locator("li").all_inner_texts() == [__version__, "0.0.10", "0.0.9"]
        page.get_by_text("0.0.9").click()
        page.wait_for_url(f"{versions.as_uri()}/0.0.9/README.html")
