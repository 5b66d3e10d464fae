"""One method per page: wherever the gate's verdict is shown, all intervals and p-values are of the gate's method."""

from __future__ import annotations

from rere.config.evaluation import EvaluationConfig
from rere.config.promotion import GateConfig


def gate_method(evaluation: EvaluationConfig, gate: GateConfig) -> EvaluationConfig:
    """The evaluation's settings, with the gate's resamples, confidence and seed."""
    method = {"bootstrap_samples": gate.bootstrap_samples, "confidence": gate.confidence, "seed": gate.seed}
    return evaluation.model_copy(update=method)
