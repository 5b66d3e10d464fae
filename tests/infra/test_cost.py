"""The estimate: its arithmetic by hand, and the page shows what the inputs give."""

from __future__ import annotations

import copy

import pytest
import yaml

from infra.cost import INPUTS, lines, table
from tests.infra.chart import ROOT

GIVEN = yaml.safe_load(INPUTS.read_text(encoding="utf-8"))


def test_the_page_shows_what_the_inputs_give() -> None:
    page = (ROOT / "docs" / "cost.md").read_text(encoding="utf-8")
    assert table(GIVEN) in page, "put the output of `python -m infra.cost` into docs/cost.md"
    assert "not a measurement" in page


def test_gpu_hours_by_hand() -> None:
    given = copy.deepcopy(GIVEN) | {"runs": 10, "gpu_hours": 2.0, "repeated": 0.5}
    given["prices"] |= {"gpu_on_demand": 3.0, "gpu_spot": 1.0}
    _, _, on_demand, spot = lines(given)[0]
    assert on_demand == pytest.approx(60)  # 10 × 2 h × 3
    assert spot == pytest.approx(30)  # 10 × 2 h × 1.5 × 1
