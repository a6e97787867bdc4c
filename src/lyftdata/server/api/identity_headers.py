"""Builds the headers with which a proxy identifies a Worker to its service."""

from lyftdata.core.records import WorkerRecord
from lyftdata.core.token_answers import worker_headers
from lyftdata.server.admission.token_verifier import VerifiedWorker
from lyftdata.server.http.responses import RAW_NO_STORE
from lyftdata.server.http.whole_answer import Head

# Cached: name and labels are formatted again only when the entry changes, not for each request.
_headers_of: dict[str, tuple[WorkerRecord, Head]] = {}
_MAX_REMEMBERED = 10_000


def identity_headers(verified: VerifiedWorker) -> Head:
    """Return the Worker's identity as headers."""
    worker = verified.worker
    known = _headers_of.get(worker.id)
    # By object identity: a changed entry is a different object.
    if known is not None and known[0] is worker:
        return known[1]
    if len(_headers_of) >= _MAX_REMEMBERED:
        _headers_of.clear()
    headers = Head(*RAW_NO_STORE, *worker_headers(worker))
    _headers_of[worker.id] = worker, headers
    return headers
