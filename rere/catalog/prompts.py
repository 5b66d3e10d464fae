"""What stands around the history in a prompt: the instruction, the tokenizer's begin token, its chat template.

The parts are tokens, so that an item in between has the very tokens that it has as a target.
"""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from rere.config.catalog import IndexConfig
from rere.errors import RereError

HISTORY = "HISTORYSTANDSHERE"  # rendered in its place


@dataclass(frozen=True)
class PromptFrame:
    """heads: tokens before the history, by instruction; tail: tokens after it, of whatever instruction."""

    heads: tuple[tuple[int, ...], ...]
    tail: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """The most that it has."""
        return max(map(len, self.heads)) + len(self.tail)


def prompt_frame(tokenizer: PreTrainedTokenizerFast, config: IndexConfig) -> PromptFrame:
    """The frame that the settings ask for.

    Raises:
        RereError: `prompt: chat` with a tokenizer without a chat template, or with one that alters a message.
    """
    if config.prompt == "plain":
        return PromptFrame(tuple(plain_head(tokenizer, instruction) for instruction in config.instructions))
    parts = [_around(tokenizer, instruction) for instruction in config.instructions]
    if len({after for _, after in parts}) > 1:
        raise _unusable("one whose text after the message depends on the message")
    heads = tuple(tuple(tokenizer.encode(before, add_special_tokens=False)) for before, _ in parts)
    return PromptFrame(heads, tuple(tokenizer.encode(parts[0][1], add_special_tokens=False)))


def plain_head(tokenizer: PreTrainedTokenizerFast, instruction: str) -> tuple[int, ...]:
    """The begin token, where the tokenizer's own habit or a scratch model has one, and the instruction."""
    tokens = tokenizer.encode(instruction, add_special_tokens=False) if instruction else []
    begins = tokenizer.bos_token_id is not None and (
        tokenizer.bos_token == "<|begin|>" or tokenizer.encode("a")[0] == tokenizer.bos_token_id
    )
    return tuple([tokenizer.bos_token_id, *tokens] if begins else tokens)


def _around(tokenizer: PreTrainedTokenizerFast, instruction: str) -> tuple[str, str]:
    """The rendered text before and after the history, which the instruction precedes in the user's message."""
    if not tokenizer.chat_template:
        raise _unusable("none")
    message = {"role": "user", "content": instruction + HISTORY}
    try:
        text = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    except (TemplateError, ValueError) as error:
        raise _unusable(f"{type(error).__name__}: {error}") from error
    before, *after = str(text).split(HISTORY)
    if len(after) != 1 or not before.endswith(instruction):
        raise _unusable("one that alters the message, or doesn't show it once")
    return before, after[0]


def _unusable(found: str) -> RereError:
    return RereError(
        "a tokenizer whose chat template shows a user's message as it is, for `catalog.prompt: chat`",
        found,
        "set `catalog.prompt: plain`, or use a model that was tuned for chats",
    )
