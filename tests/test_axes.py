"""The axes in the shapes of tensors: one legend for the whole library."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import rere

KINDS = {"Bool", "Float", "Int", "Num", "Shaped"}


def shapes(file: Path) -> list[str]:
    """What follows the array in annotations such as `Float[Tensor, "P K"]`."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in KINDS:
            assert isinstance(node.slice, ast.Tuple)
            found.append(ast.literal_eval(node.slice.elts[1]))
    return found


def test_every_axis_of_one_letter_is_in_the_legend() -> None:
    legend = re.findall(r"^([A-Z])  \S", rere.__doc__ or "", re.M)
    assert len(set(legend)) == len(legend) > 10
    files = [*Path(rere.__file__).parent.rglob("*.py")]
    used = {axis for file in files for shape in shapes(file) for axis in re.findall(r"\b[A-Z]\b", shape)}
    assert used == set(legend)
