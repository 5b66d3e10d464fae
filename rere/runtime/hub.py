"""The Hugging Face hub: whether it answers at all, found out in one request, and fetching from it with patience."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeVar

from huggingface_hub import HfApi, constants, get_session, snapshot_download, try_to_load_from_cache

from rere.errors import RereError
from rere.runtime.retries import causes, status_of, with_retries

T = TypeVar("T")
# What huggingface_hub, or datasets, says of an id or revision that isn't there, or isn't for everybody.
CLOSED = frozenset({"RepositoryNotFoundError", "RevisionNotFoundError", "GatedRepoError", "DatasetNotFoundError"})
ACCESS = (
    "check the id and the revision; if it is private or gated, ask for access on its page and log in: "
    "`hf auth login`, or HF_TOKEN in the environment"
)


def from_hub(fetch: Callable[[], T], name: str) -> T:
    """What `fetch` gives; where the hub fails for a moment, tried again with a word in the log.

    Args:
        name: the id of what is fetched.

    Raises:
        RereError: the hub doesn't have it, or not for everybody: at once.
        Exception: any other of `fetch`.
    """
    try:
        return with_retries(fetch, f"{name} on the hub")
    except Exception as error:
        if status_of(error) not in (401, 403) and not any(type(one).__name__ in CLOSED for one in causes(error)):
            raise
        said = " ".join(str(error).split())[:200]
        raise RereError(f"{name!r} on the hub, open to you", f"{type(error).__name__}: {said}", ACCESS) from error


def require_reachable(repository: str, revision: str, file: str) -> None:
    """Do nothing if the file was fetched before, or the hub answers; whether it has the file isn't asked.

    Where there is no network, huggingface_hub would try again for half a minute, and print every try.

    Raises:
        OSError: no connection, or huggingface_hub is set to work offline.
    """
    if isinstance(try_to_load_from_cache(repository, file, revision=revision), str):
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # those of the HTTP library that huggingface_hub happens to use
        raise OSError(f"no connection to {constants.ENDPOINT} ({error})") from error


def commit_of(repository: str, revision: str, kind: Literal["model", "dataset"]) -> str | None:
    """The commit that a branch or tag stands for; where the hub doesn't tell, that of what was fetched before.

    A line in the log says so. None where neither is known: whoever fetches it says why.
    """

    def ask() -> str | None:
        found = HfApi().repo_info(repository, revision=revision, repo_type=kind, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        return found.sha

    # Any error: no network, no such repository, and the HTTP library's own, whichever it is.
    try:
        return with_retries(ask, f"{repository} on the hub")
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
    with suppress(Exception):
        kept = Path(snapshot_download(repository, revision=revision, repo_type=kind, local_files_only=True)).name
        logging.getLogger(__name__).warning(
            "The hub doesn't tell the commit of %s at %s (%s): taken as fetched before.", repository, revision, reason
        )
        return kept
    return None
