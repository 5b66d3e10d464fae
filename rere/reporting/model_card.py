"""A registered version in a page of Markdown: what it is, of which data, how good, and what it isn't for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rere.config.served_model import LANGUAGE_MODEL, LANGUAGE_MODELS
from rere.data.dataset import IngestReport
from rere.evaluation.verdict import Verdict

LONGEST = 4_800  # characters; MLflow keeps 5,000 of a description
METRICS = ("ndcg@10", "hr@10")  # where the evaluation has them; else its last two


@dataclass(frozen=True)
class CardInputs:
    """What a card is made of.

    subject: the model's label among those of `summary`, rows of `evaluator.summarise`
    serves: what answers, see `Prior.serves`
    settings: the run's, by stage
    commit: of the code; None where unknown
    """

    model: str
    version: str
    subject: str
    summary: pd.DataFrame
    ingest: IngestReport
    settings: Mapping[str, Any]
    verdict: Verdict
    notes: tuple[str, ...]
    commit: str | None
    serves: str = LANGUAGE_MODEL


def model_card(inputs: CardInputs) -> str:
    """The card; cut to `LONGEST` characters at a line's end where a description is longer."""
    kept = inputs.ingest.kept
    failed = [check for check in inputs.verdict.checks if not check.passed]
    lines = [
        f"# {inputs.model}, version {inputs.version}",
        "",
        *_what_it_is(inputs),
        f"- **Data**: {inputs.ingest.source}, split {inputs.ingest.split or 'of the source'}: "
        f"{kept.get('interactions', 0):,} interactions, {kept.get('users', 0):,} users, {kept.get('items', 0):,} items",
        f"- **Code**: {inputs.commit or 'commit unknown'}",
        f"- **Gate**: {'passed' if inputs.verdict.passed else 'did not pass'}"
        + "".join(f"; {check.name}: {check.explanation}" for check in failed),
        *(f"- {note}" for note in inputs.notes),
        "",
        "## How good it is",
        "",
        *_table(inputs),
        "",
        "Every test row, the whole catalogue ranked. Intervals are bootstrapped over users; another seed would differ.",
        "",
        "## What it is not for",
        "",
        "- Items outside its catalogue, until they are added; histories without any known item.",
        "- Decisions about people: it learned what was taken next, not why, and repeats what the data favour.",
    ]
    return _cut("\n".join(lines) + "\n")


def _what_it_is(inputs: CardInputs) -> list[str]:
    """Up to the first line of its facts."""
    language, _, with_model = inputs.serves.partition(" + ")
    if language not in LANGUAGE_MODELS:
        return [
            "An item model: it ranks its catalogue by which items were taken with which. It reads no titles.",
            "",
            f"- **Kind**: {inputs.serves}",
        ]
    backbone = inputs.settings.get("catalog", {}).get("backbone", {})
    blended = f" An item model ({with_model}) has a part in every search." if with_model else ""
    return [
        "A generative recommender: it reads a user's history and writes the next items, only items of its catalogue "
        f"(constrained beam search). Fine-tuned on histories{_then(inputs, language)}.{blended}",
        "",
        f"- **Backbone**: {', '.join(f'{name} {value}' for name, value in backbone.items()) or 'not on record'}",
    ]


def _then(inputs: CardInputs, language: str) -> str:
    """What came after fine-tuning."""
    preference = inputs.settings.get("preference")
    first = ""
    if preference is not None and preference["place"] != "beside_rl":
        first = f", then by preferences ({preference['loss']['type']})"
    return first + (", then by reinforcement learning (ReRe)" if language == LANGUAGE_MODEL else "")


def _table(inputs: CardInputs) -> list[str]:
    """Markdown rows: the judged model in bold among all, best first."""
    part = inputs.summary[inputs.summary["rows"] == "all"]
    ranked = [name for name in part["metric"].unique() if name.startswith(("ndcg@", "hr@"))]
    names = [name for name in METRICS if name in ranked] or ranked[-2:]
    cells = {(row["model"], row["metric"]): row for row in part.to_dict("records")}
    models = sorted(part["model"].unique(), key=lambda model: -cells[model, names[0]]["mean"])
    lines = [f"| model | {' | '.join(name.upper() for name in names)} |", "|---" * (len(names) + 1) + "|"]
    for model in models:
        shown = f"**{model}**" if model == inputs.subject else str(model)
        figures = [
            f"{row['mean']:.4f} [{row['low']:.4f}, {row['high']:.4f}]" for row in (cells[model, name] for name in names)
        ]
        lines.append(f"| {shown} | {' | '.join(figures)} |")
    return lines


def _cut(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    return text[:LONGEST].rpartition("\n")[0] + "\n…\n"
