"""Follow a registry's alias: after a promotion or rollback the service loads that version, without a restart.

Where versions come from is behind `Source`, so this package knows no registry.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Protocol

from rere.errors import RereError, without_passwords
from rere.serving.engine.deployment import Deployment
from rere.serving.engine.service import RecommendationService

logger = logging.getLogger(__name__)
LONGEST_PAUSE = 30.0  # seconds between two loads of one version


class Source(Protocol):
    """Where model versions come from. Both methods may take long and may fail."""

    def current(self) -> str | None:
        """The version to serve now; None where the alias names none."""

    def load(self, version: str) -> Deployment:
        """Fetch and load a version."""


class Follower:
    """Polls the alias every `seconds` and swaps in the version it names. On an error the old model keeps serving.

    Errors are logged and counted. Loading a version that failed is retried with growing pauses; the alias is polled
    all the while, since it may be set back.

    wanted: the version that the alias named when it was last read
    """

    def __init__(self, source: Source, seconds: float) -> None:
        self.source, self.seconds = source, seconds
        self.wanted: str | None = None
        self._failed: str | None = None
        self._pause = self._next_try = 0.0

    async def run(self, service: RecommendationService) -> None:
        self.wanted = service.live.deployment.version
        while True:
            await asyncio.sleep(self.seconds)
            await self.look(service)

    async def look(self, service: RecommendationService) -> None:
        """Swap once if the source names another version."""
        metrics, served = service.metrics, service.live.deployment.version
        try:
            self.wanted = await asyncio.to_thread(self.source.current)
        except Exception as error:
            metrics.looks.labels("failed").inc()
            logger.warning("The registry can't be read; version %s goes on: %s", served, without_passwords(str(error)))
            return
        metrics.looks.labels("done").inc()
        metrics.behind.set(self.wanted not in (None, served))
        if self.wanted in (None, served):
            self._failed = None
        elif self.wanted != self._failed or monotonic() >= self._next_try:
            await self._load(self.wanted, service)

    async def _load(self, version: str, service: RecommendationService) -> None:
        try:
            await service.live.swap(await asyncio.to_thread(self.source.load, version))
        except Exception as error:
            self._pause = min(2 * self._pause, LONGEST_PAUSE) if version == self._failed else self.seconds
            self._failed, self._next_try = version, monotonic() + self._pause
            service.metrics.swaps.labels("failed").inc()
            logger.error(
                "Version %s can't be loaded; %s goes on; next try in %.1f s. %s",
                *(version, service.live.deployment.version, self._pause, error),
                exc_info=not isinstance(error, RereError),  # which says all there is to say
            )
        else:
            service.metrics.swaps.labels("done").inc()
            service.metrics.behind.set(0)
            logger.info("Version %s is served", version)
