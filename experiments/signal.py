"""Is there anything to learn? `python -m experiments.signal` compares gradients of disjoint sets of rows; no training.

For a fine-tuned model: the cosine between the mean gradients of sets of rows of different users, for RL with the
paper's rewards, RL's default and cross-entropy on labels, on training rows (fine-tuning saw them) and on validation
rows (it didn't). Near 1 the sets ask for the same change; near 0 the gradient is noise: RL re-fits the rows it sees.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from experiments import cells
from experiments.lab import Runner
from experiments.run import ROOT
from experiments.worlds import NAMES, check, load
from rere.catalog.index import CatalogIndex
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.data.dataset import Period, Windows
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.models.heads import head_of
from rere.recommenders.base import Recommender
from rere.training.checkpoint import trainable
from rere.training.rl.policy import RLRun
from rere.training.rows import window_rows
from rere.training.sft.inputs import collator, loss_of
from rere.training.sft.trainer import LOSS_KEYS

STARTS = {"default": (cells.TAUGHT_INDEX, cells.TAUGHT_SFT), "labels": (cells.INDEX, cells.SFT)}
OBJECTIVES = {"RL, the paper's rewards": cells.PAPER, "RL, default": cells.TAUGHT_RL, "cross-entropy": None}
KINDS: dict[str, Period] = {"training": "train", "validation": "valid"}
LABELS = SFTConfig(distillation=None, rows="window")


@dataclass(frozen=True)
class Signal:
    """What K mean gradients of n rows each say of the gradient G of all rows.

    cosine: mean over pairs, with the least and the greatest of them
    rows: for which signal and noise are equal, |G|^2 = trace(covariance) / rows; infinite where no signal shows
    """

    cosine: float
    least: float
    greatest: float
    rows: float


def signal_of(gradients: Sequence[torch.Tensor], rows: int) -> Signal:
    """Of K >= 2 mean gradients of `rows` rows each, of disjoint rows.

    The mean product of different sets is unbiased for |G|^2; the mean square of a set is |G|^2 plus noise / rows.
    """
    pairs = list(itertools.combinations(gradients, 2))
    cosines = [cosine(one, other) for one, other in pairs]
    common = float(np.mean([float(one @ other) for one, other in pairs]))
    noise = rows * (float(np.mean([float(one @ one) for one in gradients])) - common)
    needed = noise / common if common > 0 else float("inf")
    return Signal(float(np.mean(cosines)), min(cosines), max(cosines), needed)


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    """0 where one of them is 0."""
    length = float(one.norm() * other.norm())
    return float(one @ other) / length if length else 0.0


def disjoint_sets(rows: pd.DataFrame, sets: int, size: int, seed: int) -> list[pd.DataFrame]:
    """`sets` parts of `size` rows of different users each, in the order of the table.

    Raises:
        RereError: too few rows.
    """
    random = np.random.default_rng(seed)
    users = random.permutation(sorted(set(rows["user_id"])))
    part_of = dict(zip(users.tolist(), (np.arange(len(users)) % sets).tolist(), strict=True))
    part = rows["user_id"].map(part_of).to_numpy()
    own = [np.flatnonzero(part == number) for number in range(sets)]
    least = min(len(each) for each in own)
    if least < size:
        raise RereError(f"{size} rows in each of {sets} sets of users", f"{least}", "set fewer --rows or --sets")
    return [rows.iloc[np.sort(random.permutation(each)[:size])] for each in own]


def as_training(rows: pd.DataFrame, windows: Windows) -> Windows:
    """Windows whose training rows are these; the validation rows are as they were."""
    table = pd.concat([rows.assign(period="train"), windows.of("valid")], ignore_index=True)
    return Windows(table, windows.history_items)


def rl_gradient(
    start: Checkpoint, windows: Windows, catalog: CatalogIndex, config: RLConfig, teacher: Recommender | None
) -> torch.Tensor:
    """(weights,) the mean gradient over the training rows, by the trainer's own update."""
    config = config.model_copy(update={"validation_rows": 1, "probe_rows": 0, "updates": 1})
    with tempfile.TemporaryDirectory() as work:
        run = RLRun(start, windows, catalog, config, Path(work) / "progress", log=_silent, teacher=teacher)
        run.accumulate(np.arange(len(run.histories)))
        return _flat(run.model)


