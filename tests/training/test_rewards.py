"""Rewards, advantages and losses against numbers worked by hand."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.extend import extend_index
from rere.catalog.index import CatalogIndex, build_index
from rere.config.base import ColumnKind
from rere.config.catalog import IndexConfig, TitleEmbedding
from rere.config.rl import RLConfig
from rere.data.dataset import Windows
from rere.data.sequences import indexed_rows
from rere.errors import RereError
from rere.training.rl.advantages.group_std import GroupStd
from rere.training.rl.advantages.unscaled import Unscaled
from rere.training.rl.group import Group, ItemFacts
from rere.training.rl.group_builder import GroupBuilder
from rere.training.rl.losses.base import Counts, LossInputs, k3
from rere.training.rl.losses.dapo import DAPO
from rere.training.rl.losses.grpo import GRPO
from rere.training.rl.losses.gspo import GSPO
from rere.training.rl.losses.mpo import MPO
from rere.training.rl.rewards.collaborative import CollaborativeReward
from rere.training.rl.rewards.custom import CustomReward, custom_reward, trial_group
from rere.training.rl.rewards.ranking import RankingReward
from rere.training.rl.rewards.rule import RuleReward
from rere.training.rl.rewards.semantic import SemanticReward
from rere.training.rl.rewards.total import check_rewards, score_ranks, total_reward, with_targets
from tests.conftest import TINY


def group_of(hits: torch.Tensor, **values: Any) -> Group:
    """A group that stands in the order of its scores; items are 0, 1, ... and the target is the hit (or item 99)."""
    items = torch.arange(hits.shape[1]).expand_as(hits)
    targets = torch.where(hits.any(1), hits.int().argmax(1), 99)
    facts = {"valid": torch.ones_like(hits), **values}
    return Group(items=items, targets=targets, hits=hits, rank=items + 1, **facts)


def inputs(policy: torch.Tensor, mask: torch.Tensor, **values: Any) -> LossInputs:
    """Of a policy that is its own reference, unless said otherwise."""
    zeros = torch.zeros(mask.shape[:2])
    facts = {"reference": policy.detach(), "reward": zeros, "advantages": zeros, "valid": torch.ones_like(zeros) > 0}
    facts |= {"nodes": torch.arange(mask.numel()).view(mask.shape), "hits": torch.zeros_like(zeros) > 0}
    facts["reached"] = values.get("hits", facts["hits"]).any(1)
    return LossInputs(policy=policy, mask=mask, counts=Counts.of(mask), **(facts | values))


def titles_start_alike(group: Group) -> torch.Tensor:
    """A user's own reward: the nearer the item's number is to the target's, the better."""
    return 1.0 / (1 + (group.items - group.targets[:, None]).abs())


def as_similar(group: Group) -> torch.Tensor:
    assert group.similarity is not None
    return group.similarity


def too_few(group: Group) -> torch.Tensor:
    return torch.ones(1)


def not_finite(group: Group) -> torch.Tensor:
    return torch.full(group.hits.shape, torch.nan)


def test_rule_and_ranking_rewards_of_a_group_with_a_hit() -> None:
    hits = torch.tensor([[False, True, False]])  # negatives at rank 1 and 3, target at rank 2
    # 1/log2(2) = 1, 1/log2(3) = 0.63093, 1/log2(4) = 0.5; their sum is 2.13093
    expected = torch.tensor([[-1 / 2.13093, 1.0, -0.5 / 2.13093]])
    found = total_reward((RuleReward(), RankingReward()), group_of(hits))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_group_without_a_hit_gets_nothing() -> None:
    hits = torch.zeros((1, 4), dtype=torch.bool)
    assert (total_reward((RuleReward(), RankingReward()), group_of(hits)) == 0).all()


def test_weights_scale_their_reward() -> None:
    hits = torch.tensor([[True, False]])
    once = total_reward((RankingReward(),), group_of(hits))
    twice = total_reward((RankingReward(weight=2.0),), group_of(hits))
    torch.testing.assert_close(twice, 2 * once)


