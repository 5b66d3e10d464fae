"""The flat trie against a dictionary of prefixes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rere.catalog.trie import ROOT, TokenTrie, build_trie
from rere.errors import RereError

ITEMS = [[7, 1, 9], [7, 2, 9], [3, 9], [7, 1, 4, 9], [100_000, 9]]  # one token beyond 16 bits


def test_children_are_those_of_a_prefix_dictionary() -> None:
    trie = build_trie(ITEMS)
    prefixes = {tuple(item[:n]) for item in ITEMS for n in range(len(item) + 1)}
    assert trie.nodes == len(prefixes)
    for prefix in prefixes:
        node = trie.walk(prefix)
        low, count = int(trie.first_child[node]), int(trie.child_count[node])
        expected = sorted(
            {item[len(prefix)] for item in ITEMS if tuple(item[: len(prefix)]) == prefix and len(item) > len(prefix)}
        )
        assert trie.token[low : low + count].tolist() == expected
        assert (trie.parent[low : low + count] == node).all()
        below = {n for n, item in enumerate(ITEMS) if tuple(item[: len(prefix)]) == prefix}
        assert set(trie.leaf_item[trie.leaf_low[node] : trie.leaf_high[node]].tolist()) == below


def test_items_are_kept_and_found() -> None:
    trie = build_trie(ITEMS)
    assert [trie.item(n) for n in range(len(ITEMS))] == ITEMS
    assert [trie.walk(item) for item in ITEMS] == trie.item_leaf.tolist()
    assert trie.max_length == 4
    assert int(trie.parent[ROOT]) == -1


def test_a_run_reaches_to_the_next_fork_or_the_last_node_before_a_leaf() -> None:
    trie = build_trie([[1, 2, 3, 4], [1, 2, 3, 5, 6, 9], [8]])
    runs = {prefix: int(trie.run[trie.walk(prefix)]) for prefix in [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 5), (8,)]}
    assert runs == {(1,): 3, (1, 2): 2, (1, 2, 3): 1, (1, 2, 3, 5): 2, (8,): 0}


def test_saved_trie_is_the_same(tmp_path: Path) -> None:
    trie = build_trie(ITEMS)
    trie.save(tmp_path / "trie.safetensors")
    loaded = TokenTrie.load(tmp_path / "trie.safetensors")
    assert all(torch.equal(getattr(trie, name), getattr(loaded, name)) for name in vars(trie))


def test_a_walk_ends_where_no_item_goes_on() -> None:
    trie = build_trie(ITEMS)
    assert trie.walk([7, 5, 9]) == trie.walk([7]) != ROOT
    assert trie.walk([3, 9, 1]) == int(trie.item_leaf[2])
    assert trie.walk([5]) == ROOT


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "no items"),
        ([[1], []], "no tokens"),
        ([[1, 2], [3], [1, 2]], "items 0 and 2"),
        ([[1, 2, 3], [1, 2]], "none begins"),
    ],
)
def test_impossible_catalogues_are_refused(items: list[list[int]], message: str) -> None:
    with pytest.raises(RereError, match=message):
        build_trie(items)
