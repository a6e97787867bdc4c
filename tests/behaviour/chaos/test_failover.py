"""Failover of the database to a synchronous standby: Servers find it by themselves, and nothing acknowledged is lost."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.behaviour.chaos.field import check_recovery, field_under_load
from tests.postgres import Cluster, Standby


@contextlib.contextmanager
def fails_over(primary: Cluster, standby: Standby) -> Iterator[None]:
    """The primary ends as in a power cut and does not return; its standby is promoted a while later."""
    primary.stop("immediate")
    yield
    standby.promote()


@pytest.mark.slow
def test_servers_continue_on_the_standby(tmp_path: Path):
    """Everything committed is on the standby too; requests during the failover are repeated, and take effect once."""
    with contextlib.ExitStack() as stack:
        primary = Cluster()
        stack.callback(primary.close)
        database = primary.new_database().rpartition("/")[2]
        standby = Standby(primary)
        stack.callback(standby.close)
        hosts = "&".join(f"host=127.0.0.1:{each.port}" for each in (primary, standby))
        url = f"postgresql://owner:{primary.password}@/{database}?{hosts}&target_session_attrs=read-write"
        field = stack.enter_context(field_under_load(tmp_path, [url, url]))
        check_recovery(field, "the database fails over to its standby", fails_over(primary, standby))
