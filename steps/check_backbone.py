"""Find out whether the backbone suits the settings while the data are still being read."""

from __future__ import annotations

from zenml import step

from ops.runtime.cache_keys import cache_policy
from rere.artifacts.pins import pinned
from rere.config.catalog import IndexConfig
from rere.config.preference import PreferenceStageConfig
from rere.config.reasoning import ReasoningConfig
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig


@step(name="check_backbone", cache_policy=cache_policy(__name__))
def check_backbone(
    *,
    catalog: IndexConfig,
    sft: SFTConfig,
    preference: PreferenceStageConfig | None,
    rl: RLConfig,
    reasoning: ReasoningConfig | None,
    catalog_sha256: str,
    rl_sha256: str,
    model_commits: dict[str, str],
) -> None:
    """Stop a run that would end at training, or after it: seconds now instead of hours later.

    The sums are of the content of what the settings name (see `ops.runtime.named`).
    """
    from rere.training.check import check_backbone as check

    check(pinned(catalog, model_commits), sft, pinned(rl, model_commits), preference, reasoning)
