"""What is served now, and how it changes: the catalogue by requests and by other services, the model by a swap.

Everything here runs on one event loop; what takes long (building a trie) runs on other threads. A change is put in
place by the loop, so it falls between two answers, never within one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rere.data.titles import require_plain
from rere.errors import RereError
from rere.serving.edits_log import Change, EditsLog, after
from rere.serving.engine.deployment import Deployment
from rere.serving.http.metrics import Metrics
from rere.serving.live_catalog import Snapshot

logger = logging.getLogger(__name__)


class Conflict(RereError):
    """A request that makes sense in itself, but not with the catalogue or the model at hand."""


@dataclass(frozen=True)
class CatalogChange:
    """What became of a change of the catalogue.

    new: items that the catalogue did not have; not_there: ids that the change didn't concern
    problem: why the change, which is in effect, isn't on disk yet and won't survive a restart; "" when it is
    """

    new: int = 0
    not_there: tuple[str, ...] = ()
    problem: str = ""


class LiveDeployment:
    """The present deployment.

    Args:
        edits_file: the log of changes of the catalogue, which outlives the process and which services share; None:
            changes are kept in memory.

    Raises:
        RereError: the log can't be read.

    Attributes:
        deployment: what is served now; replaced whole.
        edits: the changes that it has.
    """

    def __init__(self, deployment: Deployment, metrics: Metrics, edits_file: Path | None = None) -> None:
        self.metrics, self.log = metrics, EditsLog(edits_file)
        self.log.refresh()
        self.edits = self.log.edits
        if edits_file is not None:
            counts = len(self.edits.added), len(self.edits.removed)
            logger.info("%s: %d items added to the catalogue, %d removed", edits_file.resolve(), *counts)
        deployment.snapshot = deployment.edited(self.edits)
        self.deployment = deployment
        self._changing = asyncio.Lock()
        self._skipped = 0  # added items that were last said to be left out
        self._tell(deployment)

    async def swap(self, deployment: Deployment) -> None:
        """Put another model in place; requests under way finish on the one they began with."""
        async with self._changing:
            deployment.snapshot = await asyncio.to_thread(deployment.edited, self.edits)
            self.deployment = deployment
            self._tell(deployment)

    async def add(self, items: Mapping[str, str]) -> CatalogChange:
        """Offer items (id -> title): new ones, or removed ones again.

        Raises:
            Conflict: an id with another title than the catalogue's, or an item that the model can't take (see
                `Deployment.edited`).
            RereError: an id or title that ingest would refuse or change.
        """

        def decide(snapshot: Snapshot) -> Change:
            known = {item: index for item in items if (index := snapshot.lookup.index_of(item)) is not None}
            for item, index in known.items():
                if snapshot.titles[index] != items[item]:
                    raise Conflict(
                        f"the title that item {item} has in the catalogue, {snapshot.titles[index]!r}",
                        repr(items[item]),
                        "give a new item an id of its own",
                    )
            added = {item: title for item, title in items.items() if item not in known}
            require_plain(added)
            return Change.now(added, restored=tuple(items))

        return await self._change(decide)

    async def remove(self, ids: Sequence[str]) -> CatalogChange:
        """Never recommend these items again; `not_there` are those that the present catalogue doesn't have.

        They are remembered, too: a model that knows them may come.
        """

        def decide(snapshot: Snapshot) -> Change:
            return Change.now(removed=ids)

        changed = await self._change(decide)
        lookup = self.deployment.snapshot.lookup
        return replace(changed, not_there=tuple(item for item in ids if lookup.index_of(item) is None))

    async def restore(self, ids: Sequence[str]) -> CatalogChange:
        """Recommend removed items again; `not_there` are those that weren't removed."""
        not_there: list[str] = []

        def decide(snapshot: Snapshot) -> Change:
            not_there.extend(item for item in ids if item not in self.log.edits.removed)
            return Change.now(restored=ids)

        return replace(await self._change(decide), not_there=tuple(not_there))

    async def keep_up(self, seconds: float) -> None:
        """Until cancelled, every `seconds`: bring in what other services change, and write what couldn't be written."""
        said = ""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.catch_up()
                said = ""
            except RereError as error:
                if str(error) != said:
                    logger.error("Changes of the catalogue by other services aren't seen. %s", error)
                said = str(error)
            except Exception:  # whatever it was, the next look may succeed; without it removals would stay unseen
                logger.exception("Changes of the catalogue by other services weren't looked at")

    async def catch_up(self) -> None:
        """Bring in once what other services changed; RereError where their log can't be read."""
        async with self._changing:
            deployment = self.deployment

            def build() -> tuple[Snapshot, RereError | None]:
                if self.log.problem and self.log.path is not None:
                    with self.log.alone():
                        self.log.append()
                problem = None
                try:
                    self.log.refresh()
                except RereError as error:  # what stands before the line that can't be read holds all the same
                    problem = error
                return deployment.edited(self.log.edits), problem

            snapshot, problem = await asyncio.to_thread(build)
            self._put(deployment, snapshot)
            if problem is not None:
                raise problem

    async def _change(self, decide: Callable[[Snapshot], Change]) -> CatalogChange:
        """Decide on the catalogue as all services have changed it, write the change, and only then let requests see it.

        A change that can't be written takes effect all the same, and `problem` says so.
        """
        async with self._changing:
            deployment = self.deployment

            def build() -> tuple[Snapshot, int]:
                with self.log.alone():
                    before = deployment.edited(self.log.edits)
                    change = decide(before)
                    edits = after(self.log.edits, [change])
                    changed = deployment.edited(edits)
                    for item in change.added:
                        if changed.lookup.index_of(item) is None:
                            reason = next(why for (skipped, _), why in changed.skipped.items() if skipped == item)
                            raise Conflict(*reason.parts)
                    # A stock list that is sent every hour must not fill the disk. Unseen changes may matter, though.
                    holds_already = edits == self.log.edits and not self.log.problem
                    self.log.append(None if holds_already else change)
                    return changed, len(change.added)

            snapshot, new = await asyncio.to_thread(build)
            self._put(deployment, snapshot)
            return CatalogChange(new=new, problem=self.log.problem)

    def _put(self, deployment: Deployment, snapshot: Snapshot) -> None:
        """Let requests see a changed catalogue."""
        self.edits = self.log.edits
        if snapshot is not deployment.snapshot:
            deployment.snapshot = snapshot
            self._tell(deployment)
        self.metrics.unwritten.set(bool(self.log.problem))

    def _tell(self, deployment: Deployment) -> None:
        """Say what is served now, and what of the changes it can't take."""
        skipped = deployment.snapshot.skipped
        if skipped and len(skipped) != self._skipped:
            (item, title), reason = next(iter(skipped.items()))
            logger.warning(
                "%d added items aren't offered, for version %s can't take them, such as %s (%r). %s",
                *(len(skipped), deployment.version, item, title, reason),
            )
        self._skipped = len(skipped)
        self.metrics.serving(deployment)
