"""
Take the screenshots of every page for the documentation: light and dark, desktop and phone.

    make screenshots
    make screenshots ONLY="requests second-operator"

Uses a real Server with the history and fleet of `tests/behaviour/browser/world.py` and nearly 3,000 more Workers: those of one rack
are offline, most others are connected. Needs Chromium, and pngquant to compress the files. With names, only those are retaken.
"""

import asyncio
import contextlib
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
from playwright.sync_api import Browser, FloatRect, sync_playwright
from tests.behaviour.browser.conftest import ARGUMENTS
from tests.behaviour.browser.world import ADMIN, CONNECTED, REQUEST_ID, World, find_chromium
from tests.lean_workers import LeanWorker, Tally, allow_many_connections, spread
from tests.processes import PASSWORD, until

from lyftdata.core.fleet_policy import make_policy
from lyftdata.core.records import (
    AuditEvent,
    Strategy,
    VersionCountRecord,
    WorkerRecord,
    WorkerSessionRecord,
    WorkerTraces,
)
from lyftdata.store import WriteTx
from lyftdata.store.tables import activity, fleet_policy, version_counts, worker_sessions

_WORKERS, _RACKS, _LOST_RACK, _NEVER_THERE = 2_983, 40, 17, 60
IMAGES = Path(__file__).parents[1] / "docs" / "images"
WIDTHS = {"desktop": 1280, "phone": 390}
SCHEMES = ("light", "dark")
_LIST_HEIGHT = 1_300
PAGES = {
    "overview": ("Overview", "/?period=day"),
    "workers": ("Workers", "/workers"),
    "worker": ("A Worker", "/workers/press-01"),
    "worker-disabled": ("A disabled Worker", "/workers/press-08"),
    "worker-disable": ("Disabling a Worker", "/workers/press-01/disable"),
    "agent-versions": ("Agent versions", "/agent-versions"),
    "agent-versions-policy": (
        "Setting a fleet policy",
        "/agent-versions/policy?warn_below=99&refuse_below=98&from=",
    ),
    "worker-new": ("New Worker", "/add-worker"),
    "worker-made": ("New Worker, waiting", ""),
    "workers-delete": (
        "Deleting several Workers",
        "/change-workers?action=delete&id=press-01&id=press-08&q=press",
    ),
    "enrollment": ("Auto-Enrollment", "/enrollment"),
    "enrollment-key": ("An enrollment key", "/enrollment/etl-hosts"),
    "enrollment-key-issue": ("Issuing an enrollment key", "/issue-enrollment-key"),
    "enrollment-key-made": ("A new enrollment key, waiting", "/issue-enrollment-key"),
    "enrollment-rehearsal": ("Rehearsing an enrollment key", "/enrollment/startup/rehearse"),
    "approvals": ("Workers that wait for approval", "/approvals"),
    "api-keys": ("API keys", "/api-keys"),
    "api-key": ("An API key", "/api-keys/press-keys"),
    "api-key-issue": ("Issuing an API key", "/issue-api-key"),
    "api-key-rotate": ("Rotating an API key", "/api-keys/press-keys/rotate"),
    "api-key-revoke": ("Revoking an API key", "/api-keys/press-keys/revoke"),
    "signing-keys": ("Signing keys", "/signing-keys"),
    "resources": ("Resources", "/resources"),
    "resource": ("A resource", "/resources/broker"),
    "refusals": ("Refusals", "/refusals"),
    "refusal": ("A refusal", "/refusals/{reference}"),
    "refusals-ignore": (
        "Ignoring a refusal",
        "/ignore-refusals?code=unknown_worker&subject=address:203.0.113.99",
    ),
    "incident": ("The incident of a leaked key", "/incident?subject=press-keys&since=24h"),
    "incident-cut-off": (
        "Cutting off all that used a key",
        "/incident/cut-off?subject=press-keys&whom=all&action=disable&revoke=yes",
    ),
    "audit": ("Audit", "/audit?action=worker.enrolled"),
    "event-destinations": ("Event destinations", "/event-destinations"),
    "event-destination": ("An event destination", "/event-destinations/siem"),
    "operators": ("Operators", "/operators"),
    "operator-scope": ("Limiting an operator to a team", "/operators/vera/scope"),
    "requests": ("Requests", "/requests"),
    "request": ("A request of another operator", f"/requests/{REQUEST_ID}"),
    "request-confirm": ("Confirming a request", f"/requests/{REQUEST_ID}/confirm"),
    "second-operator": ("What a second operator must confirm", "/second-operator/change"),
    "account": ("Account", "/account"),
    "second-factor": ("Setting up a second factor", "/account/second-factor"),
    "passkey": ("Adding a passkey", "/account/passkeys/add"),
    "confirm": ("Confirming that it is you", "/account/confirm?next=%2Foperators"),
    "device": ("Signing in a command line", "/device?user_code={user_code}"),
    "api-tokens": ("API tokens", "/api-tokens"),
    "api-token": ("An API token", "/api-tokens/ci-deploy"),
    "api-token-issue": ("Issuing an API token", "/issue-api-token"),
    "password": ("Changing the password", "/account/password"),
}


