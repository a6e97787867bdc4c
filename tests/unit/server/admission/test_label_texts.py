"""The distinct keys and values of all Workers' labels."""

from hypothesis import given
from hypothesis import strategies as st
from tests.builders import worker

from lyftdata.core.query_values import fold
from lyftdata.server.admission.directory import Directory
from lyftdata.store.changes import WorkerChanged

TEXTS = st.sampled_from(("gpu", "GPU", "zone", "eu-1", "Straße", "line\nbreak", "rack"))
RECORDS = st.one_of(st.none(), st.dictionaries(TEXTS, st.one_of(st.just(""), TEXTS), max_size=3))


@given(st.lists(st.tuples(st.sampled_from(("w-1", "w-2", "w-3")), RECORDS), max_size=12), TEXTS.map(fold))
def test_labels_are_found_as_long_as_a_worker_has_them(changes, text):
    """Whatever is added, changed and removed, in whatever order."""
    directory = Directory([worker("w-1", labels={"gpu": "", "zone": "eu-1"})], ())
    for worker_id, labels in changes:
        record = None if labels is None else worker(worker_id, labels=labels)
        directory.apply([WorkerChanged(worker_id, record)])

    entries = [one.labels for one in directory.workers()]
    found = directory.label_texts
    assert found.keys_with(text) == {key for labels in entries for key in labels if text in fold(key)}
    assert found.values_with(text) == {
        value for labels in entries for value in labels.values() if text in fold(value)
    }
