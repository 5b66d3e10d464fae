"""Delimited text (CSV, TSV, ...), read by one strict rule: what could be read in two ways is refused.

A row is a line, and a line that is not empty is a row (with `quotes: several_lines`, a record of RFC 4180). A field
that starts with a quote ends with one, and quotes within are doubled; a quote further inside a field is a character.
Arrow alone would take a stray quote for the opening of a field that ends at the next quote, rows later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from rere.config.data import TableFormat
from rere.data.blocks import LINE_BYTES, Block, line_blocks
from rere.data.columns import require_columns
from rere.errors import RereError

COMMON = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar", "::": "::"}
STAND_IN = b"\x1f"  # for delimiters that Arrow doesn't take: it is made for separating, and no text has it
HEADER_BYTES = 1 << 16
QUOTE, NEWLINE, RETURN, BACKSLASH = b'"\n\r\\'


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
        """What separates fields once `Rule.prepared`."""
        return self.delimiter if len(self.delimiter) == 1 else STAND_IN

    def options(self) -> csv.ParseOptions:
        return csv.ParseOptions(
            delimiter=self.mark.decode(),
            quote_char=False if self.quotes == "characters" else '"',
            escape_char="\\" if self.escape == "backslash" else False,
            newlines_in_values=self.quotes == "several_lines",
        )


def rule_of(path: Path, format: TableFormat, default: str, setting: str) -> Rule:
    delimiter = (format.delimiter or default).encode()
    return Rule(path, setting, format.encoding, delimiter, format.columns, format.quotes, format.escape)


def column_names(rule: Rule) -> list[str]:
    """Those of the header line or of the settings."""
    if rule.names is not None:
        return list(rule.names)
    header, rest = _header(_prepared(rule, next(_blocks(rule, HEADER_BYTES), Block(b"", 1))))
    if not header:
        raise RereError(f"a header line in {rule.path}", "an empty file", "give a file with rows")
    _check_quotes(rule, Block(header, rest.first_line - 1))
    with csv.open_csv(pa.BufferReader(header), parse_options=rule.options()) as reader:
        return list(reader.schema.names)


def require_text_columns(rule: Rule, there: list[str], columns: list[str], remedy: str) -> None:
    """`require_columns`; where another delimiter would give the columns, the message says so."""
    if not set(columns) <= set(there):
        line = rule.mark.decode().join(there)
        for mark, name in COMMON.items():
            fields = {field.strip().strip('"') for field in line.split(mark)}
            if mark.encode() != rule.delimiter and set(columns) <= fields:
                raise RereError(
                    f"columns separated by {COMMON.get(rule.delimiter.decode(), repr(rule.delimiter.decode()))} "
                    f"in {rule.path}",
                    f"columns separated by {name}: {line[:200]!r}",
                    f"set `{rule.setting}: {{delimiter: {_yaml(mark)}}}`",
                )
        if not set(columns) & set(there) and rule.names is None:
            remedy += f"; if the file has no header line, name its columns: `{rule.setting}: {{columns: [...]}}`"
    require_columns(there, columns, str(rule.path), remedy)


def text_parts(rule: Rule, columns: list[str]) -> Iterator[tuple[pd.DataFrame, int]]:
    """The columns as text, with the number of each part's first line; no text stands for a missing value.

    Raises:
        RereError: a line that can be read in two ways or in none, by its number.
    """
    names = column_names(rule)
    header_due = rule.names is None
    for block in _blocks(rule):
        block = _prepared(rule, block)
        if header_due:
            header, block = _header(block)
            header_due = not header
        if not block.data:
            continue
        _check_quotes(rule, block)
        frame = _parsed(rule, block, names, columns)
        yield frame, block.first_line


def _parsed(rule: Rule, block: Block, names: list[str], columns: list[str]) -> pd.DataFrame:
    odd: list[csv.InvalidRow] = []
    options = rule.options()

    def stop(row: csv.InvalidRow) -> str:
        odd.append(row)
        return "error"

    options.invalid_row_handler = stop
    try:
        table = csv.read_csv(
            pa.BufferReader(block.data),
            csv.ReadOptions(use_threads=False, block_size=len(block.data) + 1, column_names=names),
            options,
            csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()), include_columns=columns, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        if not odd:
            raise
        shown = odd[0].text.replace(rule.mark.decode(), rule.delimiter.decode())
        raise RereError(
            f"{odd[0].expected_columns} fields in every line of {rule.path}",
            f"{odd[0].actual_columns} in line {_line(rule, block, odd[0].number)}: {shown[:200]!r}",
            f"repair that line, or set `delimiter`, `quotes` or `escape` in `{rule.setting}`",
        ) from None
    rows = len(_record_ends(rule, block.data))
    if table.num_rows != rows:
        raise RereError(
            f"{rows:,} rows from line {block.first_line:,} of {rule.path} on, as many as there are lines with text",
            f"{table.num_rows:,}",
            f"set `quotes` and `escape` in `{rule.setting}` to what the file has",
        )
    return table.to_pandas().astype("str")


# ---------------------------------------------------------------- blocks of whole records


def _blocks(rule: Rule, size: int | None = None) -> Iterator[Block]:
    blocks = line_blocks(rule.path, rule.encoding, rule.setting, size)
    return _whole_records(rule, blocks) if rule.quotes == "several_lines" else blocks


def _whole_records(rule: Rule, blocks: Iterator[Block]) -> Iterator[Block]:
    """Blocks cut where no quote is open."""
    rest, line = b"", 1
    for block in blocks:
        data = rest + block.data
        ends = np.flatnonzero(_ends(rule, data))
        cut = int(ends[-1]) + 1 if len(ends) else 0
        if cut:
            yield Block(data[:cut], line)
            line += data.count(b"\n", 0, cut)
        rest = data[cut:]
        if len(rest) > LINE_BYTES:
            break
    last = _prepared(rule, Block(rest, line))
    if not _closed(rule, last.data):
        _check_quotes(rule, last)  # which may know better where it went wrong
        raise _bad_quotes(rule, line + last.data.count(b"\n", 0, last.data.rfind(b'"')), "a quote that is never closed")
    if rest:
        yield Block(rest, line)


def _closed(rule: Rule, data: bytes) -> bool:
    return _without_escapes(rule, data).count(b'"') % 2 == 0


def _ends(rule: Rule, data: bytes) -> np.ndarray:
    """(bytes,) bool: line breaks outside quotes."""
    characters = np.frombuffer(_without_escapes(rule, data), dtype=np.uint8)
    ends = characters == NEWLINE
    if rule.quotes == "several_lines":
        ends &= ~np.logical_xor.accumulate(characters == QUOTE)
    return ends


def _record_ends(rule: Rule, data: bytes) -> np.ndarray:
    """Places where the records end that hold anything."""
    ends = np.flatnonzero(_ends(rule, data))
    ends = ends if data.endswith(b"\n") else np.append(ends, len(data))
    lengths = np.diff(ends, prepend=-1) - 1
    characters = np.frombuffer(data, dtype=np.uint8)
    only_return = (lengths == 1) & (characters[np.maximum(ends - 1, 0)] == RETURN)
    return ends[(lengths > 0) & ~only_return]


def _line(rule: Rule, block: Block, record: int) -> int:
    """Number of the line where a record (from 1) ends."""
    return block.first_line + block.data.count(b"\n", 0, int(_record_ends(rule, block.data)[record - 1]))


def _header(block: Block) -> tuple[bytes, Block]:
    """The first line that holds anything, and what comes after it."""
    found = re.match(rb"(?:\r?\n)*([^\n]+(?:\n|\Z))", block.data)
    if found is None or not found[1].strip(b"\r\n"):
        return b"", Block(b"", block.first_line)
    return found[1], Block(block.data[found.end() :], block.first_line + found[0].count(b"\n"))


def _prepared(rule: Rule, block: Block) -> Block:
    """With a delimiter that Arrow takes."""
    if rule.mark == rule.delimiter:
        return block
    if STAND_IN in block.data:
        line = block.first_line + block.data.count(b"\n", 0, block.data.index(STAND_IN))
        raise RereError(f"text in {rule.path}", f"a control character (0x1f) in line {line}", "remove it")
    return block._replace(data=block.data.replace(rule.delimiter, STAND_IN))


# ---------------------------------------------------------------- quotes


def _without_escapes(rule: Rule, data: bytes) -> bytes:
    """Escaped characters blanked out, nothing moved."""
    if rule.escape == "none" or b"\\" not in data:
        return data
    return re.sub(rb"\\[^\r]", b"  ", data, flags=re.DOTALL)


def _check_quotes(rule: Rule, block: Block) -> None:
    """RereError for the first line whose quotes (or escapes) are not in place."""
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
        raise _bad_quotes(rule, block.first_line + int(numbers[bad]), lines[bad].as_py())


def _line_pattern(rule: Rule) -> str:
    """A whole line of fields whose quotes are in place."""
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
    framed = np.concatenate([[NEWLINE], characters, [NEWLINE]])  # framed[n] is what stands before characters[n]
    before, after = framed[quotes], framed[quotes + 2]
    bad = ~np.isin(after, [rule.mark[0], NEWLINE, RETURN, QUOTE])
    bad[::2] = ~np.isin(before, [rule.mark[0], NEWLINE, QUOTE])[::2]
    if bad.any():
        place = int(quotes[np.argmax(bad)])
        low, high = block.data.rfind(b"\n", 0, place) + 1, block.data.find(b"\n", place)
        line = block.first_line + block.data.count(b"\n", 0, place)
        raise _bad_quotes(rule, line, block.data[low : high if high >= 0 else None])


def _bad_quotes(rule: Rule, line: int, content: bytes | str) -> RereError:
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


def _yaml(mark: str) -> str:
    return '"\\t"' if mark == "\t" else f'"{mark}"'
