"""Following a registry's alias: a promotion or rollback there becomes the model here, without a restart.

Where versions come from is behind `Source`, so this package knows no registry.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from rere.serving.engine.deployment import Deployment
from rere.serving.engine.service import RecommendationService

logger = logging.getLogger(__name__)
LONGEST_PAUSE = 300.0  # seconds


class Source(Protocol):
    """Where model versions come from. Both methods may take long and may fail."""

    def current(self) -> str | None:
        """The version to serve now; None: nothing is said."""

    def load(self, version: str) -> Deployment:
        """Fetch and load a version."""


class Follower:
    """Looks every `seconds`, and loads what is new. What goes wrong is logged, and the old model goes on."""

    def __init__(self, source: Source, seconds: float) -> None:
        self.source, self.seconds = source, seconds

    async def run(self, service: RecommendationService) -> None:
        pause = self.seconds
        while True:
            await asyncio.sleep(pause)
            try:
                await self.look(service)
                pause = self.seconds
            except Exception:
                logger.exception("No new model; %s goes on", service.deployment.version)
                service.metrics.swaps.labels("failed").inc()
                pause = min(2 * pause, max(self.seconds, LONGEST_PAUSE))

    async def look(self, service: RecommendationService) -> None:
        """Swap once if the source names another version."""
        version = await asyncio.to_thread(self.source.current)
        if version is None or version == service.deployment.version:
            return
        deployment = await asyncio.to_thread(self.source.load, version)
        await service.swap(deployment)
        service.metrics.swaps.labels("done").inc()
        logger.info("Version %s is served", version)
