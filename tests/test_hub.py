"""A hub that can't be reached is said at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from rere.config.backbone import HubModel
from rere.errors import RereError
from rere.models.backbone import load_config


def test_a_hub_without_a_network_is_refused_without_retries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nothing listens
    with pytest.raises(RereError, match=r"no connection to http://127\.0\.0\.1:9.*Fix: check the id"):
        load_config(HubModel(id="nobody/nothing"))
    assert "Retrying" not in caplog.text