def crowd() -> list[WorkerRecord]:
    """Return the Workers of a fleet with two zones and forty racks."""
    now = datetime.now(UTC)
    return [
        WorkerRecord(
            id=f"etl-{n:04}",
            name=f"etl-{n:04}",
            strategy=Strategy.API_KEY,
            labels={"zone": f"eu-{n % 2 + 1}", "rack": f"r{n % _RACKS}", "team": "etl"},
            created_at=now - timedelta(days=60),
            created_by="operator:admin",
        )
        for n in range(_WORKERS)
    ]


def there() -> range:
    """Return the numbers of the Workers that have connected, including those of the lost rack."""
    return range(_WORKERS - _NEVER_THERE)


def _facts(n: int) -> dict[str, str]:
    version = "1.2.7" if n % 11 == 0 else "1.4.0" if n % 4 == 0 else "1.4.2"
    return {
        "hostname": f"r{n % _RACKS}-node-{n:04}.example",
        "os": "Linux 6.12.48",
        "python": "3.13.9",
        "agent_version": version,
        "pid": str(4000 + n),
    }


def _address(n: int) -> str:
    return f"10.4.{n % _RACKS}.{n // _RACKS + 10}"


def write_past(tx: WriteTx, now: datetime) -> None:
    """Write that a rack was lost twelve minutes ago, and a week in which agents were updated."""
    lost = [n for n in there() if n % _RACKS == _LOST_RACK]
    ended = now - timedelta(minutes=12)
    past = [
        WorkerSessionRecord(
            worker_id=f"etl-{n:04}",
            started_at=now - timedelta(days=2),
            ended_at=ended + timedelta(seconds=n % 20),
            end="lost",
            address=_address(n),
            host=_facts(n),
        )
        for n in lost
    ]
    worker_sessions.upsert_sessions(tx, past)
    left = [
        WorkerTraces(worker_id=one.worker_id, last_seen_at=one.ended_at, address=one.address, host=one.host)
        for one in past
    ]
    activity.upsert_traces(tx, left)
    hour = now.replace(minute=0, second=0)
    for ago in range(7 * 24, 0, -1):
        at = hour - timedelta(hours=ago)
        updated = min(1.0, max(0.0, (5 * 24 - ago) / (4 * 24)))
        old = len(there()) // 11
        counts = {
            "1.4.2": round(updated * 0.66 * len(there())),
            "1.2.7": old + round((1 - updated) * 300),
            "0.1.0": 9,
        }
        counts["1.4.0"] = len(there()) - sum(counts.values())
        version_counts.add_counts(
            tx, at, [VersionCountRecord(at, *count) for count in counts.items() if count[1]]
        )
    policy = make_policy(
        warn_below="1.4", refuse_below="", refuse_from=None, at=now - timedelta(days=2), by="operator:admin"
    )
    fleet_policy.write_policy(tx, policy)
    details = {"warn_below": policy.warn_below}
    tx.audit(
        AuditEvent(
            at=policy.set_at,
            actor=policy.set_by,
            action="fleet_policy.set",
            subject="fleet_policy",
            details=details,
        )
    )


