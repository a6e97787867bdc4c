"""
The Merkle tree of RFC 9162, section 2.1: one hash that stands for a list, and short proofs that an entry is in it.

A list that only grows needs no tree in memory: the roots of its largest complete subtrees (a compact range, at most one hash for
each bit of the length) are enough to add entries and to compute the root. `tests/unit/core/test_merkle_tree.py` has the test
vectors of the Certificate Transparency project.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import islice

HASH_BYTES = 32
EMPTY_ROOT = sha256().digest()


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry."""
    # Second preimages: without the prefixes a node could be presented as an entry (RFC 9162, section 2.1.1).
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node."""
    return sha256(b"\x01" + left + right).digest()


class CompactRange:
    """
    The first entries of a list, as the roots of the complete subtrees that cover them.

    Args:
        size: How many entries.
        peaks: The roots, from the largest subtree, which covers the first entries, to the smallest.
    """

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)
        if size < 0 or len(self.peaks) != size.bit_count():
            raise ValueError(f"{len(self.peaks)} subtrees cannot cover {size} entries")

    def append(self, leaf: bytes) -> None:
        """Add the hash of the next entry."""
        node, complete = leaf, self.size
        while complete & 1:
            node = node_hash(self.peaks.pop(), node)
            complete >>= 1
        self.peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the root of the tree of these entries."""
        if not self.peaks:
            return EMPTY_ROOT
        *larger, root = self.peaks
        for peak in reversed(larger):
            root = node_hash(peak, root)
        return root

    def copy(self) -> "CompactRange":
        """Return a copy that can grow independently."""
        return CompactRange(self.size, self.peaks)


def inclusion_path(
    index: int, size: int, *, before: CompactRange, leaves_after: Iterable[bytes]
) -> list[bytes]:
    """
    Return the hashes that lead from an entry to the root, the lowest first (RFC 9162, section 2.1.3.1).

    Args:
        index: Which entry, from 0.
        size: How many entries the tree has.
        before: The entries before it: the subtrees of a compact range are the siblings on the left.
        leaves_after: Hashes of the entries after it, up to the end of the tree.
    """
    if not 0 <= index < size or before.size != index:
        raise ValueError(f"no path for entry {index} of {size} behind {before.size}")
    left, after = list(before.peaks), iter(leaves_after)
    return [
        left.pop() if start < index else _root_of(islice(after, end - start), end - start)
        for start, end in _siblings(index, size)
    ]


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """
    Return the root to which a path leads (RFC 9162, section 2.1.3.2); the caller compares it with the signed one.

    Raises:
        ValueError: The path is too long or too short for that entry.
    """
    siblings = list(_siblings(index, size)) if 0 <= index < size else []
    if not 0 <= index < size or len(siblings) != len(path):
        raise ValueError(f"not a path for entry {index} of {size}")
    for (start, _), sibling in zip(siblings, path, strict=True):
        leaf = node_hash(sibling, leaf) if start < index else node_hash(leaf, sibling)
    return leaf


def _siblings(index: int, size: int) -> Iterator[tuple[int, int]]:
    """Return the range of entries that each sibling on the path to the root covers, the lowest sibling first."""
    start, end, found = 0, size, []
    while end - start > 1:
        # The largest power of two that is smaller than the number of entries.
        middle = start + (1 << (end - start - 1).bit_length() - 1)
        if index < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start = middle
    return reversed(found)


def _root_of(leaves: Iterable[bytes], count: int) -> bytes:
    subtree = CompactRange()
    for leaf in leaves:
        subtree.append(leaf)
    if subtree.size != count:
        raise ValueError("the entries end before the tree does")
    return subtree.root()
