"""The registered model's policy: what every challenger must show, whichever run it comes from.

The first run's gate settings become it. A later run may ask for more; one that asks for less promotes nothing by
itself. Only a person changes the policy (`rere policy`). Kept as tags `policy.NUMBER` of the MLflow registered model,
of which none is ever changed: the last one counts.
"""

from __future__ import annotations

from datetime import UTC, datetime

from mlflow import MlflowClient
from pydantic import BaseModel, ConfigDict, ValidationError

from ops.registry import mlflow_registry as registry
from rere.config.promotion import GateConfig
from rere.errors import RereError

PREFIX = "policy."


class Policy(BaseModel):
    """The gate's settings, with who set them, why and when (ISO 8601, UTC)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gate: GateConfig
    who: str
    reason: str
    time: str


def policies(name: str) -> list[Policy]:
    """All that were ever set, oldest first; none for a model that isn't registered.

    Raises:
        RereError: one that can't be read: what the gate must ask is not guessed.
    """
    tags = registry.model_tags(name)
    read = []
    for key in sorted(key for key in tags if key.startswith(PREFIX)):
        try:
            read.append(Policy.model_validate_json(tags[key]))
        except ValidationError as error:
            raise RereError(
                f"a policy in the tag {key} of {name}",
                f"{error.error_count()} invalid fields",
                "delete that tag in MLflow, then set the policy anew by `rere policy --set`",
            ) from None
    return read


def policy_of(name: str) -> GateConfig | None:
    """The one that counts; None before the first run."""
    known = policies(name)
    return known[-1].gate if known else None


def set_policy(name: str, gate: GateConfig, who: str, reason: str) -> Policy:
    """Make `gate` the policy; RereError for a model that isn't registered."""
    client = MlflowClient()
    if not client.search_registered_models(f"name='{name}'"):
        raise RereError("a registered model", f"none of the name {name}", "run the pipeline first, or correct --model")
    policy = Policy(gate=gate, who=who, reason=reason, time=datetime.now(UTC).isoformat(timespec="seconds"))
    number = registry.last_number(registry.model_tags(name), PREFIX) + 1
    client.set_registered_model_tag(name, f"{PREFIX}{number:06d}", policy.model_dump_json())
    return policy
