"""The shared log of changes: nobody's change is lost, whatever ends, fills up or is written at the same time."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from rere.errors import RereError
from rere.serving.edits_log import Change, EditsLog, read_edits
from rere.serving.live_catalog import CatalogEdits


def write(log: EditsLog, change: Change) -> str:
    with log.alone():
        log.append(change)
    return log.problem


def test_of_two_services_neither_forgets_the_others_changes(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "edits.json"
    one, two = EditsLog(path), EditsLog(path)
    assert write(one, Change.now({"a": "Ä ☂"}, removed=["x"])) == ""
    assert write(two, Change.now({"b": "B"}, removed=["y"])) == ""
    assert write(one, Change.now({"a": "another title", "c": "C"}, restored=["x"], removed=["z"])) == ""
    wanted = CatalogEdits({"a": "Ä ☂", "b": "B", "c": "C"}, frozenset({"y", "z"}))
    assert one.edits == wanted
    two.refresh()
    assert two.edits == wanted
    assert read_edits(path) == wanted


def test_many_at_once(tmp_path: Path) -> None:
    path = tmp_path / "edits.json"

    def work(service: int) -> None:
        log = EditsLog(path)
        for n in range(20):
            assert write(log, Change.now(removed=[f"{service}-{n}"])) == ""

    threads = [threading.Thread(target=work, args=(service,)) for service in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_edits(path).removed == {f"{service}-{n}" for service in range(4) for n in range(20)}


def test_what_a_crash_left_of_a_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "edits.json"
    write(EditsLog(path), Change.now(removed=["x"]))
    with path.open("ab") as file:
        file.write(b'{"removed": ["half')
    assert read_edits(path).removed == {"x"}
    assert write(EditsLog(path), Change.now(removed=["y"])) == ""
    assert read_edits(path).removed == {"x", "y"}
    assert [json.loads(line)["removed"] for line in path.read_text().splitlines()] == [["x"], ["y"]]


def test_what_cannot_be_written_holds_in_memory_and_is_written_later(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.write_text("in the way: nothing can be written below it")
    log = EditsLog(volume / "edits.json")
    assert write(log, Change.now(removed=["x"]))
    assert log.edits.removed == {"x"}
    assert write(log, Change.now(removed=["y"]))
    volume.unlink()
    with log.alone():
        log.append()
    assert log.problem == ""
    assert read_edits(volume / "edits.json").removed == {"x", "y"}


def test_what_waits_to_be_written_is_one_line_however_often_it_was_asked(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.write_text("in the way: nothing can be written below it")
    log = EditsLog(volume / "edits.json")
    for n in range(20):
        write(log, Change.now({"a": f"A {n}"}, removed=["x", "y"]))
        write(log, Change.now(restored=["y"]))
    wanted = CatalogEdits({"a": "A 0"}, frozenset({"x"}))
    assert log.edits == wanted
    volume.unlink()
    with log.alone():
        log.append()
    assert read_edits(volume / "edits.json") == log.edits == wanted
    assert len((volume / "edits.json").read_text().splitlines()) == 1


def test_a_log_of_a_year_is_read_in_seconds(tmp_path: Path) -> None:
    path = tmp_path / "edits.json"
    lines = (Change.now({f"n{n}": "N"}, removed=[f"i{n}"]) for n in range(30_000))
    path.write_text("".join(line.model_dump_json(exclude_defaults=True) + "\n" for line in lines))
    began = time.monotonic()
    assert len(read_edits(path).removed) == 30_000
    assert time.monotonic() - began < 10  # over a minute, where each line copies all before it


def test_added_items_have_one_order_before_and_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "edits.json"
    log = EditsLog(path)
    for item in ("b", "c", "a"):
        write(log, Change.now({item: "The same title"}))
    assert [*log.edits.added] == [*read_edits(path).added] == ["b", "c", "a"]


def test_a_file_that_vanishes_takes_no_removal_with_it(tmp_path: Path) -> None:
    path = tmp_path / "edits.json"
    log = EditsLog(path)
    write(log, Change.now({"a": "A"}, removed=["x"]))
    path.unlink()
    log.refresh()
    assert log.edits == CatalogEdits({"a": "A"}, frozenset({"x"}))
    assert "removed or replaced" in log.problem
    write(EditsLog(path), Change.now(removed=["y"]))  # another service, which began afresh
    with log.alone():
        log.append()
    assert read_edits(path) == log.edits == CatalogEdits({"a": "A"}, frozenset({"x", "y"}))


def test_files_of_the_first_format_are_read_and_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "edits.json"
    path.write_text(json.dumps({"added": {"a": "A"}, "removed": ["x", "y"]}, indent=1))
    assert read_edits(path) == CatalogEdits({"a": "A"}, frozenset({"x", "y"}))
    log = EditsLog(path)
    log.refresh()
    assert write(log, Change.now(restored=["y"])) == ""
    assert read_edits(path) == log.edits == CatalogEdits({"a": "A"}, frozenset({"x"}))
    assert len(path.read_text().splitlines()) == 2


def test_a_file_that_holds_something_else_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "edits.json"
    write(EditsLog(path), Change.now(removed=["x"]))
    with path.open("a") as file:
        file.write('{"remove": ["y"]}\n')
    with pytest.raises(RereError, match=r"edits\.json; got something else in line 2"):
        read_edits(path)
    log = EditsLog(path)
    with pytest.raises(RereError):
        log.refresh()
    assert log.edits.removed == {"x"}  # what stands before it
    assert "line 2" in write(log, Change.now(removed=["z"]))
    assert log.edits.removed == {"x", "z"}
    with pytest.raises(RereError, match="no such file"):
        read_edits(tmp_path / "wrong.json")
    with pytest.raises(RereError, match="no such file"):
        read_edits(tmp_path)
