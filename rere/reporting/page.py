"""What the report's and the review's page have in common."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rere.reporting.carried_over import gains_plot, remark
from rere.reporting.flat import flat
from rere.reporting.plots import curve_plot

SFT_CURVES = {"train_loss": "training", "valid_loss": "validation"}
PREFERENCE_PLOTS = {  # metric -> heading, label of the y axis
    "preferred": ("Preference: the target above its negatives", "share of prompts"),
    "margin": ("Preference: margin", "mean margin over the best negative (nats times beta)"),
    "valid_ndcg@10": ("Preference: validation", "NDCG@10"),
}
RL_PLOTS = {  # metric -> heading, label of the y axis
    "reward": ("RL: reward", "mean reward per candidate"),
    "groups_with_hit": ("RL: groups with a hit", "share of groups"),
    "kl": ("RL: distance from the reference", "KL (nats per token)"),
    "diversity": ("RL: diversity", "distinct items per candidate"),
    "valid_ndcg@10": ("RL: validation", "NDCG@10"),
}
STAGE_PLOTS = {"preference": PREFERENCE_PLOTS, "rl": RL_PLOTS}
SPOKEN = {"preference": "Preference training", "rl": "RL"}  # stage -> its name in a sentence


def environment() -> Environment:
    """Where the pages' templates are; what is put into them is escaped."""
    return Environment(
        loader=PackageLoader("rere.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def sureness(gain: Mapping[Hashable, Any]) -> str:
    """Whether a difference's interval excludes zero: "up", "down", or "open"."""
    return "up" if gain["low"] > 0 else "down" if gain["high"] < 0 else "open"


def lineage_sections(lineage: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Section -> (dotted name, value) pairs."""
    sections = _sections(lineage).items()
    return {section: [(name, _text(leaf)) for name, leaf in flat(value)] for section, value in sections}


def training_plots(curves: Mapping[str, list[dict[str, float]]]) -> list[tuple[str, Markup]]:
    """(heading, SVG) of what the stages ("sft", "preference", "rl") recorded."""
    plots = [("SFT: loss", curve_plot(curves.get("sft", []), SFT_CURVES, "loss (nats per token)"))]
    for stage, own in STAGE_PLOTS.items():
        records = curves.get(stage, [])
        for name, (heading, label) in own.items():
            plots.append((heading, curve_plot(records, {name: heading}, label)))
        plots.append((f"{SPOKEN[stage]}: what carries over", gains_plot(records)))
    return drawn(plots)


def training_remarks(curves: Mapping[str, list[dict[str, float]]]) -> list[str]:
    """What the stages' probes say, in words."""
    found = [remark(curves.get(stage, []), SPOKEN[stage]) for stage in STAGE_PLOTS]
    return [said for said in found if said]


def drawn(plots: list[tuple[str, str | None]]) -> list[tuple[str, Markup]]:
    """Those plots that there are, for a page."""
    return [(heading, Markup(svg)) for heading, svg in plots if svg]


def _sections(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """Top-level mappings are sections of their own; single facts come first, together."""
    single = {name: value for name, value in lineage.items() if not isinstance(value, Mapping)}
    nested = {name: value for name, value in lineage.items() if isinstance(value, Mapping) and value}
    return ({"run": single} if single else {}) | nested


def _text(value: Any) -> str:
    """A value as the page shows it."""
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return "none" if value is None or value == "" else str(value)
