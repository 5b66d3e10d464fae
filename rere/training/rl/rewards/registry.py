"""The registry of rewards: one line each."""

from __future__ import annotations

from rere.training.rl.rewards.base import Reward
from rere.training.rl.rewards.collaborative import CollaborativeReward
from rere.training.rl.rewards.custom import CustomReward
from rere.training.rl.rewards.next_items import NextItemsReward
from rere.training.rl.rewards.partial_code import PartialCodeReward
from rere.training.rl.rewards.ranking import RankingReward
from rere.training.rl.rewards.rule import RuleReward
from rere.training.rl.rewards.semantic import SemanticReward

REWARDS: tuple[type[Reward], ...] = (
    RuleReward,
    RankingReward,
    SemanticReward,
    CollaborativeReward,
    PartialCodeReward,
    NextItemsReward,
    CustomReward,
)
