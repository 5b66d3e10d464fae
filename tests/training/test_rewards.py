"""Rewards, advantages and losses against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rere.config import RankingReward, RuleReward
from rere.training.losses import grpo, k3
from rere.training.rewards import group_advantages, score_ranks, total_reward


def ranks(hits):
    return torch.arange(1, hits.shape[1] + 1).expand_as(hits)


def test_rule_and_ranking_rewards_of_a_group_with_a_hit():
    hits = torch.tensor([[False, True, False]])  # negatives at rank 1 and 3, target at rank 2
    # 1/log2(2) = 1, 1/log2(3) = 0.63093, 1/log2(4) = 0.5; their sum is 2.13093
    expected = torch.tensor([[-1 / 2.13093, 1.0, -0.5 / 2.13093]])
    found = total_reward((RuleReward(), RankingReward()), hits, ranks(hits))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_group_without_a_hit_gets_nothing():
    hits = torch.zeros((1, 4), dtype=torch.bool)
    assert (total_reward((RuleReward(), RankingReward()), hits, ranks(hits)) == 0).all()


def test_weights_scale_their_reward():
    hits = torch.tensor([[True, False]])
    once = total_reward((RankingReward(),), hits, ranks(hits))
    twice = total_reward((RankingReward(weight=2.0),), hits, ranks(hits))
    torch.testing.assert_close(twice, 2 * once)


def test_advantages_of_a_group():
    reward = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    found = group_advantages(reward, torch.ones_like(reward, dtype=torch.bool))
    # mean 0.25, sample standard deviation sqrt((0.75² + 3·0.25²)/3) = 0.5
    torch.testing.assert_close(found[0], torch.tensor([0.75, -0.25, -0.25, -0.25]) / 0.5001)
    assert (found[1] == 0).all()  # no signal


def test_advantages_ignore_empty_places():
    reward = torch.tensor([[1.0, 0.0, 7.0]])
    found = group_advantages(reward, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(found, torch.tensor([[0.5, -0.5, 0.0]]) / (math.sqrt(0.5) + 1e-4))


def test_k3_is_zero_only_at_equality_and_grows_both_ways():
    policy = torch.log(torch.tensor([0.5, 0.25, 0.5]))
    reference = torch.log(torch.tensor([0.5, 0.5, 0.25]))
    # d = ln 2: e^d - d - 1 = 2 - 0.6931 - 1; d = -ln 2: 0.5 + 0.6931 - 1
    torch.testing.assert_close(k3(policy, reference), torch.tensor([0.0, 0.306853, 0.193147]), atol=1e-6, rtol=0)


def test_grpo_averages_tokens_within_a_sequence_then_sequences():
    policy = torch.tensor([[[-1.0, -2.0], [-3.0, 0.0]]], requires_grad=True)
    mask = torch.tensor([[[True, True], [True, False]]])
    advantages, penalty = torch.tensor([[1.0, -2.0]]), torch.zeros_like(policy)
    loss = grpo(policy, mask, advantages, penalty)
    assert loss.item() == pytest.approx(-(1.0 + -2.0) / 2)  # the ratio is 1, so each token's objective is its advantage
    loss.backward()
    # d/dpolicy = -advantage · 1/length · 1/sequences
    torch.testing.assert_close(policy.grad, torch.tensor([[[-0.25, -0.25], [1.0, 0.0]]]))


def test_ranks_are_by_score_not_by_place():
    score = torch.tensor([[-3.0, -1.0, 0.0, -2.0]])
    valid = torch.tensor([[True, True, False, True]])
    assert score_ranks(score, valid).tolist() == [[3, 1, 4, 2]]
