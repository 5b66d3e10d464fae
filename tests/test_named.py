"""What settings name counts by its content: files, directories, models, and the code of a reward."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ops.runtime.named import code_sums, named_content, named_sums
from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.codes.semantic import SemanticCode
from rere.config.backbone import GGUFModel, HubModel, LocalModel, ScratchModel
from rere.config.catalog import BothEmbedding, IndexConfig, SentenceEmbedding
from rere.config.ingest import IngestConfig
from rere.config.rl import RLConfig
from rere.data.sources.tables import Tables
from rere.errors import RereError
from rere.training.rl.rewards.custom import CustomReward
from rere.training.rl.rewards.rule import RuleReward


@pytest.fixture
def rewards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's package: a reward, what it imports in three ways, what that imports, and what nobody does."""
    files = {
        "__init__.py": "",
        "mine.py": "import numpy\nfrom . import near\nfrom my_rewards.far import far\ndef score(group): ...\n",
        "near.py": "",
        "far.py": "def far():\n    import my_rewards.deep.well\n",
        "deep/__init__.py": "raise RuntimeError('imported')\n",
        "deep/well.py": "",
        "apart.py": "",
    }
    package = tmp_path / "my_rewards"
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return package


def rl(path: str) -> RLConfig:
    return RLConfig(rewards=(RuleReward(), CustomReward(path=path)))


def test_a_rewards_code_is_followed_through_the_users_modules_and_not_run(rewards: Path) -> None:
    names = {"my_rewards", "my_rewards.mine", "my_rewards.near", "my_rewards.far"}
    assert code_sums("my_rewards.mine").keys() == names | {"my_rewards.deep", "my_rewards.deep.well"}
    assert not {name for name in sys.modules if name.startswith("my_rewards")}


@pytest.mark.parametrize("file", ["__init__.py", "mine.py", "near.py", "far.py", "deep/__init__.py", "deep/well.py"])
def test_an_edit_of_any_of_them_changes_the_key(file: str, rewards: Path) -> None:
    before = named_content(rl("my_rewards.mine:score"))
    with (rewards / file).open("a", encoding="utf-8") as source:
        source.write("# edited\n")
    assert named_content(rl("my_rewards.mine:score")) != before


def test_an_edit_of_what_it_does_not_import_changes_nothing(rewards: Path) -> None:
    before = named_content(rl("my_rewards.mine:score"))
    (rewards / "apart.py").write_text("x = 1\n", encoding="utf-8")
    assert named_content(rl("my_rewards.mine:score")) == before


def test_a_reward_that_is_no_python_is_one_message(rewards: Path) -> None:
    (rewards / "near.py").write_text("def (\n", encoding="utf-8")
    with pytest.raises(RereError, match=r"Python code in .*near\.py.*correct it"):
        named_content(rl("my_rewards.mine:score"))


def test_models_files_and_directories_count_by_content(tmp_path: Path) -> None:
    model, file = tmp_path / "model", tmp_path / "model.gguf"
    (model / "tokenizer").mkdir(parents=True)
    weights = [model / "config.json", model / "tokenizer" / "vocab.json", file]
    for path in weights:
        path.write_text("one", encoding="utf-8")
    embedding = SentenceEmbedding(model=str(model))
    named = {
        "directory": (IndexConfig(code=PrefixCode(), backbone=LocalModel(path=model)), weights[:2]),
        "gguf": (IndexConfig(code=PrefixCode(), backbone=GGUFModel(path=file)), weights[2:]),
        "a hub's id that is a directory": (
            IndexConfig(code=PrefixCode(), backbone=HubModel(id=str(model))),
            weights[:2],
        ),
        "item vectors": (IndexConfig(code=SemanticCode(embedding=embedding)), weights[:2]),
        "the titles' part of item vectors": (
            IndexConfig(code=SemanticCode(embedding=BothEmbedding(title=embedding))),
            weights[:2],
        ),
        "source": (IngestConfig(source=Tables(interactions=weights[0], items=weights[1])), weights[:2]),
    }
    for kind, (settings, files) in named.items():
        assert named_sums(settings).keys() == {str(path) for path in files}, kind
        for path in files:
            before = named_content(settings)
            path.write_text(path.read_text(encoding="utf-8") + "more", encoding="utf-8")
            assert named_content(settings) != before, (kind, path)


def test_settings_that_name_nothing_have_one_content() -> None:
    assert named_sums(IndexConfig(code=PrefixCode()), RLConfig(), ScratchModel(), HubModel(id="Qwen/Qwen3-0.6B")) == {}
    assert named_content(IndexConfig(code=PrefixCode())) == named_content(RLConfig())
