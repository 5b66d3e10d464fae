"""How GRU4Rec and Caser read a history: against loops, and what they must not see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rere.recommenders.sequential.caser import CaserConfig, CaserNetwork
from rere.recommenders.sequential.gru4rec import GRU4RecConfig, GRU4RecNetwork
from rere.recommenders.sequential.networks import SequentialNetwork, window_rows
from rere.recommenders.sequential.sasrec import SASRecConfig, SASRecNetwork

ITEMS = 10
GRU = GRU4RecConfig(width=8, layers=2, history_items=4, dropout=0.0)
CASER = CaserConfig(width=8, vertical=3, horizontal=2, history_items=4, dropout=0.0)
SASREC = SASRecConfig(width=8, heads=2, feed_forward=8, layers=1, history_items=4, dropout=0.0)


def network(kind: type, config: object) -> SequentialNetwork:
    torch.manual_seed(0)
    return kind(ITEMS, config).double().eval()


def gru_by_hand(model: GRU4RecNetwork, history: list[int]) -> torch.Tensor:
    """The gates written out, an item and a layer at a time: reset r, update z, candidate n."""
    hidden = [torch.zeros(8, dtype=torch.float64) for _ in range(2)]
    for item in history:
        state = model.item.weight[item]
        for layer in range(2):
            into, over, into_bias, over_bias = (
                getattr(model.layers, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            seen, kept = (into @ state + into_bias).chunk(3), (over @ hidden[layer] + over_bias).chunk(3)
            reset, update = (seen[0] + kept[0]).sigmoid(), (seen[1] + kept[1]).sigmoid()
            candidate = (seen[2] + reset * kept[2]).tanh()
            hidden[layer] = (1 - update) * candidate + update * hidden[layer]
            state = hidden[layer]
    return model.output.weight @ hidden[-1] + model.output.bias


def caser_by_hand(model: CaserNetwork, history: list[int]) -> torch.Tensor:
    """Every filter laid on every place of the (L, D) image, by loops."""
    image = torch.zeros((4, 8), dtype=torch.float64)
    for position, item in enumerate(history):
        image[4 - len(history) + position] = model.item.weight[item]
    found = []
    for height, filters in enumerate(model.horizontal, 1):
        assert isinstance(filters, torch.nn.Conv1d)
        assert filters.bias is not None
        for kernel, bias in zip(filters.weight, filters.bias, strict=True):  # kernel: (D, height)
            positions = [(image[top : top + height] * kernel.T).sum() + bias for top in range(4 - height + 1)]
            found.append(max(max(positions), torch.tensor(0.0)))
    for column in range(8):
        found += [(image[:, column] * kernel).sum() for kernel in model.vertical.weight]  # kernel: (L,)
    return model.output.weight @ torch.stack(found) + model.output.bias


@pytest.mark.parametrize(
    ("kind", "config", "by_hand"), [(GRU4RecNetwork, GRU, gru_by_hand), (CaserNetwork, CASER, caser_by_hand)]
)
def test_a_history_is_read_as_the_formulas_say(
    kind: type[SequentialNetwork], config: Any, by_hand: Callable[[SequentialNetwork, list[int]], torch.Tensor]
) -> None:
    model, histories = network(kind, config), [[3], [1, 2, 3, 4], [5, 5, 0]]
    with torch.no_grad():
        expected = torch.stack([by_hand(model, history) for history in histories])
        torch.testing.assert_close(model.last_states(histories), expected, atol=1e-12, rtol=0)


def test_a_gru_state_depends_on_no_later_item() -> None:
    states = network(GRU4RecNetwork, GRU)(torch.tensor([[1, 2, 3, 4], [1, 2, ITEMS, ITEMS]]))  # the second is padded
    torch.testing.assert_close(states[0, :2], states[1, :2])
    assert not torch.allclose(states[0, 2], states[1, 2])


def test_windows_hold_every_target_once_with_what_came_before() -> None:
    sequences = [np.arange(7), np.arange(20, 22)]
    orders = set()
    for epoch in range(3):
        rows = [tuple(row.tolist()) for row in window_rows(sequences, CASER, epoch)]
        assert sorted(rows) == [
            (0, 1), (0, 1, 2), (0, 1, 2, 3), (0, 1, 2, 3, 4), (1, 2, 3, 4, 5), (2, 3, 4, 5, 6), (20, 21),
        ]  # fmt: skip
        orders.add(tuple(rows))
    assert len(orders) == 3  # every epoch has its own order


@pytest.mark.parametrize(("kind", "config"), [(SASRecNetwork, SASREC), (GRU4RecNetwork, GRU), (CaserNetwork, CASER)])
def test_training_sees_the_states_that_serving_sees(kind: type[SequentialNetwork], config: Any) -> None:
    """Row by row: the state that a target is trained on is the one its history is served with."""
    model, rows = network(kind, config), [np.array([1, 2, 3, 4, 5]), np.array([6, 7]), np.array([8, 8, 9])]
    states, targets = model.examples(rows)
    if kind is CaserNetwork:
        histories, expected = [row[:-1] for row in rows], [5, 7, 9]
    else:
        histories = [row[:end] for row in rows for end in range(1, len(row))]
        expected = [2, 3, 4, 5, 7, 8, 9]
    assert targets.tolist() == expected
    torch.testing.assert_close(states, model.last_states(histories), atol=1e-12, rtol=0)


def test_padding_says_nothing_and_learns_nothing() -> None:
    model = network(CaserNetwork, CASER)
    states, _ = model.examples([np.array([1, 2])])
    model.scores(states).sum().backward()
    assert (model.item.weight[ITEMS] == 0).all()
    gradient = model.item.weight.grad
    assert gradient is not None
    assert (gradient[ITEMS] == 0).all()
    assert gradient[1].abs().sum() > 0
