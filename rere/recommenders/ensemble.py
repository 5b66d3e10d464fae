"""An ensemble: the weighted sum of its members' log-probabilities, normalised over the catalogue; and a mixture.

With member m's probability p_m(i) of item i and weights w_m ≥ 0, p(i) is proportional to the product of p_m(i)^w_m: a
logarithmic opinion pool (Heskes, "Selecting weighting factors in logarithmic opinion pools", NIPS 1997). The sum of the
weights is the pool's sharpness, so no temperature is needed beside them.

A product has no mass where one member has none, such as on items that nobody took in the training period. So models
that read titles are mixed in: q(i) = (1 - s) p(i) + s t(i), a linear opinion pool (Stone, "The opinion pool", 1961).

One rule chooses weights, then shares: the least cross-entropy of the targets of the rows that they are fitted on, which
the members were not trained on. It is convex in either: there is one answer, whatever the start.
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
from rere.recommenders.item_model import SCORE, FitData, ItemModel
from rere.recommenders.registry import ITEM_MODELS, model_type

MOST_NUMBERS = 100_000_000  # float32 log-probabilities that a fit holds at once: 0.4 GB
MOST_STEPS, CONVERGED = 1000, 1e-6  # of a fit of shares
NEGLIGIBLE = 1e-3  # a share that isn't worth asking the model for


class EnsembleConfig(Variant):
    """The members' log-probabilities, weighted and summed; others' probabilities mixed in."""

    type: Literal["ensemble"] = "ensemble"
    members: tuple[str, ...] = Field(
        default=("gru4rec", "caser", "ease", "co_occurrence"),
        min_length=2,
        description="item models by name: with a rival's settings where it is one, else with its defaults",
    )
    mixed: tuple[str, ...] = Field(
        default=("title_knn",),
        description="item models whose probabilities are mixed in, with shares of least cross-entropy on validation "
        "rows: those that know what the members don't, such as titles",
    )
    weights: Literal["fitted", "equal"] = Field(
        default="fitted",
        description="fitted: one per member; equal: one for all; those of least cross-entropy on validation rows",
    )

    @model_validator(mode="after")
    def _members_are_single_models(self) -> Self:
        known = [kind for kind in ITEM_MODELS if kind != self.type]
        if wrong := [member for member in self.every if member not in known]:
            raise ValueError(f"members are {', '.join(known)}, got {', '.join(wrong)}")
        if len(set(self.every)) < len(self.every):
            raise ValueError(f"each member once, got {', '.join(self.every)}")
        return self

    @property
    def every(self) -> tuple[str, ...]:
        """The members, and what is mixed in."""
        return (*self.members, *self.mixed)


class Ensemble(ItemModel):
    """A fitted ensemble.

    Args:
        models: fitted models of one catalogue by kind: the settings' members, and what they mix in.
        weights: one for each member, in their order.
        shares: one for each that is mixed in, in their order; with the rest they sum to 1.
    """

    title = "ensemble"
    config_type = EnsembleConfig

    def __init__(
        self, models: Mapping[str, ItemModel], weights: Sequence[float], shares: Sequence[float], config: EnsembleConfig
    ) -> None:
        sizes = {kind: models[kind].items for kind in config.every}
        if len(set(sizes.values())) != 1 or (len(weights), len(shares)) != (len(config.members), len(config.mixed)):
            raise RereError(
                "members of one catalogue, and a weight or share for each",
                f"{sizes}, {len(weights)} weights and {len(shares)} shares",
                "fit it anew",
            )
        super().__init__(next(iter(sizes.values())), config)
        self.models = {kind: models[kind] for kind in config.every}
        self.weights, self.shares = [float(weight) for weight in weights], [float(share) for share in shares]
        self.reads_titles = any(
            self.models[kind].reads_titles and share for kind, share in zip(config.mixed, self.shares, strict=True)
        )

    @classmethod
    def needs(cls, config: EnsembleConfig) -> tuple[str, ...]:
        """Its members, and what is mixed in."""
        return config.every

    @classmethod
    def fit(cls, data: FitData, config: EnsembleConfig) -> Self:
        """Choose weights and shares on the validation rows; of more rows than memory takes, on evenly spaced ones.

        Raises:
            RereError: no validation rows.
        """
        if not len(data.valid_targets):
            raise RereError("validation rows to fit the ensemble's weights on", "none", "use more data, another split")
        most = max(1, MOST_NUMBERS // (data.items * len(config.members)))
        rows = np.unique(np.linspace(0, len(data.valid_targets) - 1, most).astype(int))
        histories, targets = [data.valid_histories[row] for row in rows], np.asarray(data.valid_targets)[rows]
        log_probs = np.stack([data.fitted[kind].log_probs(histories) for kind in config.members])
        weights = pool_weights(log_probs, targets, config.weights)
        parts = [_pooled(log_probs, weights), *(data.fitted[kind].log_probs(histories) for kind in config.mixed)]
        of_target = np.stack([part[np.arange(len(targets)), targets] for part in parts], axis=1)
        model = cls(data.fitted, weights.tolist(), mixture_shares(of_target)[1:].tolist(), config)
        model.curves = [{SCORE: data.score(model)}]
        return model

    def log_probs(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        """See `ItemModel`."""
        members = {kind: weight for kind, weight in zip(self.config.members, self.weights, strict=True) if weight}
        total = torch.zeros(len(histories), self.items, dtype=torch.float64)
        for kind, weight in members.items():  # those without weight are left out: 0 · -inf is no number
            total.add_(torch.from_numpy(self.models[kind].log_probs(histories)), alpha=weight)
        found = total.log_softmax(1)
        if any(self.shares):
            found = found.exp_().mul_(1 - sum(self.shares))
            for kind, share in zip(self.config.mixed, self.shares, strict=True):
                if share:
                    found.add_(torch.from_numpy(self.models[kind].log_probs(histories)).double().exp_(), alpha=share)
            found = found.log_()
        return found.float().numpy()

    def code(self) -> str:
        """Its own and its members'."""
        return " ".join([super().code(), *(model.code() for model in self.models.values())])

    def write(self, directory: Path) -> None:
        """Its files, and its members' as they write them alone."""
        super().write(directory)
        for model in self.models.values():
            model.write(directory)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read what `write` wrote."""
        record = json.loads((directory / f"{cls.kind()}.json").read_text(encoding="utf-8"))
        config = cls.config_type.model_validate(record["config"])
        models = {kind: model_type(kind).read(directory) for kind in config.every}
        fitted = load_file(directory / f"{cls.kind()}.safetensors")
        model = cls(models, fitted["weights"].tolist(), fitted["shares"].tolist(), config)
        model.curves = record["curves"]
        return model

    def tensors(self) -> dict[str, torch.Tensor]:
        """The weights and shares."""
        fitted = {"weights": self.weights, "shares": self.shares}
        return {name: torch.tensor(numbers, dtype=torch.float64) for name, numbers in fitted.items()}

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


def mixture_shares(log_probs: np.ndarray) -> np.ndarray:
    """(M,) float64 shares of M distributions, summing to 1, with the least cross-entropy of a mixture.

    By expectation-maximisation, which can't leave the one best answer out: the problem is convex.

    Args:
        log_probs: (R, M) of each row's target, finite in one column at least.
    """
    probabilities = np.exp(log_probs - log_probs.max(axis=1, keepdims=True)).astype(np.float64)
    shares = np.full(log_probs.shape[1], 1 / log_probs.shape[1])
    for _ in range(MOST_STEPS):
        parts = probabilities * shares
        after = (parts / parts.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(after - shares).max() < CONVERGED:
            return np.where(after < NEGLIGIBLE, 0.0, after) / after[after >= NEGLIGIBLE].sum()
        shares = after
    return shares


def _pooled(log_probs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(M, R, I), (M,) -> (R, I) log-probabilities of the pool."""
    kept = np.flatnonzero(weights)
    pooled = np.tensordot(weights[kept].astype(np.float32), log_probs[kept], axes=1)
    return np.asarray(pooled - logsumexp(pooled, axis=1, keepdims=True))
