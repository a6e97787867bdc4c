"""The overview's bar of Workers by state."""

from hypothesis import given
from hypothesis import strategies as st
from tests.builders import NOON

from lyftdata.core.fleet_verdict import judge
from lyftdata.core.records import State
from lyftdata.web.fleet_bar import WIDTH, fleet_segments


def test_every_worker_is_in_one_segment_which_links_to_its_workers():
    """Lost Workers are not counted as offline again, and archived ones are in no segment."""
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


def test_an_empty_segment_is_not_shown():
    """So the green segment never says 0."""
    assert fleet_segments({}, judge(online=0, returning=0, away=0, lost_at=[])) == []


@given(st.dictionaries(st.sampled_from([s for s in State if s is not State.ARCHIVED]), st.integers(0, 10**6)))
def test_every_segment_is_visible(counts):
    """However uneven the counts are, no segment is thinner than 1 or outside the bar."""
    segments = fleet_segments(counts, judge(online=0, returning=0, away=0, lost_at=[]))
    for part in segments:
        assert part.width >= 1
        assert 0 <= part.x <= part.x + part.width <= WIDTH + 1
