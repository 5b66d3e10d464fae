"""Text files as blocks of whole lines in UTF-8, whatever their compression and encoding."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa

from rere.errors import RereError

BLOCK_BYTES = 1 << 24  # of a file at a time
LINE_BYTES = 1 << 26  # a longer line is none: the file is no text
COMPRESSIONS: dict[str, Callable[[Path], Any]] = {  # to a file of the bytes within
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": partial(pa.input_stream, compression="zstd"),
}


class Block(NamedTuple):
    data: bytes  # whole lines in UTF-8
    first_line: int  # number of the first one in the file


def line_blocks(path: Path, encoding: str, setting: str, size: int | None = None) -> Iterator[Block]:
    r"""The file's lines in blocks of about `size` bytes; line breaks are \n or \r\n.

    Args:
        setting: the one that holds the file's `encoding`, for messages.

    Raises:
        RereError: bytes that are not of this encoding, lone carriage returns, a line without end.
        OSError, EOFError, zlib.error, lzma.LZMAError, pyarrow.ArrowException: an unreadable or cut file.
    """
    line = 1
    for data in _whole_lines(path, encoding, setting, size or BLOCK_BYTES):
        _check_text(data, line, path, setting)
        yield Block(data, line)
        line += data.count(b"\n")


def _whole_lines(path: Path, encoding: str, setting: str, size: int) -> Iterator[bytes]:
    rest: list[bytes] = []
    for data in _utf8(path, encoding, setting, size):
        end = data.rfind(b"\n") + 1
        if end:
            yield b"".join([*rest, data[:end]])
            rest = []
        if end < len(data):
            rest.append(data[end:])
        if sum(map(len, rest)) > LINE_BYTES:
            raise RereError(f"lines of text in {path}", f"one of more than {LINE_BYTES:,} bytes", "give a text file")
    if rest:
        yield b"".join(rest)


def _utf8(path: Path, encoding: str, setting: str, size: int) -> Iterator[bytes]:
    """The file's bytes, brought to UTF-8 where they aren't; that UTF-8 is right is checked by lines, later."""
    is_utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")
    decoder = codecs.getincrementaldecoder(encoding)()
    first = True
    with COMPRESSIONS.get(path.suffix, _plain)(path) as file:
        while data := file.read(size):
            if first and is_utf8:
                _refuse_utf16(data, path, setting)
            if not is_utf8:
                data = _decoded(decoder, data, path, encoding, setting).encode()
            yield data.removeprefix(codecs.BOM_UTF8) if first else data
            first = False
    if not is_utf8:
        yield _decoded(decoder, b"", path, encoding, setting).encode()


def _plain(path: Path) -> IO[bytes]:
    return path.open("rb")


def _decoded(decoder: Any, data: bytes, path: Path, encoding: str, setting: str) -> str:
    try:
        return str(decoder.decode(data, final=not data))
    except UnicodeError as error:
        raise RereError(
            f"text in {encoding} in {path}", str(error), f"set `{setting}: {{encoding: …}}` to the file's own"
        ) from error


def _refuse_utf16(data: bytes, path: Path, setting: str) -> None:
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if marked or 4 * data.count(b"\0", 0, 200) > len(data[:200]):
        raise RereError(
            f"text in UTF-8 in {path}",
            "what looks like UTF-16",
            f"save it as UTF-8, or set `{setting}: {{encoding: utf-16}}`",
        )


def _check_text(data: bytes, first_line: int, path: Path, setting: str) -> None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        position = error.start
        shown = data[data.rfind(b"\n", 0, position) + 1 : position + 20].decode("latin-1").split("\n")[0]
        line = first_line + data.count(b"\n", 0, position)
        raise RereError(
            f"text in UTF-8 in {path}",
            f"byte 0x{data[position]:02x} in line {line} (as Latin-1: {shown[-60:].strip()!r})",
            f"save it as UTF-8, or set `{setting}: {{encoding: latin-1}}` (or cp1252, …)",
        ) from error
    if data.count(b"\r") != data.count(b"\r\n"):
        lone = re.search(rb"\r(?!\n)", data)
        assert lone is not None
        line = first_line + data.count(b"\n", 0, lone.start())
        raise RereError(
            f"lines that end in \\n or \\r\\n in {path}",
            f"a carriage return alone in line {line}",
            "save the file with \\n line ends, or remove that character",
        )
