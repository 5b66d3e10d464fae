"""What stands around the history: one of several instructions, and a tokenizer's own chat template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError
from transformers import AutoTokenizer

from rere.catalog.codes.semantic import SemanticCode
from rere.catalog.codes.title import TitleCode
from rere.catalog.index import CatalogIndex, build_index
from rere.config.backbone import LocalModel
from rere.config.catalog import IndexConfig
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.errors import RereError
from rere.serving.live_catalog import Snapshot
from rere.training.check import check_backbone
from tests.conftest import TINY
from tests.training.test_check import saved

MARKERS = ["<user>", "<answer>"]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<user>{{ message['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<answer>{% endif %}"
)
FILMS = pd.DataFrame({"item_id": ["a", "b", "c"], "title": ["Alien", "Brazil", "Cars"]})


def chatting(directory: Path, template: str | None = TEMPLATE) -> LocalModel:
    """A tiny model whose tokenizer has a token for each letter, and a chat template."""
    saved(directory, "llama", bos_token="<s>", eos_token="<end>")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.add_special_tokens({"additional_special_tokens": MARKERS})
    tokenizer.chat_template = template
    tokenizer.save_pretrained(directory)
    return LocalModel(path=directory)


def chat_index(directory: Path, items: pd.DataFrame, instruction: str | tuple[str, ...]) -> CatalogIndex:
    config = IndexConfig(backbone=chatting(directory), code=TitleCode(), instruction=instruction, prompt="chat")
    return build_index(items, config)


def said(catalog: CatalogIndex, tokens: Sequence[int]) -> str:
    return str(catalog.tokenizer.decode(list(tokens))).replace(" ", "")


def test_a_chat_prompt_is_the_rendered_template(tmp_path: Path) -> None:
    catalog = chat_index(tmp_path, FILMS, "next.")
    rendered = "<s><user>next.Alien<end>Cars<end><end><answer>"  # a title ends with the end token; so does a message
    assert catalog.prompt([0, 2]) == catalog.tokenizer.encode(rendered, add_special_tokens=False)
    assert said(catalog, catalog.prompt_tail) == "<end><answer>"


def test_each_instruction_has_a_head_and_prompts_begin_with_the_first(tmp_path: Path) -> None:
    catalog = chat_index(tmp_path, FILMS, ("next.", "what.next."))
    heads = [said(catalog, head) for head in catalog.prompt_heads]
    assert heads == ["<s><user>next.", "<s><user>what.next."]
    assert catalog.prompt([1])[: len(catalog.prompt_heads[0])] == list(catalog.prompt_heads[0])
    second = said(catalog, catalog.prompt([1], catalog.prompt_heads[1]))
    assert second == "<s><user>what.next.Brazil<end><end><answer>"
    assert catalog.frame_tokens == len(catalog.prompt_heads[1]) + len(catalog.prompt_tail)


def test_what_is_saved_and_what_is_served_has_the_same_prompts(tmp_path: Path) -> None:
    catalog = chat_index(tmp_path / "model", FILMS, ("next.", "what.next."))
    catalog.save(tmp_path / "index")
    loaded = CatalogIndex.load(tmp_path / "index")
    assert (loaded.prompt_heads, loaded.prompt_tail) == (catalog.prompt_heads, catalog.prompt_tail)
    served = Snapshot.of(loaded).extended({"d": "Dune"})
    assert served.prompt([0, 1]) == catalog.prompt([0, 1])
    assert served.prompt_tokens([0, 1]) == len(catalog.prompt([0, 1]))


@pytest.mark.parametrize(
    ("template", "found"),
    [
        (None, "none"),
        ("{{ messages[0]['content'] | lower }}", "one that alters the message"),
        ("{{ messages[0]['content'] * 2 }}", "doesn't show it once"),
        ("hello", "doesn't show it once"),
        ("{{ messages[0]['content'][2:] }}", "one that alters the message"),
        ("{{ raise_exception('system first') }}", "system first"),
        ("{{ messages[0]['content'] }}{{ messages[0]['content'] | length }}", "depends on the message"),
    ],
)
def test_a_template_that_cannot_be_used_is_one_clear_error(tmp_path: Path, template: str | None, found: str) -> None:
    backbone = chatting(tmp_path, template)
    config = IndexConfig(backbone=backbone, code=TitleCode(), instruction=("next.", "what.next."), prompt="chat")
    with pytest.raises(RereError, match=found):
        build_index(FILMS, config)
    sft = SFTConfig(rows="window", distillation=None)
    with pytest.raises(RereError, match=found):  # before anything is read or trained
        check_backbone(config, sft, RLConfig())


def test_a_scratch_model_has_no_chat_template() -> None:
    with pytest.raises(ValidationError, match="a pretrained backbone"):
        IndexConfig(prompt="chat")


def test_several_plain_instructions(tmp_path: Path) -> None:
    config = IndexConfig(backbone=TINY, code=SemanticCode(), instruction=("Next:", "And then?"))
    catalog = build_index(FILMS, config)
    # The tokenizer of a scratch model has seen them all: none has an unknown character.
    assert [catalog.tokenizer.decode(list(head[1:])) for head in catalog.prompt_heads] == ["Next:", "And then?"]
    assert catalog.prompt_tail == ()
    assert IndexConfig.model_validate(config.model_dump(mode="json")) == config


def test_a_pool_of_no_instruction_is_refused() -> None:
    with pytest.raises(ValidationError):
        IndexConfig(instruction=())


def test_one_instruction_in_a_list_is_that_instruction() -> None:
    heads = [
        build_index(FILMS, IndexConfig(backbone=TINY, code=TitleCode(), instruction=given)).prompt_heads
        for given in ("Next:", ("Next:",))
    ]
    assert heads[0] == heads[1]
