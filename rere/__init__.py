"""ReRe pipelines' library: torch and transformers only; orchestration lives in `steps/` and `pipelines/`.

The axes of tensors, in signatures (`Float[Tensor, "P G"]`) and in docstrings; other axes are spelt out:

P  prompts, or rows that are judged or trained on
G  candidates per prompt
K  live beams per prompt, or items of a ranked list
L  tokens of a candidate
I  items of the catalogue
N  nodes of the trie
V  the vocabulary
T  packed tokens of a forward
B  live branches of all prompts, P · K
R  rows of different lengths, one after another
E  entries of such rows; most often edges of the trie, by the node that they leave
U  distinct trie nodes of all groups of candidates
Q  queries of a prompt in a forward
S  slots of a prompt: its keys and values
H  attention heads
D  their size
"""
