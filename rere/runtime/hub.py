"""Whether the Hugging Face hub answers at all, found out in one request."""

from __future__ import annotations

from huggingface_hub import constants, get_session, try_to_load_from_cache


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
