"""Where a training step keeps its checkpoints until its result is stored, so that a killed run resumes.

`$RERE_WORK_DIR` (default `.rere/work` in the project) holds one directory a training, named by a hash of all
that determines it: settings, inputs, code. A rerun of the same finds it; another setting never does.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

from ops.runtime.cache_keys import ROOT
from rere.artifacts.manifest import writing
from rere.catalog.index import CatalogIndex


@contextmanager
def work_directory(stage: str, *determinants: str | BaseModel) -> Iterator[Path]:
    """A directory that outlives a failure and goes when the process that finished the training ends.

    It can't go at once: the result lies in it until ZenML has stored it, after the step returned.

    Raises:
        RereError: what is done within can't be written, for the disk is full or read-only.
    """
    texts = [part if isinstance(part, str) else part.model_dump_json() for part in determinants]
    key = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    root = Path(os.environ.get("RERE_WORK_DIR") or ROOT / ".rere" / "work")
    directory = root / f"{stage}-{key}"
    with writing(root):
        directory.mkdir(parents=True, exist_ok=True)
        yield directory
    atexit.register(shutil.rmtree, directory, ignore_errors=True)


def catalogue_fingerprint(catalog: CatalogIndex) -> str:
    """SHA-256 of a catalogue: ids, titles, tokens, prompt head."""
    seen = [catalog.item_ids, catalog.titles, catalog.item_tokens, list(catalog.prompt_head)]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()
