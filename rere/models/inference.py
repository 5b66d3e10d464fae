"""A trained model in the precision that it answers with."""

from __future__ import annotations

import warnings
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel

from rere.config.decoding import InferencePrecision
from rere.errors import RereError
from rere.models.tree_attention import check_engine


def for_inference(model: PreTrainedModel, precision: InferencePrecision) -> PreTrainedModel:
    """The same model with converted weights; changed in place.

    int8 rounds the weights of the linear layers once, and their inputs at each call by a scale that all tokens of a
    forward share: requests that are searched together change each other's scores a little. Embeddings and the head, by
    which items are told apart, stay as they are.

    Raises:
        RereError: int8 on a GPU, or for a model or a torch that it isn't made for.
    """
    if precision == "float32":
        return model
    check_engine(model)  # in float32: rounding would hide what the engine doesn't know of
    if precision == "bfloat16":
        return cast(PreTrainedModel, cast(nn.Module, model).to(torch.bfloat16))
    if model.device.type != "cpu":
        raise RereError("a CPU for `precision: int8`", str(model.device), "set `precision: bfloat16`")
    linear = sum(type(part) is nn.Linear for part in model.get_decoder().modules())
    if not linear:
        raise RereError(
            "linear layers for `precision: int8`",
            f"none in {type(model).__name__}",
            "set `precision: bfloat16` or `float32`",
        )
    if not hasattr(torch.ao.quantization, "quantize_dynamic"):
        raise RereError("a torch with dynamic quantization", torch.__version__, "set `precision: bfloat16`")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its successor, torchao, is a package of its own
        torch.ao.quantization.quantize_dynamic(model.get_decoder(), {nn.Linear}, dtype=torch.qint8, inplace=True)
    return model
