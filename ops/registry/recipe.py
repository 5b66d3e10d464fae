"""How a registered version was made, read from its record alone: settings, data, code, packages."""

from __future__ import annotations

from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from ops.registry import mlflow_registry as registry
from ops.registry.zenml_registry import metadata_of
from rere.artifacts.pins import pinned_values
from rere.errors import RereError

NAMED = "named"  # of a run's recorded settings: sums of the files that they name
MODELS = "model_commits"  # and commits of models and data sets that a hub has under a branch or tag, `name@revision`
DATA = "data_commits"


class Recipe(BaseModel):
    """A version's record, as far as it is needed to make it again.

    pipeline: the one that made it
    parameters: its settings, by stage
    commits: of what the hub had under a branch or tag, by `name@revision`; its parameters have them
    data, named: file -> SHA-256 of the source's files, and of the files that settings name
    windows: the prediction rows' fingerprint
    git: the code's commit, and whether it had changes; None where it isn't on record
    packages: name -> version
    fingerprint, metric, value: the model's content, and its figure on the test rows
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    version: str
    pipeline: Literal["rere", "retrain"]
    parameters: dict[str, Any]
    commits: dict[str, str]
    data: dict[str, str]
    named: dict[str, str]
    windows: str
    git: dict[str, Any] | None
    packages: dict[str, str | None]
    fingerprint: str | None
    metric: str | None
    value: float | None

    @property
    def commit(self) -> str:
        """For people: the commit, marked where it doesn't tell all."""
        if self.git is None:
            return "not on record (the run was submitted without git)"
        return f"{self.git['commit']}{', with uncommitted changes' if self.git['dirty'] else ''}"


def recorded(
    settings: dict[str, Any], *, named: dict[str, str], data: dict[str, str], models: dict[str, str]
) -> dict[str, Any]:
    """A run's settings as they are kept with a model: by stage, and what is known of that which they name."""
    beside = {NAMED: named, DATA: data, MODELS: models}
    return settings | {key: found for key, found in beside.items() if found}


def recipe_of(name: str, version: str) -> Recipe:
    """Read a version's record.

    Raises:
        RereError: no such version, or one whose record ZenML doesn't have.
    """
    tags, known = registry.get(name, version).tags, metadata_of(name, version)
    settings = known.get("settings")
    if not isinstance(settings, dict):
        raise RereError(
            f"the settings of version {version} of {name} on record in ZenML",
            "none: it was registered by something else, or deleted there",
            "name a version that a pipeline made; `rere versions` lists all",
        )
    parameters: dict[str, Any] = {**settings}
    named, commits = parameters.pop(NAMED, {}), parameters.pop(DATA, {}) | parameters.pop(MODELS, {})
    parameters = pinned_values(parameters, commits)
    was = known.get("base")  # the champion that a retraining went on from, "" for none; None where it isn't on record
    if was is not None and parameters.get("retrain", {}).get("base") == "champion":
        base = {"type": "version", "model": name, "version": was} if was else "none"
        parameters["retrain"] = {**parameters["retrain"], "base": base}
    provenance: Any = known.get("provenance") or {}
    return Recipe.model_validate(
        {
            "model": name,
            "version": version,
            "pipeline": "retrain" if "retrain" in parameters else "rere",
            "parameters": parameters,
            "commits": commits,
            "data": known.get("data") or {},
            "named": named,
            "windows": known.get("windows") or "",
            "git": provenance.get("git"),
            "packages": provenance.get("packages") or {},
            "fingerprint": tags.fingerprint,
            "metric": tags.metric,
            "value": tags.value,
        }
    )


def run_configuration(recipe: Recipe) -> str:
    """The recipe as a run configuration; what no setting can say stands above it as comments."""
    sums = {**recipe.data, **recipe.named}
    head = [
        f"Version {recipe.version} of {recipe.model}, as its record has it. `rere reproduce {recipe.version}"
        f"{'' if recipe.model == 'rere' else f' --model {recipe.model}'}` runs and compares it; by hand:",
        f"rere run --pipeline {recipe.pipeline} -c THIS_FILE",
        f"code: commit {recipe.commit}",
        f"packages: {', '.join(f'{name} {version}' for name, version in recipe.packages.items() if version)}",
        *(f"on the hub: {name} was {commit}" for name, commit in sorted(recipe.commits.items())),
        "files, SHA-256:" if sums else "files: none on record",
        *(f"  {digest}  {name}" for name, digest in sorted(sums.items())),
    ]
    said = "".join(f"# {line}\n" for line in head)
    return said + yaml.safe_dump({"parameters": recipe.parameters}, sort_keys=False, width=110, allow_unicode=True)
