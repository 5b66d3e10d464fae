"""The figures in README and docs/results.md are those of the files in docs/results, to the last digit shown."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

RESULTS = ROOT / "docs" / "results"
README, PAGE, TABLES = ROOT / "README.md", ROOT / "docs" / "results.md", RESULTS / "tables.md"
NUMBER = r"[+-]?\d*\.\d+"
INTERVAL = re.compile(rf"({NUMBER})\W{{0,4}}\[({NUMBER}), ({NUMBER})\]")
# Intervals of runs whose rows no file of docs/results has; the page says so of each.
OTHERWISE = {
    ".0692 [.0612, .0774]",  # new items boosted, with the teacher of before
    "+.0056 [+.0026, +.0086]",
}

Row = Mapping[str, str]


def rows_of(file: str) -> list[dict[str, str]]:
    with (RESULTS / file).open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def shows(text: str, value: float) -> bool:
    """Whether a number as written is the value, rounded to as many digits (the files have six)."""
    digits = len(text.partition(".")[2])
    return abs(float(text) - value) <= 0.5 * 10**-digits + 1e-6


def estimates() -> Iterator[tuple[float, float, float]]:
    """Each mean with its interval that a file has; differences also the other way round."""
    for path in sorted(RESULTS.glob("*.csv")):
        for row in rows_of(path.name):
            for name in row:
                if row.get(f"{name} low"):
                    mean, low, high = (float(row[name + end]) for end in ("", " low", " high"))
                    yield mean, low, high
                    yield -mean, -high, -low


def test_each_published_interval_is_in_a_file() -> None:
    known = set(estimates())
    unknown, seen = [], 0
    for page in (README, PAGE, TABLES):
        for found in INTERVAL.finditer(page.read_text(encoding="utf-8")):
            seen += 1
            if not any(all(map(shows, found.groups(), estimate)) for estimate in known):
                unknown.append(found.group().replace("\n ", ""))
    assert seen > 400
    assert set(unknown) <= OTHERWISE


Place = tuple[str, str]  # a file, and its column


@dataclass(frozen=True)
class Table:
    """A table of a page: what its columns hold, and how it names the models.

    Args:
        header: how its first line begins.
        columns: those after the model's name; None is not compared.
        parts: by column, the part of a breakdown: (by, part).
        places: of rows whose columns hold something else.
    """

    page: Path
    header: str
    columns: tuple[Place | None, ...]
    models: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[tuple[str, str] | None, ...] = ()
    places: Mapping[str, tuple[Place | None, ...]] = field(default_factory=dict)


def both(*columns: str, file: str = "{}-main.csv") -> tuple[Place, ...]:
    return tuple((file.format(data), column) for data in ("movielens", "toys") for column in columns)


BLEND = "ReRe (paper's rewards) after the labels, blended, new items boosted"
OURS = {
    "popularity": "Popularity",
    "ReRe (1.7 M parameters)": "ReRe (default)",
    "an ensemble of five of the item models: ReRe's teacher": "ensemble of item models",
    "ensemble of GRU4Rec, Caser, EASE, co-occurrence and title-kNN": "ensemble of item models",
    "fine-tuned on its distribution": "SFT (default: the teacher's distribution)",
    "ReRe: RL after that": "ReRe (default)",
    "cross-entropy on labels in RL's place": "control: cross-entropy in RL's place",
    "the same ensemble, new items boosted": "ensemble, new items boosted",
    "ReRe as in `configs/blend.yaml`: labels, teacher, new items boosted": BLEND,
    "`configs/blend.yaml` over the ensemble, new items boosted in both": BLEND,
    "labels, blended": "labels after the teacher, blended",
    "labels, blended, new items boosted": "labels after the teacher, blended, new items boosted",
    "labels, then RL by the paper's rewards": "ReRe (paper's rewards) after the labels",
    "labels, RL, blended, new items boosted (`configs/blend.yaml`)": BLEND,
    "the ensemble alone, new items boosted": "ensemble, new items boosted",
    "labels after the teacher's distribution": "labels after the teacher",
    "ReRe with its teacher in every search": "ReRe, blended with its teacher",
    "ReRe with the ensemble in every search (`blend`)": "ReRe, blended with its teacher",
    "ReRe over the best single item model": "ReRe (default)",
    "ReRe over its teacher": "ReRe (default)",
    "ReRe (default): RL by window, served in float32": "ReRe (default)",
    "RL by sequence (`prefill: {type: sequence, prompts: 16}`)": "RL by sequence",
}
HISTORY, COUNT = "items in the history", "target's training interactions"
SHOWN = {
    "README": Table(
        README,
        "| model | MovieLens-100K NDCG@10 |",
        both("ndcg@10", "hr@10"),
        OURS,
        places={
            "ReRe over the best single item model": (
                ("movielens-main.csv", "vs EASE"),
                None,
                ("toys-main.csv", "vs title-kNN"),
                None,
            ),
            "ReRe over its teacher": tuple(
                place for one in both("vs ensemble of item models") for place in (one, None)
            ),
            "`configs/blend.yaml` over the ensemble, new items boosted in both": tuple(
                place for one in both("vs ensemble, new items boosted") for place in (one, None)
            ),
        },
    ),
    "today's default": Table(
        PAGE, "| model | MovieLens-100K | HR@10 | items", both("ndcg@10", "hr@10", "coverage@10"), OURS
    ),
    "blend": Table(
        PAGE, "| what is added |", both("ndcg@10", "vs ensemble of item models", "vs ensemble, new items boosted"), OURS
    ),
    "speed": Table(
        PAGE, "| | MovieLens-100K | difference |", both("ndcg@10", "vs ReRe (default)", file="{}-speed.csv"), OURS
    ),
    "rivals": Table(
        PAGE,
        "| model | MovieLens-100K: other half |",
        both("report half ndcg@10", "ndcg@10", "hr@10", file="rivals-{}.csv"),
    ),
    "breakdown": Table(
        PAGE,
        "| model | MovieLens: 1-2 items",
        tuple(
            (f"{data}-main-breakdown.csv", column)
            for data, column in [("movielens", "ndcg@10")] * 3 + [("toys", "ndcg@10")] * 3 + [("toys", "hr@10")]
        ),
        OURS,
        ((HISTORY, "1-2"), (HISTORY, "10 or more"), (COUNT, "0")) * 2 + ((COUNT, "0"),),
    ),
}


def table(page: Path, header: str) -> list[list[str]]:
    """The cells of its rows, without emphasis."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(header))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.replace("*", "").strip() for cell in line.strip("|").split("|")])
    return rows


