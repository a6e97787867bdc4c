"""
The Merkle tree matches the vectors of the Certificate Transparency project (certificate-transparency-go, testonly/constants.go).
"""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyftdata.core.merkle_tree import CompactRange, inclusion_path, leaf_hash, root_from_path

ENTRIES = [
    bytes.fromhex(entry)
    for entry in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PATHS = {
    0: (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    5: (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
}


def tree_of(entries):
    """Return the compact range of these entries."""
    tree = CompactRange()
    for entry in entries:
        tree.append(leaf_hash(entry))
    return tree


def path_of(index, entries):
    """Return an entry's inclusion path."""
    return inclusion_path(
        index,
        len(entries),
        before=tree_of(entries[:index]),
        leaves_after=map(leaf_hash, entries[index + 1 :]),
    )


@pytest.mark.parametrize("size", range(9))
def test_roots_match_the_vectors(size):
    """For trees of the first entries, from none to eight."""
    assert tree_of(ENTRIES[:size]).root().hex() == ROOTS[size]


@pytest.mark.parametrize("index", PATHS)
def test_paths_match_the_vectors(index):
    """In the tree of eight, the lowest sibling first."""
    assert tuple(node.hex() for node in path_of(index, ENTRIES)) == PATHS[index]


@given(st.integers(1, 70), st.data())
def test_every_inclusion_path_leads_to_the_root(size, data):
    """In a tree of any size; with another entry or index it does not."""
    entries = [str(number).encode() for number in range(size)]
    index = data.draw(st.integers(0, size - 1))
    path, root = path_of(index, entries), tree_of(entries).root()

    assert root_from_path(leaf_hash(entries[index]), index, size, path) == root
    assert root_from_path(leaf_hash(b"other"), index, size, path) != root
    for other in {index ^ 1, size - 1 - index} - {index}:
        # The path of that index may have another length.
        with contextlib.suppress(ValueError):
            assert root_from_path(leaf_hash(entries[index]), other, size, path) != root


@given(st.integers(0, 70), st.integers(0, 70))
def test_a_tree_can_be_continued_from_its_stored_subtrees(size, more):
    """It then has the root of all entries."""
    entries = [str(number).encode() for number in range(size + more)]
    first = tree_of(entries[:size])
    tree = CompactRange(first.size, first.peaks)
    for entry in entries[size:]:
        tree.append(leaf_hash(entry))

    assert tree.root() == tree_of(entries).root()


@pytest.mark.parametrize(("size", "count"), [(0, 1), (3, 1), (4, 2), (-1, 0)])
def test_subtrees_that_do_not_fit_the_size_are_rejected(size, count):
    """A size needs one subtree for each bit that is set."""
    with pytest.raises(ValueError, match="cannot cover"):
        CompactRange(size, [bytes(32)] * count)


@pytest.mark.parametrize(
    ("index", "size", "length"), [(0, 8, 2), (0, 8, 4), (8, 8, 3), (-1, 8, 3), (0, 1, 1)]
)
def test_a_path_of_the_wrong_length_is_rejected(index, size, length):
    """Shorter, longer, or for an index that the tree does not have."""
    with pytest.raises(ValueError, match="not a path"):
        root_from_path(bytes(32), index, size, [bytes(32)] * length)
