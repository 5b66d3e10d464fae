"""What CONTRIBUTING's extensions do: `test_contributing.py` runs this in a copy of the project that has them.

Settings choose each by its name; numbers are worked by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from infra.ports import free_port
from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.extend import extend_index
from rere.catalog.index import CatalogIndex, build_index
from rere.config.backbone import ScratchModel
from rere.config.catalog import IndexConfig
from rere.config.ingest import IngestConfig
from rere.config.recommenders import ItemModelsConfig
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.data.sources.base import load_source, source_fingerprint, source_location
from rere.errors import RereError
from rere.models.backbone import load_model
from rere.models.tree_attention import TreeModel
from rere.recommenders.fitting import fit_item_models
from rere.recommenders.item_model import FitData
from rere.runtime import distributed
from rere.runtime.launch import Log
from rere.serving.config import BatchConfig
from rere.training.rl.group import Group
from rere.training.rl.losses.base import Counts, LossInputs
from rere.training.rl.rewards.total import total_reward
from rere.training.rl.samplers.base import SamplerInputs
from rere.training.rl.samplers.beam import BeamSampler
from rere.training.rl.samplers.multinomial import MultinomialSampler


def rl(**settings: Any) -> Any:
    """The settings of RL, read as from a file."""
    return RLConfig.model_validate(settings)


def test_the_data_source(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    inter = "user_id:token\titem_id:token\ttimestamp:float\nu1\t07\t5\nu1\t8\t6\n"
    (folder / "shop.inter").write_text(inter, encoding="utf-8")
    (folder / "shop.item").write_text('item_id:token\tname:token_seq\n07\tA "B\n8\tC\n', encoding="utf-8")
    source = {"type": "atomic_files", "directory": str(folder), "title": "name"}
    config = IngestConfig.model_validate({"source": source})
    raw = load_source(config.source)
    assert raw.items.to_dict("list") == {"item_id": ["07", "8"], "title": ['A "B', "C"]}
    assert raw.interactions.to_dict("list") == {"user_id": ["u1"] * 2, "item_id": ["07", "8"], "timestamp": [5, 6]}
    assert source_location(config.source) == f"atomic_files {folder}"
    assert source_fingerprint(config.source) == source_fingerprint(IngestConfig.model_validate(config).source)
    for settings in (config, BatchConfig.model_validate({"users": {"type": "interactions", "source": source}})):
        assert type(settings).model_validate_json(settings.model_dump_json()) == settings


def test_the_loss() -> None:
    policy = torch.tensor([[[-1.0, -2.0], [-3.0, 0.0]]], requires_grad=True)
    mask = torch.tensor([[[True, True], [True, False]]])
    advantages = torch.tensor([[1.0, -3.0]])
    given = LossInputs(
        policy=policy,
        reference=policy.detach(),
        mask=mask,
        nodes=torch.tensor([[[0, 1], [2, 3]]]),
        hits=torch.tensor([[True, False]]),
        reached=torch.tensor([True]),
        reward=advantages,
        advantages=advantages,
        valid=torch.ones((1, 2), dtype=torch.bool),
        counts=Counts.of(mask),
    )
    loss = rl(loss="dr_grpo").loss(given)
    assert loss.item() == pytest.approx(-(2 * 1.0 + 1 * -3.0) / 2)  # two tokens and one token, two sequences
    loss.backward()
    torch.testing.assert_close(policy.grad, torch.tensor([[[-0.5, -0.5], [1.5, 0.0]]]))  # -advantage / sequences


def test_the_advantage() -> None:
    reward, valid = torch.tensor([[3.0, 1.0, -1.0, 9.0]]), torch.tensor([[True, True, True, False]])
    found = rl(advantage={"type": "leaky", "leak": 0.2}).advantage(reward, valid)
    torch.testing.assert_close(found, torch.tensor([[2.0, 0.0, 0.2 * -2.0, 0.0]]))  # the mean is 1


def test_the_reward() -> None:
    items, hits = torch.tensor([[4, 7, 5], [7, 4, 5]]), torch.tensor([[False, False, True], [True, False, False]])
    rank = torch.tensor([[1, 2, 3], [1, 2, 3]])
    group = Group(items, torch.tensor([5, 7]), hits, rank, torch.ones_like(hits))
    found = total_reward(rl(rewards=[{"type": "discounted", "weight": 2.0}]).rewards, group)
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0, 2 / 2], [2 / 1, 0.0, 0.0]]))  # log2(3 + 1), log2(1 + 1)


def test_the_sampler() -> None:
    tiny = ScratchModel(layers=1, width=32, heads=2, vocabulary=300)
    titles = [f"{'Star' if n % 2 else 'Moon'} Trip {n}" for n in range(12)]
    catalog = build_index(
        pd.DataFrame({"item_id": [f"i{n}" for n in range(12)], "title": titles}),
        IndexConfig(code=PrefixCode(), backbone=tiny),
    )
    model = TreeModel(load_model(tiny, len(catalog.tokenizer), seed=0))

    def given(size: int) -> SamplerInputs:
        return SamplerInputs(model, catalog.trie, [[3, 4], [5]], torch.tensor([0, 1]), size, "trie", seed=0)

    found = rl(sampling="half_drawn").sampling(given(5))
    best, drawn = BeamSampler()(given(2)), MultinomialSampler()(given(3))
    assert found.items.tolist() == torch.cat([best.items, drawn.items], 1).tolist()
    assert found.items.shape == (2, 5)
    assert found.forwarded == best.forwarded + drawn.forwarded


def test_the_item_code(tmp_path: Path) -> None:
    items = pd.DataFrame({"item_id": [f"i{n}" for n in range(12)], "title": ["Star"] * 12})
    config = IndexConfig.model_validate(
        {"code": {"type": "numbered", "base": 3}, "backbone": ScratchModel(layers=1, width=32, heads=2, vocabulary=300)}
    )
    catalog = build_index(items, config)
    assert catalog.tokenizer.convert_ids_to_tokens(catalog.item_tokens[5]) == ["<digit_0>", "<digit_1>", "<digit_2>"]
    assert {len(tokens) for tokens in catalog.item_tokens} == {3}  # 3 * 3 numbers of two digits are too few
    catalog.save(tmp_path)
    again = CatalogIndex.load(tmp_path)
    assert again.config == config
    assert again.item_tokens == catalog.item_tokens
    with pytest.raises(RereError, match="`code: numbered`, which codes the whole catalogue at once"):
        extend_index(catalog, pd.DataFrame({"item_id": ["new"], "title": ["Moon"]}))


SRUN = """
import os, subprocess, sys
count = int(sys.argv[1].removeprefix("--ntasks="))
own = [{"SLURM_PROCID": str(n), "SLURM_LOCALID": str(n), "SLURM_NTASKS": str(count)} for n in range(count)]
tasks = [subprocess.Popen(sys.argv[2:], env={**os.environ, **one}) for one in own]
sys.exit(max(task.wait() for task in tasks))
"""


def sum_of_ranks(spec: dict[str, Any], log: Log) -> None:
    found = torch.tensor([float(distributed.rank() + spec["first"])])
    torch.distributed.all_reduce(found)
    log({"sum": float(found)}, distributed.world())


def test_the_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "srun").write_text(f"#!{sys.executable}\n{SRUN}", encoding="utf-8")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    settings = {"type": "slurm", "workers": 2, "port": free_port()}
    launcher: Any = SFTConfig.model_validate({"launcher": settings}).launcher
    told = []
    launcher.launch("tests.docs.extended:sum_of_ranks", {"first": 3}, tmp_path / "work", lambda *one: told.append(one))
    assert told == [({"sum": 3.0 + 4.0}, 2)]  # ranks 0 and 1
    monkeypatch.delenv("SLURM_JOB_ID")
    with pytest.raises(RereError, match="a Slurm allocation"):
        launcher.check()


def test_the_item_model() -> None:
    data = FitData([np.array([0, 1]), np.array([1])], 3, [[0]], [1])
    model = fit_item_models(data, ItemModelsConfig.model_validate({"rivals": ["most_recent"]})).models["most_recent"]
    # popularity (1+1, 2+1, 0+1) / 6; item 0, the last, adds 1, and item 2 before it 1/2: (8, 3, 4) / 6, in all 15/6
    np.testing.assert_allclose(np.exp(model.log_probs([[2, 0]])), [[8 / 15, 3 / 15, 4 / 15]], rtol=1e-5)
    assert model.recommend([[2, 0]], 3).items.tolist() == [[0, 2, 1]]
