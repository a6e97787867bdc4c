"""Prepares structs for use in threads: one thread builds msgspec's type information before any other can use it."""

import threading

import msgspec

_lock = threading.Lock()
_prepared: set[type[msgspec.Struct]] = set()


def prepare_structs(*kinds: type[msgspec.Struct]) -> None:
    """
    Build the type information that `msgspec.convert` and `msgspec.json.decode` need for these structs; for a prepared one this is a look-up.

    msgspec builds it when a struct is first used, and stores it on the class before it is complete. A second thread that uses the
    struct meanwhile reads a null pointer, and the process crashes (msgspec 0.22: a segmentation fault of a Server whose readers
    started at the same time). So every struct that is read is prepared: where it is defined, or under this lock before it is used.
    """
    for kind in kinds:
        if kind not in _prepared:
            with _lock:
                msgspec.json.Decoder(kind)
                _prepared.add(kind)
