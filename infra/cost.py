"""A month's cost on Kubernetes, from the assumptions in `infra/cost.yaml`: `python -m infra.cost [FILE]`.

Every line is amount times price; no discounts, traffic, support or people.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

INPUTS = Path(__file__).with_name("cost.yaml")


def lines(given: dict[str, Any]) -> list[tuple[str, str, float, float]]:
    """(what, how, with GPUs on demand, with spot GPUs) of each line, in dollars a month."""
    price, amount, hours = given["prices"], given["amounts"], given["hours"]
    gpu_hours = given["runs"] * given["gpu_hours"]
    spot_hours = gpu_hours * (1 + given["repeated"])

    def same(what: str, count: float, unit: str, each: float) -> tuple[str, str, float, float]:
        return what, f"{count:g} {unit} × {each:g}", count * each, count * each

    return [
        (
            "GPU nodes, training and evaluation",
            f"{gpu_hours:g} h × {price['gpu_on_demand']:g}; spot: {spot_hours:g} h × {price['gpu_spot']:g}",
            gpu_hours * price["gpu_on_demand"],
            spot_hours * price["gpu_spot"],
        ),
        same("CPU nodes, other steps", given["runs"] * given["cpu_hours"], "h", price["cpu_node"]),
        same("Nodes of the platform", amount["platform_nodes"] * hours, "h", price["cpu_node"]),
        same("Nodes of the service", amount["serving_nodes"] * hours, "h", price["cpu_node"]),
        same("Kubernetes control plane", hours, "h", price["control_plane"]),
        same("Load balancer", hours, "h", price["load_balancer"]),
        same("PostgreSQL", hours, "h", price["database"]),
        *(
            same(kind.replace("_", " ").capitalize(), amount[kind], "GB", price[kind])
            for kind in ("block_storage", "shared_storage", "object_storage")
        ),
    ]


def table(given: dict[str, Any]) -> str:
    """The estimate as a Markdown table."""
    rows = lines(given)
    text = ["| | amount × price, US dollars | on demand | spot |", "|---|---|---|---|"]
    text += [f"| {what} | {how} | {usual:.0f} | {spot:.0f} |" for what, how, usual, spot in rows]
    total = [sum(row[column] for row in rows) for column in (2, 3)]  # type: ignore[misc]
    return "\n".join([*text, f"| **A month** | | **{total[0]:.0f}** | **{total[1]:.0f}** |"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=INPUTS, help="inputs (default: infra/cost.yaml)")
    print(table(yaml.safe_load(parser.parse_args().file.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
