"""Delimited text: no row is lost without a word, and what can be read in two ways is refused with a setting."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pydantic import ValidationError

from rere.config.data import TableFormat
from rere.data import blocks
from rere.data.sources.base import load_source
from rere.data.sources.tables import Tables
from rere.data.tables import Wanted, read_parts
from rere.errors import RereError

EVENTS = "user_id\titem_id\tnote\ttimestamp\n" + "".join(f"u{n}\ti{n % 3}\tfine\t{10**9 + n}\n" for n in range(240))


def read(path: Path, columns: tuple[str, ...] = ("id", "title"), **format: Any) -> dict[str, list[str]]:
    wanted = Wanted("items", list(columns), "", format=TableFormat(**format), setting="items_format")
    frame = pd.concat([part.frame for part in read_parts(path, wanted)])
    return {str(name): values.tolist() for name, values in frame.items()}


def write(folder: Path, text: str, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


@pytest.fixture(params=[blocks.BLOCK_BYTES, 16], ids=["whole", "small blocks"])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", request.param)


pytestmark = pytest.mark.usefixtures("_blocks")


# ---------------------------------------------------------------- quotes


@pytest.mark.parametrize("note", ['"', '"odd', '"a" b'])
def test_a_stray_quote_swallows_no_rows(tmp_path: Path, note: str) -> None:
    lines = EVENTS.split("\n")
    for row in (61, 121):  # two of them, which Arrow alone would take for one field of sixty rows
        lines[row] = lines[row].replace("fine", note)
    path = write(tmp_path, "\n".join(lines), "e.tsv")
    columns = ("user_id", "item_id", "timestamp")
    with pytest.raises(RereError, match=r"line 62: .*items_format: \{quotes: characters\}"):
        read(path, columns)
    found = read(path, columns, quotes="characters")
    assert found["user_id"] == [f"u{n}" for n in range(240)]
    assert read(path, ("note",), quotes="characters")["note"][60] == note


def test_quotes_in_place_and_quotes_within(tmp_path: Path) -> None:
    path = write(tmp_path, 'id,title\n1,"Trip, The"\n"2","Say ""Hi"""\n3,55" TV\n4,""\n5,\n"6","C:\\"\n')
    expected = ["Trip, The", 'Say "Hi"', '55" TV', "", "", "C:\\"]
    assert read(path) == {"id": ["1", "2", "3", "4", "5", "6"], "title": expected}


def test_backslash_escapes(tmp_path: Path) -> None:
    path = write(tmp_path, 'id,title\n1,"Rock \\"n\\" Roll, live"\n2,a\\,b\n3,"c\\\\"\n')
    with pytest.raises(RereError, match=r"line 2: .*escape: backslash"):
        read(path)
    assert read(path, escape="backslash")["title"] == ['Rock "n" Roll, live', "a,b", "c\\"]
    path = write(tmp_path, "id,title\n1,cut\\\n2,x\n", "cut.csv")
    with pytest.raises(RereError, match=r"line 2: '1,cut"):  # the line break would be taken for text
        read(path, escape="backslash")
    assert read(path)["title"] == ["cut\\", "x"]


def test_lines_within_quotes_are_asked_for(tmp_path: Path) -> None:
    text = 'id,title\r\n1,"one\n\nline"\r\n\r\n2,"a ""b""\r\n"\r\n3,c\r\n'
    path = write(tmp_path, text)
    with pytest.raises(RereError, match=r"line 2: '1,\"one'.*quotes: several_lines"):
        read(path)
    assert read(path, quotes="several_lines") == {"id": ["1", "2", "3"], "title": ["one\n\nline", 'a "b"\r\n', "c"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('id,title\n1,a\n2,5" b\n', "line 3: '2,5\" b'"),
        ('id,title\n1,a\n2,"b" c\n3,d\n', "line 3: "),
        ('id,title\n1,a\n2,"b\n3,d\n', "line 3: 'a quote that is never closed'"),
        ('id,title\n1,a\n2,"b', "line 3: 'a quote that is never closed'"),
    ],
)
def test_several_lines_is_strict(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RereError, match=said):
        read(write(tmp_path, text), quotes="several_lines")


# ---------------------------------------------------------------- delimiters, headers, encodings


@pytest.mark.parametrize(("mark", "name"), [(";", "a semicolon"), ("\t", "a tab"), ("|", "a bar"), ("::", "::")])
def test_another_delimiter_is_named_and_offered(tmp_path: Path, mark: str, name: str) -> None:
    path = write(
        tmp_path, "id,title\n1,A\n2,B, C\n".replace(",", mark, 1).replace(",", mark, 1).replace("2,", "2" + mark)
    )
    shown = mark.replace("|", r"\|").replace("\t", r"\\t")
    with pytest.raises(
        RereError, match=rf"separated by {name.replace('|', '.')}.*items_format: .delimiter: \"{shown}\""
    ):
        read(path)
    assert read(path, delimiter=mark) == {"id": ["1", "2"], "title": ["A", "B, C"]}


