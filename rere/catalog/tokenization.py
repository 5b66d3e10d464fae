"""How a title becomes tokens: as plain text, whatever it says.

A title comes from whoever fills the catalogue. Spelt by a tokenizer's own habit, one that holds `<|im_end|>` or
`<|endoftext|>` would put that very control token into every prompt with the item in its history. Here such a marker is
spelt like other characters.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

from rere.errors import RereError

BATCH_TITLES = 20_000  # spelt at once: a tokenizer's own records of a title take more than its tokens


def end_token(tokenizer: PreTrainedTokenizerFast) -> int:
    """The token that ends an item: a line break where that is one token, else the end of text.

    Raises:
        RereError: the tokenizer has neither.
    """
    line_break = tokenizer.encode("\n", add_special_tokens=False)
    pretrained = tokenizer.bos_token != "<|begin|>"
    if pretrained and len(line_break) == 1 and line_break[0] != tokenizer.unk_token_id:
        return line_break[0]
    if tokenizer.eos_token_id is None:
        raise RereError(
            "a tokenizer with a token for the line break or the end of text, which ends an item",
            "neither",
            "set its `eos_token` (tokenizer_config.json), or use another backbone",
        )
    return tokenizer.eos_token_id


def spell(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    """Each text's tokens, without an end token.

    Raises:
        RereError: a text of no token; or one with a control token even so (a line break; a vocabulary that holds a
            marker as a word).
    """
    end = end_token(tokenizer)
    encoded: list[list[int]] = tokenizer(
        list(texts), add_special_tokens=False, return_attention_mask=False, split_special_tokens=True
    )["input_ids"]
    control = {end, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    odd = [
        text
        for text, tokens in zip(texts, encoded, strict=True)
        if not text.strip() or not tokens or not control.isdisjoint(tokens)
    ]
    if odd:
        raise RereError(
            "titles of at least one token, on one line, without control tokens", f"{odd[:3]!r}", "clean the titles"
        )
    return encoded