def test_advantages_of_a_group() -> None:
    reward = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    found = GroupStd()(reward, torch.ones_like(reward, dtype=torch.bool))
    # mean 0.25, sample standard deviation sqrt((0.75² + 3·0.25²)/3) = 0.5
    torch.testing.assert_close(found[0], torch.tensor([0.75, -0.25, -0.25, -0.25]) / 0.5001)
    assert (found[1] == 0).all()  # no signal


def test_advantages_ignore_empty_places() -> None:
    reward = torch.tensor([[1.0, 0.0, 7.0]])
    found = GroupStd()(reward, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(found, torch.tensor([[0.5, -0.5, 0.0]]) / (math.sqrt(0.5) + 1e-4))


def test_k3_is_zero_only_at_equality_and_grows_both_ways() -> None:
    policy = torch.log(torch.tensor([0.5, 0.25, 0.5]))
    reference = torch.log(torch.tensor([0.5, 0.5, 0.25]))
    # d = ln 2: e^d - d - 1 = 2 - 0.6931 - 1; d = -ln 2: 0.5 + 0.6931 - 1
    torch.testing.assert_close(k3(policy, reference), torch.tensor([0.0, 0.306853, 0.193147]), atol=1e-6, rtol=0)


def test_grpo_averages_tokens_within_a_sequence_then_sequences() -> None:
    policy = torch.tensor([[[-1.0, -2.0], [-3.0, 0.0]]], requires_grad=True)
    mask = torch.tensor([[[True, True], [True, False]]])
    loss = GRPO()(inputs(policy, mask, advantages=torch.tensor([[1.0, -2.0]])))
    assert loss.item() == pytest.approx(-(1.0 + -2.0) / 2)  # the ratio is 1, so each token's objective is its advantage
    loss.backward()
    # d/dpolicy = -advantage · 1/length · 1/sequences
    torch.testing.assert_close(policy.grad, torch.tensor([[[-0.25, -0.25], [1.0, 0.0]]]))


def test_ranks_are_by_score_not_by_place() -> None:
    score = torch.tensor([[-3.0, -1.0, 0.0, -2.0]])
    valid = torch.tensor([[True, True, False, True]])
    assert score_ranks(score, valid).tolist() == [[3, 1, 4, 2]]


def test_the_semantic_reward_is_the_cosine_without_its_negative_half() -> None:
    hits = torch.tensor([[True, False, False]])
    group = group_of(hits, similarities={TitleEmbedding(): torch.tensor([[1.0, 0.25, -0.5]])})
    assert total_reward((SemanticReward(),), group).tolist() == [[1.0, 0.25, 0.0]]


def test_each_semantic_reward_compares_by_its_own_vectors(world_windows: Windows, world_catalog: CatalogIndex) -> None:
    few, many = SemanticReward(embedding=TitleEmbedding(dimensions=2)), SemanticReward()
    targets = torch.from_numpy(indexed_rows(world_windows.of("train"), world_catalog.index_of)[1])
    found = []
    for rewards in ((few, many), (few,), (many,)):
        config = RLConfig(rewards=rewards)
        builder = GroupBuilder(world_windows, world_windows, targets, world_catalog, config, device=torch.device("cpu"))
        items = torch.arange(4).expand(2, 4)
        whole, scores = torch.ones(2, 4, dtype=torch.bool), torch.zeros(2, 4)
        group = builder.group(np.array([0, 9]), items, whole, scores, histories=[[0], [1]], teacher_log_probs=None)
        found.append(total_reward(config.rewards, group))
    assert (found[1] - found[2]).abs().max() > 0.05
    torch.testing.assert_close(found[0], found[1] + found[2])


def test_of_two_similarities_none_is_the_only_one() -> None:
    rewards = (
        SemanticReward(),
        SemanticReward(embedding=TitleEmbedding(dimensions=2)),
        CustomReward(path=f"{__name__}:as_similar"),
    )
    check_rewards((rewards[0], rewards[2]))
    with pytest.raises(RereError, match="take `similarities`"):
        check_rewards(rewards)


def test_the_collaborative_reward_is_the_teachers_distribution_over_the_group() -> None:
    hits = torch.tensor([[False, False, False], [False, True, False]])
    teacher = torch.log(torch.tensor([[0.1, 0.3, 0.0], [0.2, 0.1, 0.1]]))  # of the whole catalogue; the rest elsewhere
    valid = torch.tensor([[True, True, True], [True, True, False]])
    found = total_reward((CollaborativeReward(),), group_of(hits, teacher=teacher, valid=valid))
    torch.testing.assert_close(found, torch.tensor([[0.25, 0.75, 0.0], [2 / 3, 1 / 3, 0.0]]))

    logs = total_reward((CollaborativeReward(scale="log"),), group_of(hits, teacher=teacher, valid=valid))
    expected = [[math.log(0.25), math.log(0.75), -30.0], [math.log(2 / 3), math.log(1 / 3), 0.0]]
    torch.testing.assert_close(logs, torch.tensor(expected))


@pytest.mark.parametrize("scale", ["share", "log"])
def test_a_group_that_the_teacher_knows_nothing_of_gets_nothing(scale: float) -> None:
    group = group_of(torch.zeros((1, 2), dtype=torch.bool), teacher=torch.full((1, 2), -torch.inf))
    assert total_reward((CollaborativeReward.model_validate({"scale": scale}),), group).tolist() == [[0.0, 0.0]]


def test_a_reward_of_ones_own_adds_to_the_others() -> None:
    hits = torch.tensor([[False, True, False]])
    rewards = (RuleReward(), CustomReward(path=f"{__name__}:titles_start_alike", weight=2.0))
    assert total_reward(rewards, group_of(hits)).tolist() == [[1.0, 3.0, 1.0]]


@pytest.mark.parametrize("name", ["too_few", "not_finite"])
def test_a_custom_reward_must_return_a_finite_one_a_candidate(name: str) -> None:
    with pytest.raises(RereError, match=name):
        total_reward((CustomReward(path=f"{__name__}:{name}"),), group_of(torch.tensor([[True, False]])))


def asks_for_ranks(group: Any) -> Any:
    return 1 / group.ranks


def knows_only_its_own_items(group: Group) -> torch.Tensor:
    prices = {"milk": 1.0}
    return torch.tensor([[prices[item] for item in row] for row in group.item_ids])


@pytest.mark.parametrize("name", ["too_few", "not_finite", "asks_for_ranks"])
def test_a_custom_reward_is_tried_before_anything_is_read(name: str) -> None:
    with pytest.raises(RereError, match=name):
        check_rewards((CustomReward(path=f"{__name__}:{name}"),))


def test_a_wrong_field_is_named_with_its_line_and_what_was_meant() -> None:
    with pytest.raises(RereError, match=r"did you mean `rank`\?\), .*test_rewards.py line \d+"):
        check_rewards((CustomReward(path=f"{__name__}:asks_for_ranks"),))


def test_a_reward_that_looks_up_real_ids_is_not_refused_for_the_trials_invented_ones() -> None:
    check_rewards((CustomReward(path=f"{__name__}:knows_only_its_own_items"),))


def test_a_module_that_fails_when_it_is_imported_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".rere").mkdir()
    monkeypatch.setenv("RERE_PROJECT", str(tmp_path))
    for number, text in enumerate(["def reward(group:\n", "1 / 0\n", "reward = 3\n"]):
        (tmp_path / f"own_{number}.py").write_text(text)
        with pytest.raises(RereError, match=f"own_{number}"):
            check_rewards((CustomReward(path=f"own_{number}:reward"),))


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The documented rewards, in a project of their own; their paths."""
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    (tmp_path / ".rere").mkdir()
    paths = [part.split('"')[0] for part in text.split('{type: custom, path: "')[1:]]
    blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    examples = [block for block in blocks if "(group)" in block]  # the page has other Python too
    for path, example in zip(paths, examples, strict=True):
        file = tmp_path / f"{path.split(':')[0].replace('.', '/')}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(example, encoding="utf-8")
    monkeypatch.setenv("RERE_PROJECT", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        monkeypatch.delitem(sys.modules, name)
    return paths


def test_the_documented_reward_works_as_written(documented: list[str]) -> None:
    check_rewards((CustomReward(path=documented[0]),))
    reward = custom_reward(documented[0])(trial_group())
    # popularity of items 1, 0, 2, 1 is 4, 5, 3, 4 and of 3, 4, 0, none 2, 1, 5, 0; the histories are 0, 3, 4 and 1
    expected = [[1 / 5**0.5, -1.0, 1 / 4**0.5, 1 / 5**0.5], [1 / 3**0.5, 1 / 2**0.5, 1 / 6**0.5, 1.0]]
    torch.testing.assert_close(reward, torch.tensor(expected))


COLUMNS: dict[str, ColumnKind] = {"brand": "text", "price": "number"}


def test_the_documented_reward_of_item_columns_works_as_written(documented: list[str]) -> None:
    check_rewards((CustomReward(path=documented[1]),), COLUMNS)
    reward = custom_reward(documented[1])(trial_group(columns=COLUMNS))
    # brands of items 0 to 5 are a, b, b, c, none, a; the targets are 2 and 5
    prices = torch.tensor([[20.0, 12.5, 7.99, 20.0], [3.0, 100.0, 12.5, 0.0]])
    same = torch.tensor([[1, 0, 1, 1], [0, 0, 1, 0]])
    torch.testing.assert_close(reward, 0.5 * same + 0.1 / (1 + prices))


def asks_for_brnd(group: Group) -> Any:
    return group.item_column("brnd")


def takes_no_missing_price(group: Group) -> Any:
    return group.item_column("price")


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("asks_for_brnd", COLUMNS, r"no item column 'brnd' \(did you mean `brand`\?\), .*test_rewards.py line \d+"),
        ("asks_for_brnd", {}, "no item column 'brnd'; name it under `item_columns` of the source"),
        ("takes_no_missing_price", COLUMNS, "not finite"),
    ],
)
def test_what_a_reward_gets_wrong_about_item_columns(name: str, columns: dict[str, ColumnKind], message: str) -> None:
    with pytest.raises(RereError, match=message):
        check_rewards((CustomReward(path=f"{__name__}:{name}"),), columns)


def test_item_columns_of_candidates_targets_and_histories(world_items: pd.DataFrame) -> None:
    brands, prices = [f"b{n % 3}" for n in range(len(world_items))], [n / 4 for n in range(len(world_items))]
    brands[3], prices[3] = "", math.nan
    catalog = build_index(world_items.assign(brand=brands, price=prices), IndexConfig(code=PrefixCode(), backbone=TINY))
    facts = ItemFacts.of(catalog, torch.zeros(len(world_items), dtype=torch.int64))
    group = dataclasses.replace(trial_group(), catalog=facts)
    assert group.item_column("brand") == [["b1", "b0", "b2", "b1"], ["", "b1", "b0", ""]]
    expected = torch.tensor([[0.25, 0.0, 0.5, 0.25], [math.nan, 1.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(group.item_column("price"), expected, equal_nan=True)
    assert group.target_column("brand") == ["b2", "b2"]
    expected = torch.tensor([0.5, 1.25], dtype=torch.float64)
    torch.testing.assert_close(group.target_column("price"), expected)
    assert group.history_column("brand") == [["b0", "", "b1"], ["b1"]]
    torch.testing.assert_close(group.history_column("price")[1], torch.tensor([0.25], dtype=torch.float64))
    grown = extend_index(catalog, pd.DataFrame({"item_id": ["new"], "title": ["New"]}))  # nothing is known of it
    assert ItemFacts.of(grown, facts.popularity).columns["brand"][-1] == ""


def test_a_group_names_its_items() -> None:
    group = trial_group()
    assert group.item_ids[1] == ["trial-item-3", "trial-item-4", "trial-item-0", ""]
    assert group.titles[0] == ["Title 1", "Title 0", "Title 2", "Title 1"]
    assert group.tokens[1] == [[3, 4], [4, 5], [0, 1], ()]
    assert (group.target_ids, group.target_titles) == (["trial-item-2", "trial-item-5"], ["Title 2", "Title 5"])
    assert group.history_titles == [["Title 0", "Title 3", "Title 4"], ["Title 1"]]


@pytest.mark.parametrize("path", ["no_such_module:reward", f"{__name__}:no_such_function"])
def test_a_custom_reward_that_is_not_there_is_said_at_once(path: str) -> None:
    with pytest.raises(RereError, match="correct its path"):
        check_rewards((CustomReward(path=path),))


def test_advantages_without_scaling_keep_their_size() -> None:
    reward = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.1, 0.0, 0.0, 0.1]])
    found = Unscaled()(reward, torch.ones_like(reward, dtype=torch.bool))
    torch.testing.assert_close(found, torch.tensor([[0.75, -0.25, -0.25, -0.25], [0.05, -0.05, -0.05, 0.05]]))


def test_the_truth_takes_the_last_place_where_it_was_missed() -> None:
    candidates = torch.tensor([[3, 1, 2], [4, 5, 6]])
    assert with_targets(candidates, torch.tensor([1, 9])).tolist() == [[3, 1, 2], [4, 5, 9]]


POLICY = [[[-1.0, -2.0], [-3.0, 0.0]]]
MASK = torch.tensor([[[True, True], [True, False]]])


def test_dapo_averages_all_tokens() -> None:
    policy = torch.tensor(POLICY, requires_grad=True)
    loss = DAPO()(inputs(policy, MASK, advantages=torch.tensor([[1.0, -2.0]])))
    assert loss.item() == pytest.approx(-(1.0 + 1.0 - 2.0) / 3)
    loss.backward()
    torch.testing.assert_close(policy.grad, torch.tensor([[[-1.0, -1.0], [2.0, 0.0]]]) / 3)


def test_gspo_takes_one_ratio_a_sequence() -> None:
    policy = torch.tensor(POLICY, requires_grad=True)
    reference = policy.detach() + math.log(2) * torch.tensor([[[1.0, 1.0], [-1.0, 9.0]]])  # what is masked is nothing
    advantages = torch.tensor([[1.0, -2.0]])
    loss = GSPO()(inputs(policy, MASK, reference=reference, advantages=advantages, beta=1.0))
    # per sequence: advantage minus mean k3 = 1 - 0.306853 and -2 - 0.193147
    assert loss.item() == pytest.approx(-(0.693147 - 2.193147) / 2)
    loss.backward()
    # d/dpolicy = -(advantage - (1 - e^d)) · 1/length · 1/sequences, with 1 - e^d = -1 and 1/2
    torch.testing.assert_close(policy.grad, torch.tensor([[[-0.5, -0.5], [1.25, 0.0]]]))


def test_mpo_is_the_cross_entropy_to_the_reference_times_the_exponential_reward() -> None:
    policy = torch.tensor([[[-1.0, -1.0], [-1.0, 0.0], [-9.0, 0.0]]], requires_grad=True)
    reference = torch.tensor([[[-1.5, -0.5], [-2.0, 9.0], [-3.0, 9.0]]])  # both items -2; what is masked counts nothing
    mask = torch.tensor([[[True, True], [True, False], [True, False]]])
    valid = torch.tensor([[True, True, False]])
    reward = torch.tensor([[math.log(3.0), 0.0, 5.0]])
    loss = MPO()(inputs(policy, mask, reference=reference, reward=reward, valid=valid))
    # q = 3/4 and 1/4; item scores -2 and -1: softmax e^-2, e^-1 over their sum
    p = [math.exp(-2) / (math.exp(-2) + math.exp(-1)), math.exp(-1) / (math.exp(-2) + math.exp(-1))]
    assert loss.item() == pytest.approx(-(0.75 * math.log(p[0]) + 0.25 * math.log(p[1])))
    loss.backward()
    # d/dscore = softmax - q, on each of its tokens
    expected = [[[p[0] - 0.75] * 2, [p[1] - 0.25, 0.0], [0.0, 0.0]]]
    torch.testing.assert_close(policy.grad, torch.tensor(expected))


def test_mpo_leaves_a_policy_that_no_reward_tells_from_its_reference() -> None:
    policy = torch.tensor(POLICY, requires_grad=True)
    MPO()(inputs(policy, MASK, reward=torch.full((1, 2), 0.7))).backward()
    torch.testing.assert_close(policy.grad, torch.zeros_like(policy))
