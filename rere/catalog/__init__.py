"""Items as token sequences, and the trie over them."""
