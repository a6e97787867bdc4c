"""
Takes the pictures of every page for the documentation: light and dark, desktop and phone.

    make screenshots

The Server is a real one, with the past and the fleet of `tests/behaviour/browser/world.py`. Needs Chromium, and pngquant to make the
files small.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from tests.behaviour.browser.conftest import ARGUMENTS
from tests.behaviour.browser.world import ADMIN, World, find_chromium
from tests.processes import PASSWORD

IMAGES = Path(__file__).parents[1] / "docs" / "images"
WIDTHS = {"desktop": 1280, "phone": 390}
PAGES = {
    "overview": ("Overview", "/?period=day"),
    "workers": ("Workers", "/workers"),
    "worker": ("A Worker", "/workers/press-01"),
    "worker-disabled": ("A disabled Worker", "/workers/press-08"),
    "worker-disable": ("Disabling a Worker", "/workers/press-01/disable"),
    "worker-new": ("New Worker", "/add-worker"),
    "worker-made": ("New Worker, waiting", ""),
    "enrollment": ("Auto-Enrollment", "/enrollment"),
    "enrollment-key": ("An enrollment key", "/enrollment/etl-hosts"),
    "enrollment-key-issue": ("Issuing an enrollment key", "/issue-enrollment-key"),
    "api-keys": ("API keys", "/api-keys"),
    "api-key": ("An API key", "/api-keys/press-keys"),
    "api-key-issue": ("Issuing an API key", "/issue-api-key"),
    "api-key-rotate": ("Rotating an API key", "/api-keys/press-keys/rotate"),
    "api-key-revoke": ("Revoking an API key", "/api-keys/press-keys/revoke"),
    "resources": ("Resources", "/resources"),
    "resource": ("A resource", "/resources/broker"),
    "refusals": ("Refusals", "/refusals"),
    "refusal": ("A refusal", "/refusals/{reference}"),
    "audit": ("Audit", "/audit?action=worker.enrolled"),
    "operators": ("Operators", "/operators"),
    "account": ("Account", "/account"),
    "password": ("Changing the password", "/account/password"),
}


def take(browser: Browser, world: World, *, scheme: str, device: str, number: int) -> None:
    """Take every picture of one kind."""
    context = browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": WIDTHS[device], "height": 800},
    )
    page = context.new_page()

    def keep(name: str) -> None:
        page.screenshot(path=IMAGES / f"{name}-{scheme}-{device}.png", full_page=True)

    page.goto(f"{world.url}/login")
    keep("sign-in")
    page.get_by_label("Name").fill(ADMIN)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{world.url}/")
    for name, (_, path) in PAGES.items():
        if name == "worker-made":
            page.get_by_label("Name", exact=True).fill(f"press-1{number}")
            page.get_by_label("Worker ID").fill(f"press-1{number}")
            page.get_by_role("button", name="Add Worker").click()
            page.get_by_text("Waiting for").wait_for()
        else:
            page.goto(world.url + world.fill(path))
        if name == "audit":
            page.get_by_text("The chain is intact.").wait_for()
        keep(name)
    context.close()


def write_gallery() -> None:
    """Write the page that shows them all."""
    lines = [
        "# Screenshots of every page",
        "",
        "`make screenshots` takes them from a running Server. The [operator's guide](../how-to/operators-guide.md) explains the pages.",
        "",
    ]
    titles = {"sign-in": "Sign in"} | {name: title for name, (title, _) in PAGES.items()}
    for name, title in titles.items():
        lines += [f"## {title}", "", "| | desktop | phone |", "|---|---|---|"]
        lines += [
            f"| {scheme} | ![{title}, {scheme}, desktop](../images/{name}-{scheme}-desktop.png) | ![{title}, {scheme}, phone](../images/{name}-{scheme}-phone.png) |"
            for scheme in ("light", "dark")
        ]
        lines.append("")
    (IMAGES.parent / "reference" / "pages.md").write_text("\n".join(lines), encoding="utf-8")


def _pictures() -> list[Path]:
    """Return the files that are taken here."""
    return [path for device in WIDTHS for path in IMAGES.glob(f"*-{device}.png")]


def main() -> None:
    """Take them, make them small, write the page."""
    chromium, small = find_chromium(), shutil.which("pngquant")
    if chromium is None or small is None:
        sys.exit("needs chromium and pngquant (Debian: apt-get install chromium pngquant)")
    # Those of pages that are gone, too; the directory also holds plots and drawings, which are not made here.
    for picture in _pictures():
        picture.unlink()
    number = 0
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        for scheme in ("light", "dark"):
            # A world for each, so that in every picture the same has just happened.
            world = World(Path(place) / scheme)
            try:
                for device in WIDTHS:
                    take(browser, world, scheme=scheme, device=device, number=number)
                    number += 1
            finally:
                world.close()
        browser.close()
    subprocess.run(
        [
            small,
            "--force",
            "--skip-if-larger",
            "--ext",
            ".png",
            "--quality",
            "70-95",
            *map(str, _pictures()),
        ],
        check=False,
    )
    write_gallery()


if __name__ == "__main__":
    main()
