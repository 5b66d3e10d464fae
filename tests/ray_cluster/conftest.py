"""What both files of tests need of their process."""

from __future__ import annotations

import pytest

from tests.ray_cluster.cluster import ENVIRONMENT


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine isn't taken for a lost one by what drives the cluster, either."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
