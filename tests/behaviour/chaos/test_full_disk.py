"""A full disk of the database: nothing acknowledged is lost, and the Servers recover by themselves once there is room."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.behaviour.chaos import report
from tests.behaviour.chaos.enrolling import Enroller
from tests.behaviour.chaos.field import check_recovery, field_under_load
from tests.behaviour.chaos.fleet import Member, are_untouched, keyed, wait_until_all_are
from tests.behaviour.chaos.scale import ENROLLMENTS
from tests.behaviour.chaos.volume import Volume, small_volume
from tests.builders import ENROLLMENT_KEY
from tests.postgres import Cluster
from tests.processes import Site, end_started, until


@pytest.mark.slow
def test_a_server_on_sqlite_recovers_from_a_full_disk(tmp_path: Path):
    """
    Requests that need a write get 503, and take effect exactly once when there is room.

    Connected Workers stay connected and get tokens, which need no write.
    """
    with small_volume(12) as volume, contextlib.ExitStack() as stack:
        stack.callback(end_started)
        staging = str(volume.root / "staging")
        site = Site(tmp_path, LYFTDATA_STAGING_DIR=staging, LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
        operator = site.sign_in()
        given = keyed(operator, "key-1")
        member = Member("key-1", site.worker_host("key-1", **given))
        wait_until_all_are(operator, [member])
        acknowledged: set[tuple[str, str]] = set()
        place = tmp_path / "enrolling"
        place.mkdir()
        load = Enroller(site.url, place, acknowledged, ENROLLMENTS)
        stack.callback(load.end, kill=True)
        until(lambda: acknowledged, "the load has begun")

        volume.fill()
        begun = time.monotonic()
        site.server.wait_for("request_failed")
        token = token_of(site, given)
        assert httpx2.get(
            f"{site.url}/auth/verify",
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=180,
        ).is_success
        assert operator.run("workers", "add", "key-2").returncode == 1
        # Earlier writes may be acknowledged late, and a WAL that is reused needs no more room for a while.
        until(lambda: has_stopped_growing(acknowledged), "nothing more is acknowledged")
        assert len(acknowledged) < ENROLLMENTS
        volume.free()
        ended = time.monotonic()

        assert load.end(kill=False) == 0
        wait_until_all_are(operator, [member])
        entries = {(entry["name"], entry["id"]) for entry in site.workers().values()} - {("key-1", "key-1")}
        report.record(
            fault="the disk of a Server on SQLite is full",
            load=f"{ENROLLMENTS} enrollments, 8 at once; 1 connected Worker",
            lasted_s=round(ended - begun, 1),
            acknowledged=len(acknowledged),
            lost=len(acknowledged - entries),
            programs_ended=0 if are_untouched(operator, [member]) else 1,
            recovered_s=round(time.monotonic() - ended, 1),
        )
        assert entries == acknowledged
        assert len(entries) == ENROLLMENTS
        assert are_untouched(operator, [member])
        assert operator.json("audit", "verify")["ok"]
        assert "Traceback" not in site.server.log
        assert site.server.terminate() == 0


def has_stopped_growing(acknowledged: set[tuple[str, str]]) -> bool:
    """Return whether nothing was acknowledged for two seconds."""
    before = len(acknowledged)
    time.sleep(2)
    return len(acknowledged) == before


def token_of(site: Site, given: dict[str, str]) -> str:
    """Return a token for the settings of a Worker's host."""
    form = {
        "grant_type": "client_credentials",
        "client_id": given["LYFTDATA_WORKER_ID"],
        "client_secret": given["LYFTDATA_WORKER_API_KEY"],
    }
    answer = httpx2.post(f"{site.url}/oauth2/token", data=form, trust_env=False, timeout=180)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


@contextlib.contextmanager
def the_disk_is_full(cluster: Cluster, volume: Volume) -> Iterator[None]:
    """PostgreSQL stops when it cannot write its WAL; once there is room it is started again, as by a service manager."""
    volume.fill()
    yield
    volume.free()
    if not cluster.answers():
        with contextlib.suppress(AssertionError):
            cluster.stop("immediate")
        cluster.start()


@pytest.mark.slow
def test_servers_recover_from_a_full_disk_of_postgresql(tmp_path: Path):
    """Servers accept nothing that cannot be written, and continue by themselves once it can."""
    with small_volume(80) as volume, contextlib.ExitStack() as stack:
        cluster = Cluster(volume.root, min_wal_size="2MB", max_wal_size="4MB")
        stack.callback(cluster.close)
        url = cluster.new_database()
        field = stack.enter_context(field_under_load(tmp_path, [url, url]))
        check_recovery(field, "the disk of the database is full", the_disk_is_full(cluster, volume))
