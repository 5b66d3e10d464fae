"""Generation over the catalogue: tree attention, the scores of the trie's edges, beam search."""
