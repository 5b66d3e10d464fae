"""Answers that were given before, for as long as the catalogue and the model stay as they are."""

from __future__ import annotations

from collections import OrderedDict

from rere.serving.engine.deployment import Query, Ranked
from rere.serving.live_catalog import Snapshot


class AnswerCache:
    """The answers asked for most recently, all of one snapshot; a look with another one empties it.

    Args:
        size: most answers kept; 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._answers: OrderedDict[Query, Ranked] = OrderedDict()
        self._snapshot: Snapshot | None = None

    def get(self, query: Query, snapshot: Snapshot) -> Ranked | None:
        """The answer to the same query of the same snapshot, if it is known."""
        if self._snapshot is not snapshot:
            self._answers.clear()
            self._snapshot = snapshot
        if query in self._answers:
            self._answers.move_to_end(query)
        return self._answers.get(query)

    def put(self, query: Query, ranked: Ranked) -> None:
        """Keep an answer, unless it is of another snapshot than was last asked for."""
        if ranked.snapshot is not self._snapshot or not self.size:
            return
        self._answers[query] = ranked
        if len(self._answers) > self.size:
            self._answers.popitem(last=False)
