"""Answers kept between requests: of one snapshot, no more than asked for."""

from __future__ import annotations

from typing import cast

from rere.serving.engine.answer_cache import AnswerCache
from rere.serving.engine.deployment import Query, Ranked
from rere.serving.live_catalog import Snapshot

OLD, NEW = cast(Snapshot, "old"), cast(Snapshot, "new")


def query(item: int) -> Query:
    return Query((item,), 1)


def test_the_answer_that_was_asked_for_least_recently_goes_first() -> None:
    cache = AnswerCache(2)
    answers = [Ranked([item], [0.0], OLD) for item in range(3)]
    for item in (0, 1):
        assert cache.get(query(item), OLD) is None
        cache.put(query(item), answers[item])
    assert cache.get(query(0), OLD) is answers[0]
    cache.put(query(2), answers[2])
    assert [cache.get(query(item), OLD) for item in range(3)] == [answers[0], None, answers[2]]


def test_another_snapshot_has_answers_of_its_own() -> None:
    cache = AnswerCache(2)
    assert cache.get(query(0), OLD) is None
    assert cache.get(query(0), NEW) is None
    cache.put(query(0), Ranked([0], [0.0], OLD))  # the search began before the catalogue changed
    assert cache.get(query(0), NEW) is None


def test_none_are_kept_where_none_may_be() -> None:
    cache = AnswerCache(0)
    assert cache.get(query(0), OLD) is None
    cache.put(query(0), Ranked([0], [0.0], OLD))
    assert cache.get(query(0), OLD) is None