def label_gradient(start: Checkpoint, windows: Windows, catalog: CatalogIndex, config: SFTConfig) -> torch.Tensor:
    """(weights,) the mean gradient over the training rows of cross-entropy on labels, by the trainer's own loss."""
    model = start.load_model()
    loss, collate = loss_of(model, catalog, config), collator(windows, catalog, config, None)
    assert loss is not None  # under `trie`
    rows = list(window_rows(windows.of("train"), catalog))
    none = torch.empty(0, dtype=torch.int64, device=model.device)
    for first in range(0, len(rows), config.device_batch_rows):
        batch = {
            name: value.to(model.device) for name, value in collate(rows[first:][: config.device_batch_rows]).items()
        }
        given = {name: value for name, value in batch.items() if name not in LOSS_KEYS}
        out = model(**given, use_cache=False, output_hidden_states=True, logits_to_keep=none)
        own = {name: batch[name] for name in LOSS_KEYS if name in batch}
        (loss(head_of(model), out.hidden_states[-1], **own) / len(rows)).backward()
    return _flat(model)


def table(
    start: Checkpoint,
    windows: Windows,
    catalog: CatalogIndex,
    teacher: Recommender | None,
    *,
    sets: int,
    size: int,
    seed: int,
    objectives: Sequence[str],
) -> pd.DataFrame:
    """A row per objective and kind of rows."""
    records = []
    for kind, period in KINDS.items():
        parts = [as_training(rows, windows) for rows in disjoint_sets(windows.of(period), sets, size, seed)]
        for name in objectives:
            config = OBJECTIVES[name]
            if config is None:
                found = [label_gradient(start, part, catalog, LABELS) for part in parts]
            else:
                seeded = config.model_copy(update={"seed": seed})
                opinion = teacher if config.asks_teacher else None
                found = [rl_gradient(start, part, catalog, seeded, opinion) for part in parts]
            said = signal_of(found, size)
            records.append(
                {"objective": name, "rows": kind, "sets": sets, "rows per set": size, "cosine": said.cosine}
                | {"least": said.least, "greatest": said.greatest, "rows for signal = noise": said.rows}
            )
    return pd.DataFrame(records)


def _flat(model: torch.nn.Module) -> torch.Tensor:
    weights = trainable(model).values()
    found = [torch.zeros_like(one) if one.grad is None else one.grad for one in weights]
    return torch.cat([gradient.detach().flatten().double().cpu() for gradient in found])


def _silent(metrics: dict[str, float], update: int) -> None:
    pass


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.signal",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", choices=NAMES, default="movielens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", choices=STARTS, default="default", help="fine-tuned as the default, or on labels")
    parser.add_argument("--model", type=Path, help="a fine-tuned model of those settings; default: the studies' own")
    parser.add_argument("--sets", type=int, default=4, help="sets of rows (default: 4)")
    parser.add_argument("--rows", type=int, default=750, help="rows per set (default: 750)")
    parser.add_argument("--objectives", choices=OBJECTIVES, nargs="+", default=list(OBJECTIVES))
    parser.add_argument("--root", type=Path, default=ROOT, help=f"where models are kept (default: {ROOT})")
    parser.add_argument("--to", type=Path, help="directory for signal-DATA.csv, such as docs/results")
    given = parser.parse_args()
    if given.sets < 2 or given.rows < 1:
        parser.error("it takes --sets 2 and --rows 1 at least")
    torch.set_num_threads(1)
    try:
        check(given.data)
        lab = Runner(load(given.data), given.seed, given.root)
        index, sft = STARTS[given.start]
        start = Checkpoint(given.model) if given.model else lab.tuned(index, sft)
        asked = [config for name, config in OBJECTIVES.items() if config is not None and name in given.objectives]
        teacher = lab.item_model(lab.teacher(cells.TEACHER)) if any(one.asks_teacher for one in asked) else None
        sizes = {"sets": given.sets, "size": given.rows, "seed": given.seed}
        found = table(start, lab.world.windows, lab.index(index), teacher, **sizes, objectives=given.objectives)
    except (RereError, OSError) as error:
        parser.exit(1, f"{error}\n")
    print(found.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    if given.to:
        given.to.mkdir(parents=True, exist_ok=True)
        found.to_csv(given.to / f"signal-{given.data}.csv", index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
