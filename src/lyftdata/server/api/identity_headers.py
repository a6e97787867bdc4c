"""Builds the headers by which a proxy tells its service who a Worker is."""

from lyftdata.core.records import WorkerRecord
from lyftdata.core.token_answers import worker_headers
from lyftdata.server.admission.token_verifier import VerifiedWorker
from lyftdata.server.http.responses import RAW_NO_STORE
from lyftdata.server.http.whole_answer import Head

# Name and labels are formatted again for an entry that has changed, not for each request of its Worker.
_headers_of: dict[str, tuple[WorkerRecord, Head]] = {}
_MAX_REMEMBERED = 10_000


def identity_headers(verified: VerifiedWorker) -> Head:
    """Return who the Worker is, as headers."""
    worker = verified.worker
    known = _headers_of.get(worker.id)
    # The very entry: one that has changed is another object.
    if known is not None and known[0] is worker:
        return known[1]
    if len(_headers_of) >= _MAX_REMEMBERED:
        _headers_of.clear()
    headers = Head(*RAW_NO_STORE, *worker_headers(worker))
    _headers_of[worker.id] = worker, headers
    return headers