def test_files_like_those_of_movielens_1m(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_bytes(b"1::12::5::978300760\n2::7::3::978302109\n")
    (tmp_path / "movies.dat").write_bytes(
        '7::"Great" Café (1995)::Drama\n12::B: The Movie::Comedy|Drama\n'.encode("latin-1")
    )
    titles: dict[str, Any] = {"delimiter": "::", "columns": ("movie", "title", "genres"), "encoding": "latin-1"}
    given: dict[str, Any] = {
        "interactions": tmp_path / "ratings.dat",
        "items": tmp_path / "movies.dat",
        "interactions_format": TableFormat(delimiter="::", columns=("user_id", "item_id", "rating", "timestamp")),
        "items_id_column": "movie",
    }
    with pytest.raises(RereError, match=r"line 1: '7::\"Great\" Café"):
        load_source(Tables(**given, items_format=TableFormat(**titles)))
    raw = load_source(Tables(**given, items_format=TableFormat(**titles, quotes="characters")))
    assert raw.items["title"].tolist() == ['"Great" Café (1995)', "B: The Movie"]
    assert raw.interactions["timestamp"].tolist() == [978300760, 978302109]


def test_a_missing_header_is_thought_of(tmp_path: Path) -> None:
    path = write(tmp_path, "1,A\n2,B\n")
    with pytest.raises(RereError, match=r"a column 'id'.*no header line, name its columns: `items_format: .columns"):
        read(path)
    wanted = Wanted("items", ["title"], "", format=TableFormat(columns=("id", "title")))
    assert [title for part in read_parts(path, wanted) for title in part.frame["title"]] == ["A", "B"]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8-sig", "utf-8"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "id,title\r\n1,Café\r\n2,Año nuevo\r\n", encoding=encoding)
    assert read(path, encoding=encoding)["title"] == ["Café", "Año nuevo"]


def test_latin_1_and_utf_16_are_recognised(tmp_path: Path) -> None:
    path = write(tmp_path, "id,title,note\n1,A,\n2,B,é\n", encoding="latin-1")
    with pytest.raises(
        RereError, match=r"byte 0xe9 in line 3.*save it as UTF-8, or set `items_format: .encoding: latin-1"
    ):
        read(path)
    for encoding in ("utf-16", "utf-16-le"):
        with pytest.raises(RereError, match=r"items_format: .encoding: utf-16"):
            read(write(tmp_path, "id,title\n1,A\n", encoding=encoding))
    with pytest.raises(RereError, match="text in utf-16"):
        read(write(tmp_path, "id,title\n1,A\n"), encoding="utf-16")


def test_a_carriage_return_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RereError, match="a carriage return alone in line 3"):
        read(write(tmp_path, "id,title\n1,A\n2,B\rC\n"))


def test_a_column_twice(tmp_path: Path) -> None:
    path = write(tmp_path, "id,title,title,note,note\n1,A,B,x,y\n")
    with pytest.raises(RereError, match=r"one column 'title' in .*t\.csv; got 2 of that name \(columns 2 and 3\)"):
        read(path)
    assert read(path, ("id",)) == {"id": ["1"]}


@pytest.mark.parametrize(
    "given",
    [{"encoding": "utf-9"}, {"encoding": "rot13"}, {"delimiter": '"'}, {"columns": ("a", "a")}, {"header": "none"}],
)
def test_bad_formats_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TableFormat(**given)


# ---------------------------------------------------------------- compression, paths, directories


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zst"])
def test_compressed_files_whole_and_cut(tmp_path: Path, ending: str) -> None:
    text = ("id,title\n" + "".join(f"{n},Title {n * 7919 % 1000}\n" for n in range(500))).encode()
    path = tmp_path / f"t.csv{ending}"
    if ending == ".zst":
        with pa.output_stream(path, compression="zstd") as file:
            file.write(text)
    else:
        path.write_bytes({".gz": gzip, ".bz2": bz2, ".xz": lzma}[ending].compress(text))
    assert len(read(path)["id"]) == 500
    made = path.read_bytes()
    path.write_bytes(made[: len(made) // 2])
    with pytest.raises(RereError, match="readable items table in"):
        read(path)


def test_home_and_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for country in ("de", "fr"):
        (tmp_path / f"e/country={country}/x").mkdir(parents=True)
        frame = pd.DataFrame({"user_id": [1, 2], "item_id": [7, 8], "timestamp": [10**9, 10**9]})
        frame.to_parquet(tmp_path / f"e/country={country}/x/part.parquet")
    (tmp_path / "e/_SUCCESS").touch()
    write(tmp_path, "item_id,title\n7,A\n8,B\n", "i.csv")
    source = Tables(interactions="~/e", items="~/i.csv", user_column="country")
    raw = load_source(source)
    assert raw.interactions["user_id"].tolist() == ["de", "de", "fr", "fr"]
    assert [Path(name).name for name in raw.sha256] == ["part.parquet", "part.parquet", "i.csv"]
    write(tmp_path / "e", "user_id,item_id,timestamp\n", "more.csv")
    with pytest.raises(RereError, match="files of one kind in"):
        load_source(source)
    with pytest.raises(ValidationError, match="nobody_of_that_name"):
        Tables(interactions="~nobody_of_that_name/e", items="~/i.csv")
    (tmp_path / "none").mkdir()
    with pytest.raises(RereError, match=r"interactions in the directory .*no files"):
        load_source(source.model_copy(update={"interactions": tmp_path / "none"}))