@contextlib.contextmanager
def connected(world: World) -> Iterator[None]:
    """Hold the fleet's connections in a thread with its own event loop, since Playwright uses this thread's."""
    allow_many_connections()
    with httpx2.Client(base_url=world.url, trust_env=False, timeout=120) as http:
        login = http.post("/api/login", json={"username": ADMIN, "password": PASSWORD}).raise_for_status()
        http.headers["Authorization"] = f"Bearer {login.json()['token']}"
        issued = http.post("/api/api-keys", json={"name": "fleet-keys"}).raise_for_status()
    key, tally = issued.json()["key"], Tally()
    fleet = [
        LeanWorker(
            f"etl-{n:04}",
            key,
            host="127.0.0.1",
            port=world.port,
            tally=tally,
            forwarded=_address(n),
            facts=_facts(n),
        )
        for n in there()
        if n % _RACKS != _LOST_RACK
    ]

    async def run() -> None:
        await spread([one.log_in for one in fleet], at_once=32)
        await asyncio.gather(*(one.run() for one in fleet))

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(run(), loop)
    until(lambda: world.online() >= len(fleet) + len(CONNECTED), "the whole fleet online")
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_tasks(), loop).result(timeout=60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=60)
        loop.close()


async def _cancel_tasks() -> None:
    """Cancel all other tasks of this event loop and wait for them, which closes their connections."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def take(
    browser: Browser, world: World, *, scheme: str, device: str, number: int, only: Collection[str]
) -> None:
    """Take these screenshots in one color scheme and size."""
    context = browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": WIDTHS[device], "height": 800},
    )
    page = context.new_page()

    def keep(name: str) -> None:
        if name not in only:
            return
        # Only the beginning of a long list.
        height = _LIST_HEIGHT if name == "workers" else page.evaluate("document.documentElement.scrollHeight")
        clip: FloatRect = {"x": 0, "y": 0, "width": WIDTHS[device], "height": height}
        page.screenshot(path=IMAGES / f"{name}-{scheme}-{device}.png", full_page=True, clip=clip)

    page.goto(f"{world.url}/login")
    keep("sign-in")
    page.get_by_label("Name").fill(ADMIN)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{world.url}/")
    for name, (_, path) in PAGES.items():
        # worker-made needs the form of the page before it.
        if name not in only and not (name == "worker-new" and "worker-made" in only):
            continue
        if name == "worker-made":
            page.get_by_label("Name", exact=True).fill(f"press-1{number}")
            page.get_by_label("Worker ID").fill(f"press-1{number}")
            page.get_by_label("What shall it run?").fill("python /opt/press/press.py --fast")
            page.get_by_role("button", name="Add Worker").click()
            page.get_by_text("Waiting for").wait_for()
        else:
            page.goto(world.url + world.fill(path))
        if name == "enrollment-key-made":
            page.get_by_label("Name", exact=True).fill(f"press-2{number}-key")
            page.get_by_label("Worker name", exact=True).fill(f"press-2{number}")
            page.get_by_role("button", name="Issue").click()
            page.get_by_text("Waiting for").wait_for()
        if name == "audit":
            page.get_by_text("The chain is intact.").wait_for()
        keep(name)
    context.close()


def write_gallery() -> None:
    """Write the page with all screenshots."""
    lines = [
        "# Screenshots of every page",
        "",
        "`make screenshots` takes them from a running Server with 3,000 Workers. Confirmation pages that are not shown look like *Revoking an API key*. The "
        "[operator's guide](../how-to/operators-guide.md) explains the pages.",
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


def _pictures(only: Collection[str] = ("*",)) -> list[Path]:
    """Return the existing screenshots of these pages, or of all."""
    kinds = [f"{scheme}-{device}" for scheme in SCHEMES for device in WIDTHS]
    return [path for name in only for kind in kinds for path in IMAGES.glob(f"{name}-{kind}.png")]


def main() -> None:
    """Take the screenshots, compress them, and write the page."""
    chromium, small = find_chromium(), shutil.which("pngquant")
    if chromium is None or small is None:
        sys.exit("needs chromium and pngquant (Debian: apt-get install chromium pngquant)")
    every = {"sign-in", *PAGES}
    only = set(sys.argv[1:]) or every
    if not only <= every:
        sys.exit(f"there are: {', '.join(sorted(every))}")
    if only == every:
        # Also remove screenshots of deleted pages. The directory also contains plots and drawings from elsewhere.
        for picture in _pictures():
            picture.unlink()
    number = 0
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        for scheme in SCHEMES:
            # A new world for each scheme, so that all screenshots show the same recent events.
            world = World(Path(place) / scheme, crowd=crowd(), more=write_past, connected=len(there()))
            try:
                with connected(world):
                    for device in WIDTHS:
                        take(browser, world, scheme=scheme, device=device, number=number, only=only)
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
            *map(str, _pictures(only)),
        ],
        check=False,
    )
    write_gallery()


if __name__ == "__main__":
    main()
