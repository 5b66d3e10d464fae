"""What the documentation shows as code: fenced blocks, and commands within sentences."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+)(?P<language>[\w-]*)$")
MARK = re.compile(r"<!-- unchecked: (?P<reason>.+) -->")  # on the line before a block: the only way out
INLINE = re.compile(r"`((?:make|rere|zenml|mlflow|python -m) [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, its language ("" for a picture), its text, and why it isn't checked ("": it is)."""

    page: Path
    line: int
    language: str
    text: str
    unchecked: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path, text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order.

    Raises:
        ValueError: a fence that nothing closes.
    """
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        opened = FENCE.match(lines[number])
        if not opened:
            number += 1
            continue
        end = number + 1
        while end < len(lines) and lines[end].strip() != opened["fence"]:
            end += 1
        if end == len(lines):
            raise ValueError(f"{page}:{number + 1}: a fence that nothing closes")
        mark = MARK.search(lines[number - 1]) if number else None
        inside = textwrap.dedent("\n".join(lines[number + 1 : end])) + "\n"
        yield Block(page, number + 1, opened["language"], inside, mark["reason"] if mark else "")
        number = end + 1


def all_blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks_of(page, page.read_text(encoding="utf-8"))]


def commands(text: str) -> list[list[str]]:
    """The words of each command of a shell script, without comments, variables set before it, and redirections.

    Raises:
        ValueError: quotes that nothing closes.
    """
    found: list[list[str]] = [[]]
    pending = ""
    for line in text.splitlines():
        pending += line
        if pending.endswith("\\"):
            pending = pending[:-1]
            continue
        lexer = shlex.shlex(pending, posix=True, punctuation_chars="();|&<>")
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:
            pending += "\n"  # the quotes close on a later line
            continue
        pending = ""
        for word in words:
            if set(word) <= set("();|&<>"):
                found.append([])
            elif found[-1] or not re.match(r"^[A-Za-z_]\w*=", word):
                found[-1].append(word)
        found.append([])
    if pending:
        raise ValueError(f"quotes that nothing closes: {pending}")
    return [words for words in found if words]


def inline_commands() -> list[tuple[str, list[str]]]:
    """(where, words) of the commands within sentences."""
    found: list[tuple[str, list[str]]] = []
    for page in PAGES:
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
            for command in INLINE.findall(line):
                found.extend((f"{page.relative_to(ROOT)}:{number}", words) for words in commands(command))
    return found
