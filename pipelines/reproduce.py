"""A registered version made again from its record alone, and compared."""

from __future__ import annotations

import importlib.metadata
import math
from pathlib import Path
from typing import Any, Literal

import mlflow
from pydantic import BaseModel, ConfigDict
from zenml.client import Client

from ops.registry.recipe import Recipe, recipe_of, run_configuration
from ops.registry.stages import Promoted
from ops.runtime.named import named_sums
from ops.runtime.runs import COMPLETED, wait
from pipelines.checked import CheckedPipeline, parameters_model, settings_of
from pipelines.rere import rere_pipeline
from pipelines.retrain import retrain_pipeline
from rere.artifacts.manifest import sha256, writing
from rere.artifacts.pins import unpinned
from rere.artifacts.provenance import code_state
from rere.config.reading import validated
from rere.data.sources.base import as_source
from rere.errors import RereError
from rere.project import file_name, in_project, project_root

PIPELINES: dict[str, CheckedPipeline] = {"rere": rere_pipeline, "retrain": retrain_pipeline}
SUFFIX = "-reproduced"  # of the model that reproductions are registered as: nothing serves it
DIGITS = 4  # to which figures are on record


class Reproduction(BaseModel):
    """What came out.

    result: identical: the same weights, tokenizer, catalogue and serving settings; same figure: other weights (another
    machine rounds differently) that rank as well; different: neither
    before, after: the gate's metric on the test rows
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    version: str
    registered_as: str
    again: str
    run: str
    result: Literal["identical", "same figure", "different"]
    metric: str
    before: float | None
    after: float
    rows: Literal["the same", "others"]
    warnings: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """For people."""
        before = "-" if self.before is None else f"{self.before:.{DIGITS}f}"
        said = {
            "identical": "the very same model",
            "same figure": "other weights that score the same",
            "different": "a different model",
        }[self.result]
        return f"{said}; {self.metric} {before} then, {self.after:.{DIGITS}f} now, on {self.rows} test rows."


def not_reproducible(recipe: Recipe) -> list[str]:
    """What may keep this machine from making the same again, a sentence each."""
    said = []
    here = code_state()
    if recipe.git is None or recipe.git["dirty"]:
        said.append(f"The code that made it can't be told: its commit is {recipe.commit}.")
    elif here is not None and here["commit"] != recipe.git["commit"]:
        said.append(f"It was made by commit {recipe.git['commit']}, and the code here is {here['commit']}.")
    others = [
        f"{name} {version} (here {_installed(name)})"
        for name, version in recipe.packages.items()
        if version != _installed(name)
    ]
    if others:
        said.append(f"It was made with other packages: {', '.join(others)}.")
    if recipe.parameters.get("retrain", {}).get("base") == "champion":
        said.append("Which champion it went on from isn't on record: it goes on from none.")
    if moving := unpinned(*_settings(recipe).values()):
        said.append(f"Not pinned to a commit, and may be another today: {', '.join(moving)}.")
    return said


def reproduce(name: str, version: str, timeout: float = 6 * 3600) -> Reproduction:
    """Run a version's recipe without the cache, wait for the run, and compare.

    Raises:
        RereError: no record, data or named files that aren't those on record, a run that failed.
    """
    recipe = recipe_of(name, version)
    with in_project():
        require_same_files(recipe)
        warnings = not_reproducible(recipe)
        registered_as = f"{name}{SUFFIX}"
        own = {**recipe.parameters.get("promotion", {}), "model_name": registered_as, "decided_by": "review"}
        again = recipe.model_copy(update={"parameters": {**recipe.parameters, "promotion": own}})
        config = project_root() / ".rere" / "reproduce" / f"{file_name(f'{name}-{version}')}.yaml"
        with writing(config.parent):
            config.parent.mkdir(parents=True, exist_ok=True)
            config.write_text(run_configuration(again), encoding="utf-8")
        pipeline = PIPELINES[recipe.pipeline]
        settings_of(pipeline, config)
        tracking = mlflow.get_tracking_uri()
        run = pipeline.with_options(config_path=str(config), enable_cache=False)()
        mlflow.set_tracking_uri(tracking)  # a local run forgets it
        if run is None or wait(str(run.id), timeout, 5) != COMPLETED:
            raise RereError("a run that completes", f"{run.name if run else 'none'}, which didn't", "see its log")
        ended = Client().get_pipeline_run(run.id)
        return compared(recipe, ended.steps["promote"].outputs["promotion"][0].load(), ended.name, warnings)


def compared(recipe: Recipe, again: Promoted, run: str, warnings: list[str]) -> Reproduction:
    """The version on record beside what came out of its recipe."""
    same = recipe.value is not None and math.isclose(recipe.value, again.value, abs_tol=0.6 * 10**-DIGITS)
    result = "identical" if again.content == recipe.fingerprint else "same figure" if same else "different"
    return Reproduction.model_validate(
        {
            "model": recipe.model,
            "version": recipe.version,
            "registered_as": again.model,
            "again": again.version,
            "run": run,
            "result": result,
            "metric": again.metric,
            "before": recipe.value,
            "after": round(again.value, DIGITS),
            "rows": "the same" if again.windows == recipe.windows else "others",
            "warnings": warnings,
        }
    )


def require_same_files(recipe: Recipe) -> None:
    """RereError where the source's files, or files that settings name, aren't those on record."""
    chosen = _settings(recipe)
    source = chosen["data"].source
    known, now = set(recipe.data.values()), as_source(source).files()
    changed = [str(file) for file in now if not Path(file).is_file() or sha256(file) not in known]
    sums = named_sums(chosen["catalog"], chosen["rl"])
    changed += [file for file, digest in recipe.named.items() if sums.get(file) != digest]
    if changed:
        raise RereError(
            f"the files that version {recipe.version} was made of",
            f"others, or none, at {', '.join(changed)}",
            f"restore them; `rere config {recipe.version}` lists their SHA-256",
        )


def _settings(recipe: Recipe) -> dict[str, Any]:
    """Settings models by stage."""
    where = f"the settings on record of version {recipe.version}"
    chosen = validated(parameters_model(PIPELINES[recipe.pipeline]), recipe.parameters, where)
    return dict(chosen)


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
