"""An ensemble: the weighted sum of its members' log-probabilities, normalised over the catalogue.

With member m's probability p_m(i) of item i and weights w_m ≥ 0, p(i) is proportional to the product of p_m(i)^w_m: a
logarithmic opinion pool (Heskes, "Selecting weighting factors in logarithmic opinion pools", NIPS 1997). The sum of the
weights is the pool's sharpness, so no temperature is needed beside them.

One rule chooses them: the least cross-entropy of the targets of the rows that they are fitted on, which the members
were not trained on. It is convex in the weights: there is one answer, whatever the start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from safetensors.torch import load_file
from scipy.optimize import minimize
from scipy.special import logsumexp

from rere.config.variants import Variant
from rere.errors import RereError
from rere.recommenders.base import Ranking
from rere.recommenders.item_model import SCORE, FitData, ItemModel
from rere.recommenders.rankings import rank_by
from rere.recommenders.registry import ITEM_MODELS, model_type

MOST_NUMBERS = 100_000_000  # float32 log-probabilities that a fit holds at once: 0.4 GB


class EnsembleConfig(Variant):
    """The members' log-probabilities, weighted and summed."""

    type: Literal["ensemble"] = "ensemble"
    members: tuple[str, ...] = Field(
        default=("gru4rec", "caser", "ease", "co_occurrence"),
        min_length=2,
        description="item models by name: with a rival's settings where it is one, else with its defaults",
    )
    weights: Literal["fitted", "equal"] = Field(
        default="fitted",
        description="fitted: one per member; equal: one for all; those of least cross-entropy on validation rows",
    )

    @model_validator(mode="after")
    def _members_are_single_models(self) -> Self:
        known = [kind for kind in ITEM_MODELS if kind != self.type]
        if wrong := [member for member in self.members if member not in known]:
            raise ValueError(f"members are {', '.join(known)}, got {', '.join(wrong)}")
        if len(set(self.members)) < len(self.members):
            raise ValueError(f"each member once, got {', '.join(self.members)}")
        return self


class Ensemble(ItemModel):
    """A fitted ensemble.

    Args:
        members: fitted models of one catalogue by kind; weights: one for each, in their order.
    """

    title = "ensemble"
    config_type = EnsembleConfig

    def __init__(self, members: Mapping[str, ItemModel], weights: Sequence[float], config: EnsembleConfig) -> None:
        sizes = {kind: member.items for kind, member in members.items()}
        if len(set(sizes.values())) != 1 or len(weights) != len(sizes):
            raise RereError(
                "members of one catalogue, and a weight for each", f"{sizes} and {len(weights)} weights", "fit it anew"
            )
        super().__init__(next(iter(sizes.values())), config)
        self.members, self.weights = dict(members), [float(weight) for weight in weights]

    @classmethod
    def needs(cls, config: EnsembleConfig) -> tuple[str, ...]:
        """Its members."""
        return config.members

    @classmethod
    def fit(cls, data: FitData, config: EnsembleConfig) -> Self:
        """Choose the weights on the validation rows; of more rows than memory takes, on evenly spaced ones.

        Raises:
            RereError: no validation rows.
        """
        if not len(data.valid_targets):
            raise RereError("validation rows to fit the ensemble's weights on", "none", "use more data, another split")
        members = {kind: data.fitted[kind] for kind in config.members}
        most = max(1, MOST_NUMBERS // (data.items * len(members)))
        rows = np.unique(np.linspace(0, len(data.valid_targets) - 1, most).astype(int))
        histories, targets = [data.valid_histories[row] for row in rows], np.asarray(data.valid_targets)[rows]
        log_probs = np.stack([member.log_probs(histories) for member in members.values()])
        model = cls(members, pool_weights(log_probs, targets, config.weights).tolist(), config)
        model.curves = [{SCORE: data.score(model)}]
        return model

    def log_probs(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        """See `ItemModel`."""
        total = torch.zeros(len(histories), self.items, dtype=torch.float64)
        for member, weight in zip(self.members.values(), self.weights, strict=True):
            if weight:  # 0 · -inf is no number
                total.add_(torch.from_numpy(member.log_probs(histories)), alpha=weight)
        return total.log_softmax(1).float().numpy()

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        """See `Recommender`; scores are log-probabilities (nats)."""
        return rank_by(self.log_probs, histories, k, self.items)

    def code(self) -> str:
        """Its own and its members'."""
        return " ".join([super().code(), *(member.code() for member in self.members.values())])

    def write(self, directory: Path) -> None:
        """Its files, and its members' as they write them alone."""
        super().write(directory)
        for member in self.members.values():
            member.write(directory)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read what `write` wrote."""
        record = json.loads((directory / f"{cls.kind()}.json").read_text(encoding="utf-8"))
        config = cls.config_type.model_validate(record["config"])
        members = {kind: model_type(kind).read(directory) for kind in config.members}
        weights = load_file(directory / f"{cls.kind()}.safetensors")["weights"]
        model = cls(members, weights.tolist(), config)
        model.curves = record["curves"]
        return model

    def tensors(self) -> dict[str, torch.Tensor]:
        """The weights."""
        return {"weights": torch.tensor(self.weights, dtype=torch.float64)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, torch.Tensor], items: int, config: EnsembleConfig) -> Self:
        """Not enough for an ensemble, which needs its members: use `read`."""
        raise RereError("an ensemble's files and its members'", "its weights alone", "use `Ensemble.read`")


def pool_weights(log_probs: np.ndarray, targets: np.ndarray, which: str) -> np.ndarray:
    """(M,) float64 weights, none negative, with the least cross-entropy; all the same where `which` is `equal`.

    Args:
        log_probs: (M, R, I) float32 of M members on R rows.
        targets: (R,) item indices.
    """
    members = len(log_probs)
    of_target = log_probs[:, np.arange(len(targets)), targets].astype(np.float64)  # (M, R)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Nats per row, and its gradient: the expected log-probability under the pool minus the target's."""
        pooled = np.tensordot(weights.astype(np.float32), log_probs, axes=1)  # (R, I)
        normaliser = logsumexp(pooled, axis=1, keepdims=True)
        shares = np.exp(pooled - normaliser)
        expected = np.einsum("ri,mri->m", shares, log_probs) / len(targets)
        return float(normaliser.mean() - (weights @ of_target).mean()), expected - of_target.mean(1)

    def common(scale: np.ndarray) -> tuple[float, np.ndarray]:
        """The same where all weights are scale / M."""
        value, gradient = loss(np.repeat(scale / members, members))
        return value, gradient.mean(keepdims=True)

    objective, start = (loss, np.full(members, 1 / members)) if which == "fitted" else (common, np.ones(1))
    found = minimize(objective, start, jac=True, bounds=[(0.0, None)] * len(start), method="L-BFGS-B").x
    return np.asarray(found if which == "fitted" else np.repeat(found / members, members))
