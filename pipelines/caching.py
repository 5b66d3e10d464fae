"""Print the page on caching, whose table says which edit reruns which step: `python -m pipelines.caching`."""

from __future__ import annotations

from ops.runtime.cache_keys import reachable_files
from rere.recommenders.registry import modules

# In the pipeline's order, without those that always run.
STEPS = (
    "ingest",
    "validate",  # and validate_split
    "split",
    "index_items",
    "sft",
    "item_models",
    "preference",  # where it is asked for
    "rl",
    "reasoning",  # where it is asked for
    "baselines",
    "evaluate",
    "prior",
    "report",
)
BY_NAME = {"item_models": modules()}  # modules that a step loads by name
EDITS = {
    "rere/data/tables.py": "the reader of CSV and Parquet tables",
    "rere/config/ingest.py": "settings of ingest",
    "rere/config/data.py": "what the settings of all sources share, and those of split and checks",
    "ops/validation/suites.py": "a check of the data",
    "rere/data/windows.py": "how prediction rows are cut",
    "rere/config/catalog.py": "settings of the item codes",
    "rere/config/backbone.py": "settings of the backbones",
    "rere/catalog/item_vectors.py": "item vectors of semantic IDs and of RL's semantic reward",
    "rere/catalog/warm_start.py": "how a retraining goes on from the champion's catalogue",
    "rere/config/sft.py": "settings of fine-tuning",
    "rere/training/sft/train.py": "fine-tuning",
    "rere/recommenders/sequential/caser.py": "Caser",
    "rere/recommenders/sequential/sasrec.py": "SASRec",
    "rere/config/recommenders.py": "which item models there are",
    "rere/config/preference.py": "settings of preference training",
    "rere/training/preference/losses/napo.py": "a preference loss",
    "rere/config/rl.py": "settings of RL",
    "rere/training/rl/rewards/ranking.py": "a reward",
    "rere/training/rl/losses/dapo.py": "a loss",
    "rere/config/reasoning.py": "settings of reasoning",
    "rere/decoding/beam.py": "constrained beam search",
    "rere/config/served_model.py": "settings of what is registered beside the weights",
    "rere/config/evaluation.py": "settings of the evaluation",
    "rere/evaluation/bootstrap.py": "the intervals",
    "rere/config/promotion.py": "settings of the gate, a check's description",
    "rere/evaluation/gate.py": "the gate's checks",
    "rere/reporting/templates/report.html.j2": "the report's page",
    "rere/config/retraining.py": "settings of retraining",
    "rere/serving/http/app.py": "the HTTP service",
}
PAGE = """\
# What an edit reruns

A step is served from the cache when all of this is as it was: its parameters, the *content* of its inputs, the content
of what its settings name (below), the project's files that its module reaches through imports, and the versions of the
packages that can change a result.

The steps that an edit of a file runs anew. What follows them runs anew only where their result changed: a model that
was trained again to the same weights and records counts as the same, whatever the clock said.

{table}

`sum_up_inputs` and, in a retraining, `look_up_base` always run: they read the files and ask the registry when the run
begins, so that a schedule sees what is new, and what they find is in the keys of the steps that take it. `gate`,
`review`, `promote` and `summarise` always run too: who the champion is stands in the registry, which the cache doesn't
see. An item model's file isn't in the key of `rl`, which asks one of them, the teacher: the sum of that file
travels in the teacher's record, so an edit of the teacher's file reruns `rl`, and an edit of another model's doesn't.

## What settings name

Their content, as it is when the run begins, belongs to the key, whatever the name says:

| setting | what is summed up | steps |
|---|---|---|
| `data.source`: files, directories | the files | `ingest` |
| `catalog.backbone`: `directory`, `gguf` (file or package), a `hub` id that is a local directory | all files | \
`index_items`, `sft` |
| `catalog.code.embedding`, a reward's `embedding`: a sentence-transformers directory | all files | \
`index_items`, `rl` |
| `rl.rewards`: a `custom` reward | its module, and those of yours that it imports, at any depth | `rl` |

A hub's id counts by the commit of its revision, which is asked for when the run begins (without a network: the one that
was fetched before). All steps take that commit, and `rere config` gives it. Files that a reward's code opens by itself
aren't seen. The directory that a killed training left is found again by the same key, so a changed reward never goes on
from a checkpoint of the old one.
"""


def page() -> str:
    """docs/caching.md, made of the code as it is."""
    reached = {step: reachable_files(f"steps.{step}", *BY_NAME.get(step, ())) for step in STEPS}
    lines = ["| an edit of | | reruns |", "|---|---|---|"]
    for file, what in EDITS.items():
        steps = ", ".join(f"`{step}`" for step, files in reached.items() if file in files)
        lines.append(f"| `{file}` | {what} | {steps or 'nothing that is cached'} |")
    return PAGE.format(table="\n".join(lines))


if __name__ == "__main__":
    print(page(), end="")
