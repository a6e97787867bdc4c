"""Who a Worker is, as the headers that a proxy hands to its service."""

from urllib.parse import quote

from lyftdata.core.names import format_labels
from lyftdata.core.records import WorkerRecord
from lyftdata.server.verification import VerifiedWorker
from lyftdata.server.wire import RAW_NO_STORE

# Name and labels are formatted again for an entry that has changed, not for each request of its Worker.
_headers_of: dict[str, tuple[WorkerRecord, tuple[tuple[bytes, bytes], ...]]] = {}
_MAX_REMEMBERED = 10_000


def identity_headers(verified: VerifiedWorker) -> tuple[tuple[bytes, bytes], ...]:
    """
    Return who the Worker is, as headers.

    The name is percent-encoded UTF-8: a header holds no other text safely, and a name is chosen by strangers.
    """
    worker = verified.worker
    known = _headers_of.get(worker.id)
    # The very entry: one that has changed is another object.
    if known is not None and known[0] is worker:
        return known[1]
    if len(_headers_of) >= _MAX_REMEMBERED:
        _headers_of.clear()
    headers = _formatted(worker)
    _headers_of[worker.id] = worker, headers
    return headers


def _formatted(worker: WorkerRecord) -> tuple[tuple[bytes, bytes], ...]:
    return (
        *RAW_NO_STORE,
        (b"x-lyftdata-worker-id", worker.id.encode()),
        (b"x-lyftdata-worker-name", quote(worker.name, safe=" ").encode()),
        (b"x-lyftdata-worker-strategy", worker.strategy.encode()),
        (b"x-lyftdata-worker-labels", format_labels(worker.labels).encode()),
    )
