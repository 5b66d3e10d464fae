"""Rewards that a user writes: imported from the project's root, tried before anything is read, checked at each call."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field

from rere.config.base import ColumnKind
from rere.config.catalog import Embedding
from rere.config.reading import meant
from rere.errors import RereError
from rere.project import project_root
from rere.training.rl.group import Column, Group, ItemFacts
from rere.training.rl.rewards.base import Reward

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

Function = Callable[[Group], torch.Tensor]
TRIAL = "trial-"  # prefix of ids and texts of the items that a reward is tried on


class CustomReward(Reward):
    """A function of your own, by import path: takes a `rere.training.rl.group.Group`, returns (P, G) rewards."""

    type: Literal["custom"] = "custom"
    path: str = Field(pattern=r"^[\w.]+:\w+$", description="package.module:function")

    def __call__(self, group: Group) -> Float[Tensor, "P G"]:
        return custom_reward(self.path)(group)


def custom_reward(path: str) -> Function:
    """The function at `package.module:function`, with its result checked.

    Raises:
        RereError: no such function, or (when called) an error in it, or a result that is not finite or not (P, G).
    """
    module, name = path.split(":")
    with suppress(RereError):  # a node of a cluster may have no project: it was sent the module
        if (root := str(project_root())) not in sys.path:
            sys.path.insert(0, root)
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a user's module does when it is imported
        raise _broken(path, error, "that can be imported from the project's root") from error
    if not callable(function):
        raise RereError(f"a function at {path}", f"a {type(function).__name__}", "correct its path")

    def checked(group: Group) -> torch.Tensor:
        try:
            found = torch.as_tensor(function(group), dtype=torch.float32, device=group.hits.device)
        except Exception as error:
            raise _broken(path, error, "that takes a group of candidates") from error
        if found.shape != group.hits.shape or not torch.isfinite(found).all():
            given = "values that are not finite" if found.shape == group.hits.shape else f"shape {tuple(found.shape)}"
            raise RereError(
                f"finite rewards of shape {tuple(group.hits.shape)} from {path}", given, "correct the function"
            )
        return found

    return checked


def try_reward(path: str, group: Group) -> None:
    """Call a reward on the trial's group.

    A function that looks up the trial's invented ids or texts in its own table can't be tried, and passes.

    Raises:
        RereError: see `custom_reward`.
    """
    try:
        custom_reward(path)(group)
    except RereError as error:
        if isinstance(error.__cause__, LookupError) and TRIAL in str(error.__cause__):
            return
        raise


def trial_group(
    embeddings: Collection[Embedding] = (),
    with_teacher: bool = False,
    with_following: bool = False,
    columns: Mapping[str, ColumnKind] = MappingProxyType({}),
) -> Group:
    """Two prompts of four candidates: the first has its target third and repeats one; the second has only three.

    The second candidate of the second prompt has no values in its further columns, as items of real data may.
    """
    items = torch.tensor([[1, 0, 2, 1], [3, 4, 0, -1]])
    targets = torch.tensor([2, 5])
    facts = ItemFacts(
        ids=[f"{TRIAL}item-{n}" for n in range(6)],
        titles=[f"Title {n}" for n in range(6)],
        tokens=[[n, n + 1] for n in range(6)],
        popularity=torch.tensor([5, 4, 3, 2, 1, 0]),
        columns={name: _trial_column(name, kind) for name, kind in columns.items()},
    )
    figures = torch.linspace(0, 1, 8).view(2, 4)
    return Group(
        items=items,
        targets=targets,
        hits=items == targets[:, None],
        rank=torch.tensor([[1, 2, 3, 4], [2, 1, 3, 4]]),
        valid=items >= 0,
        similarities=dict.fromkeys(embeddings, figures),
        teacher=-figures if with_teacher else None,
        following=[[5, 1], []] if with_following else None,
        catalog=facts,
        histories=[[0, 3, 4], [1]],
        row_ids=[0, 1],
    )


def _trial_column(name: str, kind: ColumnKind) -> Column:
    if kind == "number":
        return torch.tensor([12.5, 20.0, 7.99, 3.0, torch.nan, 5.0], dtype=torch.float64)
    return [f"{TRIAL}{name}-{text}" if text else "" for text in ("a", "b", "b", "c", "", "a")]


def _broken(path: str, error: Exception, expected: str) -> RereError:
    """An error in a user's code, with its file and line."""
    hint = ""
    if isinstance(error, AttributeError) and isinstance(error.obj, Group) and error.name:
        public = [name for name in dir(Group) if not name.startswith("_")]
        hint = meant(error.name, {*public, *(field.name for field in fields(Group))})
    frames = traceback.extract_tb(error.__traceback__)
    ours = Path(__file__).parents[1]  # this file, and `Group`
    own = [frame for frame in frames if "importlib" not in frame.filename and ours not in Path(frame.filename).parents]
    line = f", {own[-1].filename} line {own[-1].lineno}" if own else ""
    return RereError(
        f"a reward function {expected}, at {path}",
        f"{type(error).__name__}: {error}{hint}{line}",
        "correct its path or the function; docs/configuration.md has an example",
    )
