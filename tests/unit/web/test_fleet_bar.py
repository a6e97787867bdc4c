"""The bar of the overview."""

from hypothesis import given
from hypothesis import strategies as st
from tests.builders import NOON

from lyftdata.core.fleet_verdict import judge
from lyftdata.core.records import State
from lyftdata.web.fleet_bar import WIDTH, fleet_segments


def test_every_worker_is_in_one_segment_and_each_leads_to_its_workers():
    """Lost ones are not among those that are offline for another reason, and archived ones are nowhere."""
    counts = {
        State.ONLINE: 735,
        State.OFFLINE: 330,
        State.NEVER_CONNECTED: 27,
        State.DISABLED: 39,
        State.ARCHIVED: 5,
    }
    verdict = judge(online=735, returning=2, away=16, lost_at=[NOON] * 312)
    segments = fleet_segments(counts, verdict)
    assert [(part.key, part.number) for part in segments] == [
        ("online", 735),
        ("lost", 312),
        ("returning", 2),
        ("offline", 16),
        ("never", 27),
        ("disabled", 39),
    ]
    assert sum(part.number for part in segments) == 735 + 330 + 27 + 39
    paths = {part.key: part.path for part in segments}
    assert paths["lost"] == "/workers?q=presence:lost"
    assert paths["never"] == "/workers?q=status:never_connected"


def test_nothing_is_shown_as_zero():
    """An empty part has no segment, so nothing green is ever 0."""
    assert fleet_segments({}, judge(online=0, returning=0, away=0, lost_at=[])) == []


@given(st.dictionaries(st.sampled_from([s for s in State if s is not State.ARCHIVED]), st.integers(0, 10**6)))
def test_the_bar_is_full_and_every_part_can_be_seen(counts):
    """However uneven a fleet is."""
    segments = fleet_segments(counts, judge(online=0, returning=0, away=0, lost_at=[]))
    for part in segments:
        assert part.width >= 1
        assert 0 <= part.x <= part.x + part.width <= WIDTH + 1
