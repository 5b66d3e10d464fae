"""The measurement as a page of the docs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def markdown(found: dict[str, Any]) -> str:
    """Tables of what was measured, and what wasn't with the reason."""
    from benchmarks.gpu.parts import PARTS

    machine = found.get("machine", "no machine answered")
    versions = ", ".join(f"{name} {version}" for name, version in found.get("versions", {}).items() if version)
    lines = [f"Measured on **{machine}** ({versions}) by `make gpu`."]
    if found["asked_device"] == "cpu":
        lines.append("This is a rehearsal on a CPU: it says nothing about a GPU.")
    for name, own in found["parts"].items():
        part = PARTS[name]
        lines += ["", f"### {part.title}", ""]
        if own["state"] not in ("done", "started"):
            why = " ".join(own["why"].split())
            lines += [f"{own['state'].capitalize()}: {why}." + (" So far:" if own["rows"] else ""), ""]
        if own["rows"]:
            lines += table(own["rows"], part.columns)
    return "\n".join(lines).rstrip() + "\n"


def table(rows: list[dict[str, Any]], columns: dict[str, str]) -> list[str]:
    shown = [[cell(row, key) for key in columns.values()] for row in rows]
    kept = [n for n in range(len(columns)) if any(line[n] for line in shown)]
    titles = list(columns)
    head = [titles[n] for n in kept]
    return [_line(head), _line(["---"] * len(kept)), *(_line([line[n] for n in kept]) for line in shown)]


def cell(row: dict[str, Any], key: str) -> str:
    value: Any = row
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return " ".join(str(value).replace("_", " ").replace("|", "/").split())


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def put(page: Path, text: str) -> None:
    """Between the page's marks, or as the whole page where it has none."""
    page.parent.mkdir(parents=True, exist_ok=True)
    whole = page.read_text(encoding="utf-8") if page.exists() else ""
    if BEGIN in whole and END in whole:
        before, rest = whole.split(BEGIN, 1)
        text = f"{before}{BEGIN}\n\n{text}\n{END}{rest.split(END, 1)[1]}"
    page.write_text(text, encoding="utf-8")
