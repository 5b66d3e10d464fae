"""The service's metrics for Prometheus."""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from rere.serving.engine.deployment import Basis, Deployment

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """A registry of its own for each service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "rere_http_requests", "Answers by route and status", ["route", "status"], registry=self.registry
        )
        self.open = Gauge("rere_http_open_requests", "Requests under way", registry=self.registry)
        self.latency = Histogram(
            "rere_http_request_seconds", "Seconds to answer", ["route"], buckets=SECONDS, registry=self.registry
        )
        self.queue = Gauge("rere_queue_requests", "Requests that wait for the model", registry=self.registry)
        self.batch_size = Histogram(
            "rere_batch_requests", "Requests searched together", buckets=SIZES, registry=self.registry
        )
        self.batch_seconds = Histogram(
            "rere_batch_seconds", "Seconds per batch", buckets=SECONDS, registry=self.registry
        )
        self.prefix = Gauge("rere_prefix_tokens_found", "Share of prompt tokens not run again", registry=self.registry)
        self.answers = Counter("rere_answers_cached", "Requests answered without a search", registry=self.registry)
        self.unknown = Counter("rere_unknown_entries", "Entries of requests that name no item", registry=self.registry)
        self.based_on = Counter(
            "rere_answers_based_on", "Answers by what they rest on", ["basis"], registry=self.registry
        )
        for basis in get_args(Basis):
            self.based_on.labels(basis)
        self.unwritten = Gauge(
            "rere_catalogue_changes_not_on_disk",
            "1 while a change of the catalogue isn't on disk",
            registry=self.registry,
        )
        self.items = Gauge("rere_catalogue_items", "Items by state", ["state"], registry=self.registry)
        self.swaps = Counter("rere_model_swaps", "Model versions put in place", ["outcome"], registry=self.registry)
        self.looks = Counter("rere_registry_looks", "Looks at the alias", ["outcome"], registry=self.registry)
        for outcome in ("done", "failed"):  # so that the first failure is an increase
            self.swaps.labels(outcome)
            self.looks.labels(outcome)
        self.behind = Gauge("rere_model_behind", "1 while the alias names another version", registry=self.registry)
        self.model = Info("rere_model", "The version that is served", registry=self.registry)

    def batch(self, size: int, seconds: float, deployment: Deployment) -> None:
        self.batch_size.observe(size)
        self.batch_seconds.observe(seconds)
        cache = deployment.prefixes
        if cache is not None and cache.asked:
            self.prefix.set(cache.found / cache.asked)

    def serving(self, deployment: Deployment) -> None:
        """A version or its catalogue is new."""
        removed = len(deployment.snapshot.removed)
        self.model.info({"version": deployment.version})
        self.items.labels("removed").set(removed)
        self.items.labels("skipped").set(len(deployment.snapshot.skipped))
        self.items.labels("offered").set(len(deployment.snapshot.catalog.items) - removed)

    def text(self) -> bytes:
        return generate_latest(self.registry)
