"""The database fails over to a synchronous standby: the Servers find it by themselves, and nothing acknowledged is lost."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.behaviour.chaos.field import in_the_field, nothing_is_lost
from tests.postgres import Cluster, Standby


@contextlib.contextmanager
def fails_over(primary: Cluster, standby: Standby) -> Iterator[None]:
    """The primary ends as by a power cut, and is not seen again; its standby is promoted a while after."""
    primary.stop("immediate")
    yield
    standby.promote()


@pytest.mark.slow
def test_the_standby_takes_over(tmp_path: Path):
    """Whatever was committed is at the standby too; what was asked for meanwhile is asked for again, and done once."""
    with contextlib.ExitStack() as stack:
        primary = Cluster()
        stack.callback(primary.close)
        database = primary.new_database().rpartition("/")[2]
        standby = Standby(primary)
        stack.callback(standby.close)
        hosts = "&".join(f"host=127.0.0.1:{each.port}" for each in (primary, standby))
        url = f"postgresql://owner:{primary.password}@/{database}?{hosts}&target_session_attrs=read-write"
        field = stack.enter_context(in_the_field(tmp_path, [url, url]))
        nothing_is_lost(field, "the database fails over to its standby", fails_over(primary, standby))
