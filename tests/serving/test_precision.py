"""Models that answer in lower precision: their lists stay close to float32's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rere.catalog.index import CatalogIndex
from rere.config.decoding import InferencePrecision, SearchSettings
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.data.sequences import indexed_rows
from rere.errors import RereError
from rere.evaluation.metrics import ndcg, target_ranks
from rere.models.checkpoint import Checkpoint
from rere.models.inference import for_inference
from rere.models.tree_attention import TreeModel
from rere.recommenders.generative import GenerativeRecommender
from rere.serving.engine.generative import GenerativeDeployment
from rere.serving.engine.loading import load_deployment
from rere.training.sft.train import train_sft
from tests.conftest import TINY
from tests.decoding.test_beam import tiny_model


@pytest.fixture(scope="module")
def trained(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    config = SFTConfig(
        distillation=None, normalisation="vocab", epochs=15, learning_rate=1e-2, batch_tokens=64, sequence_items=8
    )
    return train_sft(world_windows, world_catalog, TINY, config, tmp_path_factory.mktemp("sft"), log=lambda *_: None)


def test_quality_is_kept(trained: Checkpoint, world_windows: Windows, world_catalog: CatalogIndex) -> None:
    histories, targets = indexed_rows(world_windows.of("test"), world_catalog.index_of)
    quality, lists = {}, {}
    precisions: tuple[InferencePrecision, ...] = ("float32", "bfloat16", "int8")
    for precision in precisions:
        model = TreeModel(for_inference(trained.load_model().cpu(), precision))
        lists[precision] = GenerativeRecommender(precision, model, world_catalog, 10).recommend(histories, 10).items
        quality[precision] = float(ndcg(target_ranks(lists[precision], targets), 10).mean())
    assert quality["float32"] > 0.5  # there is something to lose
    for precision in precisions[1:]:
        assert abs(quality[precision] - quality["float32"]) < 0.05
        assert (lists[precision][:, 0] == lists["float32"][:, 0]).mean() > 0.8


@pytest.mark.skipif(torch.cuda.is_available(), reason="int8 is for CPUs, and a deployment is on the GPU")
def test_weights_are_converted_and_the_head_is_not_rounded_to_int8(
    trained: Checkpoint, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    world_catalog.save(tmp_path / "catalog")
    search = SearchSettings(beams=5)
    served = load_deployment("1", trained.path, tmp_path / "catalog", 4, search, precision="int8")
    assert isinstance(served, GenerativeDeployment)
    kinds = {type(part).__name__ for part in served.model.base.get_decoder().modules()}
    assert "Linear" not in kinds or served.model.base.get_decoder().layers[0].mlp.down_proj.weight().is_quantized
    assert served.model.head.weight.dtype == torch.float32
    assert served.model.fast_llama is not None
    half = load_deployment("1", trained.path, tmp_path / "catalog", 4, search, precision="bfloat16")
    assert isinstance(half, GenerativeDeployment)
    assert half.model.dtype == torch.bfloat16


def test_what_int8_is_not_made_for_is_refused() -> None:
    with pytest.raises(RereError, match="none in GPT2LMHeadModel"):  # its layers are of another kind
        for_inference(tiny_model("gpt2"), "int8")
