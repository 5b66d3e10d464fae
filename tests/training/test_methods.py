"""Methods beyond the paper's: rewards and losses by hand, and that each trains by windows and by sequence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from rere.catalog.index import CatalogIndex
from rere.catalog.trie import build_trie
from rere.config.decoding import Normalisation
from rere.config.rl import AllRows, AlteredHistories, NewestRows, RLConfig
from rere.data.dataset import Windows
from rere.data.stretches import stretch_ends
from rere.models.checkpoint import Checkpoint
from rere.models.tree_attention import TreeModel
from rere.models.tree_log_probs import TreeLogProbs, group_tree
from rere.training.rl.group import Group, ItemFacts
from rere.training.rl.losses.anchored_grpo import AnchoredGRPO
from rere.training.rl.losses.grpo import GRPO
from rere.training.rl.losses.riser import RISER
from rere.training.rl.losses.sibling_grpo import SiblingGRPO, sibling_advantages
from rere.training.rl.prompts import altered_history, chosen_windows
from rere.training.rl.rewards.next_items import NextItemsReward
from rere.training.rl.rewards.partial_code import PartialCodeReward
from rere.training.rl.train import train_rl
from tests.decoding.test_beam import random_items, random_prompts, tiny_model
from tests.oracles import assert_same_gradients, gradients_of, item_log_probs
from tests.training.test_rewards import group_of, inputs
from tests.training.test_rl import QUICK, SEEN, teacher_of


def test_the_partial_code_reward_is_the_share_of_the_targets_code() -> None:
    tokens = [[5, 6, 7, 8], [5, 6, 9], [5, 1], [2, 6, 7, 8]]
    facts = ItemFacts(
        ids=list("abcd"), titles=list("abcd"), tokens=tokens, popularity=torch.zeros(4, dtype=torch.int64)
    )
    items = torch.tensor([[0, 1, 2, 3, -1]])
    group = Group(
        items=items,
        targets=torch.tensor([0]),
        hits=items == 0,
        rank=torch.arange(1, 6)[None],
        valid=items >= 0,
        catalog=facts,
    )
    # of 5 6 7 8: all four; 5 6; 5; nothing, though later tokens agree; no item
    assert PartialCodeReward()(group).tolist() == [[1.0, 0.5, 0.25, 0.0, 0.0]]


def test_the_next_items_reward_falls_with_each_item() -> None:
    hits = torch.tensor([[True, False, False, False, False]])  # items 0 to 4; the target is 0
    group = group_of(hits, following=[[3, 0, 3, 1, 2]])
    # the user went on with 3, 0 again, 3 again, 1: .5, (1 for the target), (.5 stays), .5^4; 2 is too far, 4 never came
    expected = [[1.0, 0.0625, 0.0, 0.5, 0.0]]
    assert NextItemsReward(items=5, discount=0.5)(group).tolist() == expected
    alone = NextItemsReward(items=1, discount=0.5)(group)
    assert alone.tolist() == [[1.0, 0.0, 0.0, 0.0, 0.0]]  # the rule reward


def test_what_follows_is_of_the_same_user_and_stretch() -> None:
    rows = pd.DataFrame(
        [("a", ["1"], "2"), ("a", ["1", "2"], "3"), ("a", ["2", "3"], "4"), ("a", ["9"], "5"), ("b", ["9"], "6")],
        columns=["user_id", "history", "target"],
    )
    assert stretch_ends(rows, 2).tolist() == [3, 3, 3, 4, 5]


def test_sibling_grpo_compares_the_nodes_below_one_prefix() -> None:
    policy = torch.full((1, 3, 2), -1.0, requires_grad=True)
    nodes = torch.tensor([[[0, 2], [0, 3], [1, 4]]])  # codes a b, a c, d e
    mask = torch.ones(1, 3, 2, dtype=torch.bool)
    given = inputs(policy, mask, nodes=nodes, reward=torch.tensor([[1.0, 0.0, 0.0]]))
    loss = SiblingGRPO(weight=2.0)(given)
    # a is worth (1 + 0) / 2, d 0: mean and deviation .25; b 1 and c 0: mean and deviation .5; e has no siblings
    first, second = 0.25 / 0.2501, 0.5 / 0.5001
    assert loss.item() == pytest.approx(0.0, abs=1e-6)  # siblings' advantages cancel, each node counted once
    loss.backward()
    # -weight · advantage / candidates that share the node / G
    expected = [[[-first / 2, -second], [-first / 2, second], [first, 0.0]]]
    torch.testing.assert_close(policy.grad, 2.0 * torch.tensor(expected) / 3)


def test_sibling_grpo_has_grpo_beside_it() -> None:
    policy = torch.full((1, 2, 1), -1.0, requires_grad=True)
    mask = torch.ones(1, 2, 1, dtype=torch.bool)
    SiblingGRPO()(inputs(policy, mask, advantages=torch.tensor([[1.0, -3.0]]))).backward()  # rewards are all the same
    torch.testing.assert_close(policy.grad, torch.tensor([[[-0.5], [1.5]]]))


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
def test_sibling_advantages_on_the_token_tree_are_those_of_the_prefixes(normalisation: Normalisation) -> None:
    """Against the definition, prefix by prefix; repeats and empty candidates included."""
    generator = torch.Generator().manual_seed(5)
    items = random_items(40, generator)
    candidates = torch.randint(40, (3, 12), generator=generator)
    candidates[0, 3], candidates[1, 11] = candidates[0, 2], -1
    reward = torch.rand(3, 12, generator=generator)
    tree = group_tree(build_trie(items), random_prompts(3, generator), candidates, normalisation, torch.float32)
    found, shared_by = sibling_advantages(reward, tree.path, tree.mask)

    for prompt, row in enumerate(candidates.tolist()):
        codes = [tuple(items[item]) if item >= 0 else () for item in row]
        for candidate, code in enumerate(codes):
            for depth in range(found.shape[2]):
                if not tree.mask[prompt, candidate, depth]:
                    assert found[prompt, candidate, depth] == 0
                    continue
                through = [n for n, other in enumerate(codes) if other[: depth + 1] == code[: depth + 1]]
                siblings = {o[: depth + 1] for o in codes if o[:depth] == code[:depth] and len(o) > depth}
                worth = {
                    node: np.mean([float(reward[prompt, n]) for n, o in enumerate(codes) if o[: depth + 1] == node])
                    for node in siblings
                }
                values = np.array(list(worth.values()))
                expected = (worth[code[: depth + 1]] - values.mean()) / (values.std() + 1e-4)
                assert float(found[prompt, candidate, depth]) == pytest.approx(expected, abs=1e-3)
                assert shared_by[prompt, candidate, depth] == len(through)


def anchored(policy: torch.Tensor) -> dict[str, Any]:
    """Two prompts of three one-token candidates; the targets are the second and the first."""
    return {
        "mask": torch.ones(policy.shape, dtype=torch.bool),
        "hits": torch.tensor([[False, True, False], [True, False, False]]),
        "reward": torch.tensor([[0.1, 0.6, 0.2], [0.6, 0.1, 0.2]]),
        "advantages": torch.tensor([[0.0, 3.0, 0.0], [3.0, 0.0, 0.0]]),
    }


def test_anchored_grpo_admits_the_rewards_of_hard_rows_that_they_tell_apart() -> None:
    policy = torch.tensor([[[-1.0], [-3.0], [-2.0]], [[-0.5], [-2.0], [-3.0]]], requires_grad=True)
    given = inputs(policy, **anchored(policy))
    loss = AnchoredGRPO()(given)
    # first row: cross-entropy 3, outranked by two, reward .6 against a mean of .15: less the objective (0 + 3 + 0) / 3
    # second row: the target is the likeliest: cross-entropy .5 alone
    assert loss.item() == pytest.approx(((3.0 - 1.0) + 0.5) / 2)
    assert AnchoredGRPO().counted(given) == {"admitted": 1.0}
    loss.backward()
    expected = [[[0.0], [(-1.0 - 1.0) / 2], [0.0]], [[-0.5], [0.0], [0.0]]]
    torch.testing.assert_close(policy.grad, torch.tensor(expected))


@pytest.mark.parametrize(
    ("settings", "admitted"),
    [({"outranked_by": 2}, 1.0), ({"outranked_by": 3}, 0.0), ({"margin": 0.5}, 0.0), ({"outranked_by": 0}, 2.0)],
)
def test_admission_follows_its_settings(settings: dict[str, Any], admitted: float) -> None:
    policy = torch.tensor([[[-1.0], [-3.0], [-2.0]], [[-0.5], [-2.0], [-3.0]]])
    assert AnchoredGRPO(**settings).counted(inputs(policy, **anchored(policy))) == {"admitted": admitted}


def test_riser_has_grpo_where_the_policy_found_the_target_and_pairs_where_it_did_not() -> None:
    policy = torch.tensor([[[-1.0, -2.0], [-3.0, 0.0]], [[-4.0, -1.0], [-1.0, 0.0]]], requires_grad=True)
    mask = torch.tensor([[[True, True], [True, False]], [[True, True], [True, False]]])
    hits = torch.tensor([[True, False], [False, True]])
    advantages = torch.tensor([[1.0, -1.0], [5.0, -5.0]])
    given = inputs(policy, mask, hits=hits, advantages=advantages, reached=torch.tensor([True, False]))
    loss = RISER(weight=3.0, pair_beta=2.0, margin=0.5)(given)
    # first row: the objective's mean is (1 - 1) / 2; second: target -1, the other (-4 - 1) / 2 a token: 2 · 1.5 - .5
    pair = math.log(1 + math.exp(-2.5))
    assert loss.item() == pytest.approx((0.0 + 3.0 * pair) / 2)
    loss.backward()
    slope = 3.0 * 2.0 * math.exp(-2.5) / (1 + math.exp(-2.5)) / 2  # weight · pair_beta · sigmoid(-2.5) / prompts
    expected = [[[-0.125, -0.125], [0.25, 0.0]], [[slope / 2, slope / 2], [-slope, 0.0]]]
    torch.testing.assert_close(policy.grad, torch.tensor(expected))


def test_riser_is_grpo_where_every_group_has_a_hit() -> None:
    policy = torch.tensor([[[-1.0, -2.0], [-3.0, 0.0]]])
    mask, hits = torch.tensor([[[True, True], [True, False]]]), torch.tensor([[True, False]])
    given = inputs(policy, mask, hits=hits, advantages=torch.tensor([[1.0, -3.0]]))
    torch.testing.assert_close(RISER()(given), GRPO()(given))


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
def test_risers_pairs_on_the_token_tree_have_the_plain_values_and_gradients(normalisation: Normalisation) -> None:
    """One forward per candidate, in float64, one pair after another; an empty place and a second target included."""
    generator = torch.Generator().manual_seed(3)
    model = tiny_model("qwen2").double()
    items, prompts = random_items(40, generator), random_prompts(3, generator)
    candidates = torch.stack([torch.randperm(len(items), generator=generator)[:4] for _ in prompts])
    candidates[0, 2], candidates[1, 1] = -1, candidates[1, 3]
    targets = candidates[:, 3]  # added in the last place
    config = RISER(weight=0.7, pair_beta=1.5, margin=0.25)

    def mean_log_prob(prompt: list[int], item: int) -> torch.Tensor:
        found = item_log_probs(model, items, item, prompt, normalisation)
        return found.sum() / max(1, int((found != 0).sum()))  # under `trie` a token without an alternative has 0

    expected = torch.zeros((), dtype=torch.float64)
    for prompt, row, target in zip(prompts, candidates.tolist(), targets.tolist(), strict=True):
        rejected = [item for item in row if item not in (-1, target)]
        for item in rejected:
            ahead = 1.5 * (mean_log_prob(prompt, target) - mean_log_prob(prompt, item)) - 0.25
            expected = expected - 0.7 * torch.log(torch.sigmoid(ahead)) / len(rejected) / len(prompts)
    expected.backward()
    gradients = gradients_of(model)
    model.zero_grad()

    tree = group_tree(build_trie(items), prompts, candidates, normalisation, torch.float64)
    hits, missed = candidates == targets[:, None], torch.zeros(len(prompts), dtype=torch.bool)
    policy = TreeLogProbs(TreeModel(model))(tree)
    loss = config(inputs(policy, tree.mask, hits=hits, reached=missed, valid=candidates >= 0))
    loss.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    assert_same_gradients(gradients_of(model), gradients)


@pytest.mark.parametrize("loss", ["anchored_grpo", "riser"])
def test_a_loss_that_scores_the_target_needs_it_among_the_candidates(loss: str) -> None:
    with pytest.raises(ValueError, match="goes with ground_truth: add"):
        RLConfig.model_validate({"loss": loss, "ground_truth": "off"})


@pytest.mark.parametrize("prefill", [{"type": "window"}, {"type": "sequence", "prompts": 5}], ids=lambda p: p["type"])
@pytest.mark.parametrize(
    "choice",
    [
        {"rewards": ["partial_code"]},
        {"rewards": [{"type": "next_items", "items": 3}]},
        {"loss": "sibling_grpo", "normalisation": "trie"},
        {"loss": "anchored_grpo", "ground_truth": "add"},
        {"loss": "riser", "ground_truth": "add"},
    ],
    ids=lambda choice: str(next(iter(choice.values()))),
)
def test_each_trains_by_windows_and_by_sequence(
    start: Checkpoint,
    world_windows: Windows,
    world_catalog: CatalogIndex,
    tmp_path: Path,
    choice: dict[str, Any],
    prefill: dict[str, Any],
) -> None:
    settings = QUICK.model_dump() | {"updates": 2, "keep": "last", "prefill": prefill} | choice
    teacher = teacher_of(world_windows, world_catalog)
    config = RLConfig.model_validate(settings)
    checkpoint = train_rl(start, world_windows, world_catalog, config, tmp_path, log=lambda *_: None, teacher=teacher)
    records = [record for record in checkpoint.curves() if "reward" in record]
    assert len(records) == 2
    assert all(record["gradient_norm"] > 0 and record["reward"] > 0 for record in records)
    assert all(("admitted" in record) == (choice.get("loss") == "anchored_grpo") for record in records)


def test_the_newest_rows_have_the_latest_targets(world_windows: Windows) -> None:
    """Each user has seven training rows, at seconds 1,001 to 1,007."""
    assert chosen_windows(world_windows, AllRows()) is world_windows
    newest = chosen_windows(world_windows, NewestRows(share=2 / 7))
    assert sorted(set(newest.of("train")["timestamp"])) == [1006, 1007]
    assert len(newest.of("train")) == 2 * 60
    for period in ("valid", "test"):
        assert newest.of(period)["row_id"].tolist() == world_windows.of(period)["row_id"].tolist()
    one = chosen_windows(world_windows, NewestRows(share=1e-9))  # equally late ones come along
    assert set(one.of("train")["timestamp"]) == {1007}


def test_altered_histories_are_parts_of_the_real_ones() -> None:
    history = list(range(10, 20))
    config = AlteredHistories(share=1.0, leave_out=0.5, crop=0.0)
    found = [altered_history(history, config, seed=(0, 0, row)) for row in range(200)]
    assert all(own == sorted(set(own) & set(history)) and own for own in found)  # in order, each once, never empty
    assert 4 < np.mean([len(own) for own in found]) < 6
    assert altered_history(history, config, seed=(0, 0, 7)) == found[7]
    assert altered_history(history, config, seed=(0, 1, 7)) != found[7]
    cropped = [
        altered_history(history, AlteredHistories(share=1.0, leave_out=0.0, crop=1.0), seed=(1, n)) for n in range(99)
    ]
    assert all(own == history[-len(own) :] for own in cropped)
    assert {len(own) for own in cropped} == set(range(1, 11))
    half = AlteredHistories(share=0.5, leave_out=0.9, crop=1.0)
    untouched = sum(altered_history(history, half, seed=(2, n)) == history for n in range(200))
    assert 70 < untouched < 130
    alone = AlteredHistories(share=1.0, leave_out=0.99)
    assert all(altered_history([5], alone, seed=(3, n)) == [5] for n in range(20))


def test_altered_histories_share_no_trunk() -> None:
    with pytest.raises(ValueError, match="goes with prefill"):
        RLConfig.model_validate({"histories": {"type": "altered"}, "prefill": {"type": "sequence"}})


@pytest.mark.parametrize(
    ("choice", "fewer"),
    [({"rows": {"type": "newest", "share": 0.1}}, False), ({"histories": {"type": "altered", "share": 1.0}}, True)],
    ids=["newest", "altered"],
)
def test_rl_trains_on_the_chosen_rows_and_altered_histories(
    start: Checkpoint,
    world_windows: Windows,
    world_catalog: CatalogIndex,
    tmp_path: Path,
    choice: dict[str, Any],
    fewer: bool,
) -> None:
    SEEN.clear()
    reward = {"type": "custom", "path": "tests.training.test_rl:looks_around"}
    settings = QUICK.model_dump() | {"updates": 1, "rewards": [reward], "ground_truth": "add"} | choice
    train_rl(start, world_windows, world_catalog, RLConfig.model_validate(settings), tmp_path, log=lambda *_: None)
    rows = world_windows.of("train").set_index("row_id")
    histories = rows["history"].to_dict()
    groups = [group for group in SEEN if group.row_ids != [0, 1]]  # not the trial
    seen = [(row, own) for group in groups for row, own in zip(group.row_ids, group.history_ids, strict=True)]
    real = [list(histories[row]) for row, _ in seen]
    assert len(seen) == QUICK.prompts
    assert all(set(own) <= set(whole) for (_, own), whole in zip(seen, real, strict=True))
    assert (sum(len(own) for _, own in seen) < sum(map(len, real))) == fewer
    if not fewer:
        assert set(rows.loc[[row for row, _ in seen], "timestamp"]) == {1007}
