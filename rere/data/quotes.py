"""Quotes and escapes in delimited text: where records end, and whether each quote is where it may be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from rere.data.blocks import Block
from rere.errors import RereError

STAND_IN = b"\x1f"  # for delimiters that Arrow doesn't take: it is made for separating, and no text has it
QUOTE, NEWLINE, RETURN = b'"\n\r'


class Rule(NamedTuple):
    """A format as it applies to one file."""

    path: Path
    setting: str  # that holds the format, for messages
    encoding: str
    delimiter: bytes
    names: tuple[str, ...] | None
    quotes: str
    escape: str

    @property
    def mark(self) -> bytes:
        """What separates fields for Arrow."""
        return self.delimiter if len(self.delimiter) == 1 else STAND_IN

    def options(self) -> csv.ParseOptions:
        return csv.ParseOptions(
            delimiter=self.mark.decode(),
            quote_char=False if self.quotes == "characters" else '"',
            escape_char="\\" if self.escape == "backslash" else False,
            newlines_in_values=self.quotes == "several_lines",
        )


def closed(rule: Rule, data: bytes) -> bool:
    """Whether every quoted field that begins in `data` ends in it: the number of quotes is even."""
    return _without_escapes(rule, data).count(b'"') % 2 == 0


def line_ends(rule: Rule, data: bytes) -> np.ndarray:
    """(bytes,) bool: line breaks outside quotes."""
    characters = np.frombuffer(_without_escapes(rule, data), dtype=np.uint8)
    ends = characters == NEWLINE
    if rule.quotes == "several_lines":
        ends &= ~np.logical_xor.accumulate(characters == QUOTE)
    return ends


def ends_of_records(rule: Rule, data: bytes) -> np.ndarray:
    """Positions where the records that hold anything end."""
    ends = np.flatnonzero(line_ends(rule, data))
    ends = ends if data.endswith(b"\n") else np.append(ends, len(data))
    lengths = np.diff(ends, prepend=-1) - 1
    characters = np.frombuffer(data, dtype=np.uint8)
    only_return = (lengths == 1) & (characters[np.maximum(ends - 1, 0)] == RETURN)
    return ends[(lengths > 0) & ~only_return]


def _without_escapes(rule: Rule, data: bytes) -> bytes:
    """Escaped characters blanked out, nothing moved."""
    if rule.escape == "none" or b"\\" not in data:
        return data
    return re.sub(rb"\\[^\r]", b"  ", data, flags=re.DOTALL)


def check_quotes(rule: Rule, block: Block) -> None:
    """RereError for the first line whose quotes (or escapes) are misplaced."""
    quoted = rule.quotes != "characters" and b'"' in block.data
    escaped = rule.escape == "backslash" and b"\\" in block.data
    if rule.quotes == "several_lines" and quoted:
        _check_records(rule, block)
    elif quoted or escaped:
        _check_lines(rule, block)


def _check_lines(rule: Rule, block: Block) -> None:
    lines = pc.split_pattern(pa.array([block.data], pa.large_binary()), b"\n").flatten()
    special = pc.match_substring_regex(lines, r'["\\]' if rule.escape == "backslash" else '"')
    numbers = np.flatnonzero(special.to_numpy(zero_copy_only=False))
    lines = lines.take(pa.array(numbers))
    good = pc.match_substring_regex(lines, _line_pattern(rule)).to_numpy(zero_copy_only=False)
    if not good.all():
        bad = int(np.argmin(good))
        raise bad_quotes(rule, block.first_line + int(numbers[bad]), lines[bad].as_py())


def _line_pattern(rule: Rule) -> str:
    """A whole line of fields whose quotes are well placed."""
    mark = f"\\x{{{rule.mark[0]:02x}}}"
    slash, pair = (r"\\", r"|\\[^\r]") if rule.escape == "backslash" else ("", "")
    plain, first, inner = f"[^{slash}{mark}]", f'[^{slash}{mark}"]', f'[^{slash}"]'
    if rule.quotes == "characters":
        field = f"(?:{plain}{pair})*"
    else:
        field = f'(?:"(?:{inner}|""{pair})*"|(?:(?:{first}{pair})(?:{plain}{pair})*)?)'
    return f"(?s)^{field}(?:{mark}{field})*\\r?$"


def _check_records(rule: Rule, block: Block) -> None:
    """RFC 4180 to the letter: every second quote opens a field or doubles the one before, the others close one."""
    characters = np.frombuffer(_without_escapes(rule, block.data), dtype=np.uint8)
    quotes = np.flatnonzero(characters == QUOTE)
    framed = np.pad(characters, 1, constant_values=NEWLINE)  # framed[n] is what stands before characters[n]
    before, after = framed[quotes], framed[quotes + 2]
    bad = ~np.isin(after, [rule.mark[0], NEWLINE, RETURN, QUOTE])
    bad[::2] = ~np.isin(before, [rule.mark[0], NEWLINE, QUOTE])[::2]
    if bad.any():
        position = int(quotes[np.argmax(bad)])
        low, high = block.data.rfind(b"\n", 0, position) + 1, block.data.find(b"\n", position)
        line = block.first_line + block.data.count(b"\n", 0, position)
        raise bad_quotes(rule, line, block.data[low : high if high >= 0 else None])


def bad_quotes(rule: Rule, line: int, content: bytes | str) -> RereError:
    """The error for a line whose quotes do not fit the format; `line` counts from 1."""
    text = content if isinstance(content, str) else content.decode()
    text = text.replace(rule.mark.decode(), rule.delimiter.decode())
    remedies = [
        ("a quote is a character like any other", "quotes: characters"),
        ("quoted text goes on over several lines", "quotes: several_lines"),
        ('a backslash stands before what is meant as text (\\")', "escape: backslash"),
    ]
    if '\\"' in text and rule.escape == "none":
        remedies = remedies[::-1]
    current = (f"quotes: {rule.quotes}", f"escape: {rule.escape}")
    told = [f"`{rule.setting}: {{{value}}}` where {when}" for when, value in remedies if value not in current]
    return RereError(
        f"quotes that open and close a field in {rule.path}"
        + ("" if rule.quotes == "several_lines" else ", on one line"),
        f"line {line}: {text[:200].rstrip()!r}",
        f"repair that line, or set {', or '.join(told)}",
    )