def wrong(cell: str, row: Row, column: str) -> str:
    """What the file has where the cell has something else; nothing where they agree."""
    written = re.findall(r"[+-]?\d*\.?\d+", cell.replace(",", "") if "[" not in cell else cell)
    ends = ("", " low", " high") if len(written) == 3 else ("",)
    scale = 100 if "%" in cell else 1
    values = [scale * float(row[column + end]) for end in ends]
    agrees = len(written) == len(values) and all(map(shows, written, values))
    return "" if agrees else f"{row['model']}, {column}: {cell}, the file has {values}"


@pytest.mark.parametrize("name", SHOWN)
def test_each_cell_is_that_of_its_file(name: str) -> None:
    shown, compared, faults = SHOWN[name], 0, []
    for label, *cells in table(shown.page, shown.header):
        model = shown.models.get(label, label)
        places = shown.places.get(label, shown.columns)
        for cell, place, part in zip(cells, places, shown.parts or [None] * len(places), strict=True):
            if place is None or not cell:
                continue
            file, column = place
            found = [
                row
                for row in rows_of(file)
                if row["model"] == model and (part is None or (row["by"], row["part"]) == part)
            ]
            assert len(found) == 1, f"{label}: {len(found)} rows {model} {part or ''} in {file}"
            compared += 1
            faults.append(wrong(cell, found[0], column))
    assert compared > 10
    assert [fault for fault in faults if fault] == []


def test_the_comparison_with_recbole_is_that_of_its_files() -> None:
    compared = ("ours", "theirs", "difference")
    columns = ("rows", *compared, *(f"{column} without history" for column in compared))
    files = {"all": "independent-movielens.csv", "a fourth": "independent-movielens-quarter.csv"}
    faults, shown = [], set()
    for label, users, *cells in table(PAGE, "| model | users | rows |"):
        model = {"item-kNN": "ItemKNN"}.get(label, label)
        (row,) = (row for row in rows_of(files[users]) if row["model"] == model)
        faults += [wrong(cell, row, column) for cell, column in zip(cells, columns, strict=True)]
        shown.add((files[users], model))
    assert [fault for fault in faults if fault] == []
    assert shown == {(file, row["model"]) for file in files.values() for row in rows_of(file)}  # none is left out
