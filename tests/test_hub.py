"""A hub that can't be reached, or doesn't have it, is said at once; one that fails for a moment is asked again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import httpx
import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from transformers import AutoConfig

from rere.config.backbone import HubModel
from rere.config.data import TableFormat
from rere.data.sources.hub import split_files
from rere.errors import RereError
from rere.models.backbone import load_config
from rere.runtime import retries
from rere.runtime.hub import commit_of, from_hub

NOW, EARLIER = "0123456789" * 4, "abcdef0123" * 4


def test_a_hub_without_a_network_is_refused_without_retries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nothing listens
    with pytest.raises(RereError, match=r"no connection to http://127\.0\.0\.1:9.*Fix: check the id"):
        load_config(HubModel(id="nobody/nothing"))
    assert "Retrying" not in caplog.text


def answered(status: int, kind: type[HfHubHTTPError] = HfHubHTTPError) -> HfHubHTTPError:
    """The hub's answer as its library raises it."""
    answer: Any = httpx.Response(
        status, request=httpx.Request("GET", "https://hub")
    )  # the library has a copy of its own
    return kind(f"{status} of the hub", response=answer)


def failing(*errors: Exception) -> tuple[Callable[..., str], list[Exception]]:
    """What fails with one error after another and then works, and the errors that are left."""
    left = list(errors)

    def fetch(*_: Any, **__: Any) -> str:
        if left:
            raise left.pop(0)
        return "here"

    return fetch, left


@pytest.mark.parametrize(
    "error", [answered(503), answered(429), httpx.ReadTimeout("slow"), ConnectionResetError("reset")]
)
def test_what_fails_for_a_moment_is_tried_again_with_a_word(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retries, "WAITS", (0.0, 0.0))
    wrapped = OSError("can't load it")  # as transformers wraps it
    wrapped.__cause__ = error
    fetch, _ = failing(error, wrapped)
    assert from_hub(fetch, "someone/model") == "here"
    assert caplog.text.count("someone/model on the hub: ") == 2
    fetch, left = failing(*[error] * 4)
    with pytest.raises(type(error)):
        from_hub(fetch, "someone/model")
    assert len(left) == 1  # three tries


@pytest.mark.parametrize("error", [answered(401, RepositoryNotFoundError), answered(403), answered(401)])
def test_what_is_not_there_or_not_for_all_is_refused_at_once(error: Exception) -> None:
    fetch, left = failing(error, error)
    with pytest.raises(RereError, match=r"'someone/model' on the hub, open to you.*Fix: check the id.*hf auth login"):
        from_hub(fetch, "someone/model")
    assert len(left) == 1


def test_models_and_data_sets_are_fetched_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "WAITS", (0.0, 0.0))
    monkeypatch.setattr("rere.models.backbone.require_reachable", lambda *_: None)
    monkeypatch.setattr(
        AutoConfig, "from_pretrained", failing(answered(503), answered(401, RepositoryNotFoundError))[0]
    )
    with pytest.raises(RereError, match=r"'someone/model' on the hub"):
        load_config(HubModel(id="someone/model"))
    monkeypatch.setattr(
        "datasets.load_dataset_builder", failing(answered(502), answered(401, RepositoryNotFoundError))[0]
    )
    with pytest.raises(RereError, match=r"'someone/data' on the hub"):
        split_files("someone/data", None, "train", "main", TableFormat())


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_branch_is_the_commit_that_the_hub_says_or_the_one_fetched_before(
    kind: Literal["model", "dataset"],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(retries, "WAITS", (0.0, 0.0))
    answers: list[Exception | str] = [answered(503), NOW, httpx.ConnectError("nobody"), httpx.ConnectError("nobody")]
    asked: list[Any] = []

    def told(api: HfApi, name: str, **options: Any) -> Any:
        asked.append((name, options["revision"], options["repo_type"]))
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return SimpleNamespace(sha=answer)

    monkeypatch.setattr(HfApi, "repo_info", told)
    assert commit_of("org/name", "main", kind) == NOW  # a failure that passes is no reason to take another
    assert asked == [("org/name", "main", kind)] * 2
    assert commit_of("org/name", "main", kind) is None
    place = tmp_path / f"{kind}s--org--name"
    (place / "snapshots" / EARLIER).mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(EARLIER, encoding="utf-8")
    assert commit_of("org/name", "main", kind) == EARLIER
    assert "commit of org/name at main (nobody): taken as fetched before" in caplog.text
    assert answers == []
